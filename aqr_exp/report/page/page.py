"""The report of a sweep or of some runs: its sections from the store, laid out as one HTML page."""

import base64
import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import msgspec

from aqr_exp import __version__
from aqr_exp.config import BASELINE
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.progress import NamedProgress
from aqr_exp.files.run_name import arm_of, first_of
from aqr_exp.files.text import printable, printable_lines
from aqr_exp.report.arm_names import short_labels
from aqr_exp.report.figures.style import metric_label
from aqr_exp.report.figures.training_curves import arm_curves
from aqr_exp.report.page.charts import curve_chart, forest_chart
from aqr_exp.report.tables.build import Built, build_table
from aqr_exp.report.tables.cells import Table
from aqr_exp.report.tables.comparison_data import ComparisonData
from aqr_exp.report.tables.formats import TableFormat, for_people, render
from aqr_exp.report.tables.request import By, TableRequest
from aqr_exp.statistics.confounders import CODE, recorded_facts
from aqr_exp.statistics.metrics import MAIN_METRICS, PRIMARY
from aqr_exp.store.collect import MEAN_METRICS, RunRow
from aqr_exp.store.counting import by_first_name, grouped, shown_run
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store

MOST_VERDICTS = 12
"""Sentences at the top; all of them are in the table."""


@dataclass(frozen=True, kw_only=True)
class HtmlTable:
    """A table as the page shows it.

    Attributes:
        columns: Name, whether it is numeric, whether it is shown at first.
        rows: Of each row the cells: text, what it is sorted by, footnote.
        opened: What a click on a row shows: a smaller table, by the row's place.
    """

    title: str
    columns: Sequence[tuple[str, bool, bool]]
    rows: Sequence[Sequence[tuple[str, Any, str]]]
    notes: Sequence[str] = ()
    opened: Mapping[int, "HtmlTable"] | None = None


def report_page(
    store: Store,
    rows: Sequence[RunRow],
    request: TableRequest,
    *,
    written: str,
    progress: NamedProgress,
    conditions: bool = False,
) -> str:
    """Lay a report out; equal runs and requests give equal pages.

    Args:
        rows: Those of the store.
        request: As of `aqr-exp table`; its metrics are asked for here.
        written: When it is written, ISO 8601 in UTC.
        conditions: Whether conditions and distances have tables, for which scenes are drawn anew.

    Raises:
        RequestError: No completed run is left, or what draws charts is not installed.
    """
    _check_installed()
    primary = (store.sweep(request.sweep).declared()[0] if request.sweep else None) or PRIMARY

    def made(by: By, *metrics: str) -> Built:
        asked = replace(request, by=by, metrics=list(dict.fromkeys(metrics)) or None)
        return build_table(store, rows, asked, progress=partial(progress, "arms compared"))

    main = made(By.METRIC, *MEAN_METRICS, primary)
    if not main.data.arms:
        raise RequestError("no completed run to report on: `aqr-exp run baseline` makes one")
    shown = [row for arm in main.data.arms for row in (*arm.group, *(arm.match.group or ()))]
    shown = list({row.name: row for row in shown}.values())
    labels = _labels(main.data)
    arms = arm_curves(shown, store)
    charts = {
        "forest": forest_chart(main.data, labels, primary),
        "loss": curve_chart(arms, "train", "loss", "training loss"),
        "metric": curve_chart(arms, "val", primary, metric_label(primary)),
    }
    table = made(By.ARM, *MAIN_METRICS, primary)
    parts = {"Errors": main.table, "Classes": made(By.CLASS).table}
    if conditions:
        parts["Conditions"] = made(By.CONDITION).table
        parts["Distances"] = made(By.RANGE).table
    failures, costs = made(By.FAILURE).table, made(By.COST).table
    parts |= {"Sensor failures": failures} if failures.rows else {}
    parts |= {"Cost of detecting": costs} if _has_numbers(costs) else {}
    described = {
        "generator": f"aqr-exp {__version__}",
        "written": written,
        "request": {
            "sweep": request.sweep,
            "where": list(request.where),
            "population": request.population,
            "sesoi_points": request.sesoi_points,
        },
        "conditions": conditions,
        "runs": {row.name: row.metrics.get("records_sha256") for row in shown},
    }
    return _rendered(
        title=f"Sweep {request.sweep}" if request.sweep else "Runs of this results folder",
        conditions=list(request.where),
        written=written,
        version=__version__,
        synthetic=table.table.synthetic,
        primary=primary,
        verdicts=_verdicts(main.data, labels, primary),
        others=_sentences(main.data, labels, primary),
        table=_main_table(table.table, table.data, labels),
        notes=_notes(table.table, table.data),
        latex=render(table.table, TableFormat.LATEX),
        markdown=render(table.table, TableFormat.MD),
        parts={name: _html_table(part) for name, part in parts.items()},
        matrix=_completeness(store, rows, request, shown),
        facts=_facts_table(shown),
        commands=_commands(main.data),
        charts={name: spec for name, spec in charts.items() if spec is not None},
        described=described,
    )


def _check_installed() -> None:
    for name in ("altair", "jinja2", "vl_convert"):
        if find_spec(name) is None:
            raise RequestError(f"report needs {name}: `pip install 'aqr-exp[report]'`")


def _has_numbers(table: Table) -> bool:
    return any(isinstance(cell.value, float) for row in table.rows for cell in row)


def _labels(data: ComparisonData) -> dict[str, str]:
    firsts = [arm.first for arm in data.arms]
    return {row.name: label for row, label in zip(firsts, short_labels(firsts), strict=True)}


def _verdicts(
    data: ComparisonData, labels: Mapping[str, str], primary: str
) -> list[tuple[str, str, str]]:
    """Arm, word and sentence, those that were found first; of arms without a reference the reason."""
    found = []
    for arm in data.arms:
        one = arm.estimates.differences.get(primary)
        if one is not None:
            found.append((labels[arm.first.name], one.word, one.sentence))
        elif arm.match.reason:
            found.append((labels[arm.first.name], "no reference", arm.match.reason))
    found.sort(key=lambda item: item[1] not in {"better", "worse"})
    return found


def _sentences(data: ComparisonData, labels: Mapping[str, str], primary: str) -> list[str]:
    """What is said of every other metric."""
    return [
        f"{labels[arm.first.name]}: {one.sentence}"
        for name in dict.fromkeys(name for arm in data.arms for name in arm.estimates.differences)
        if name != primary
        for arm in data.arms
        if (one := arm.estimates.differences.get(name)) is not None
    ]


def _notes(table: Table, data: ComparisonData) -> list[str]:
    """What is to be known of the comparisons; the verdicts' sentences stand at the top."""
    said = {
        f"{arm.name}: {one.sentence}"
        for arm in data.arms
        for one in arm.estimates.differences.values()
    }
    return [printable(note) for note in table.notes if note not in said]


def _main_table(table: Table, data: ComparisonData, labels: Mapping[str, str]) -> HtmlTable:
    """The table of arms; a row opens to its seeds."""
    opened = {}
    for at, line in enumerate(table.lines):
        group = data.arms[line.arm].group
        names = [
            name for name in MEAN_METRICS if any(row.metric(name) is not None for row in group)
        ]
        cells = [
            [
                (row.name, row.name, ""),
                (str(row.seed), row.seed, ""),
                (str(row.attempt), row.attempt, ""),
                *((_number(row.metric(name)), row.metric(name), "") for name in names),
                (str(row.metrics.get("records_sha256") or "-")[:12], "", ""),
            ]
            for row in group
        ]
        heads = [("run", False), ("seed", True), ("attempt", True)]
        heads += [(name, True) for name in names] + [("records", False)]
        columns = [(name, numeric, True) for name, numeric in heads]
        title = f"Seeds of {labels[data.arms[line.arm].first.name]}"
        opened[at] = HtmlTable(title=title, columns=columns, rows=cells)
    return replace(_html_table(table), opened=opened)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _html_table(table: Table) -> HtmlTable:
    table = for_people(table)
    same = [len({row[at].text for row in table.all_rows}) == 1 for at in range(len(table.columns))]
    columns = [
        (
            printable(column.name),
            column.numeric,
            not (column.hidden_on_terminal or (column.constant and same[at])),
        )
        for at, column in enumerate(table.columns)
    ]
    rows = [
        [(printable_lines(cell.text), _sorted_by(cell.value), printable(cell.mark)) for cell in row]
        for row in table.all_rows
    ]
    notes = [printable(note) for note in table.notes]
    return HtmlTable(title=printable(table.title), columns=columns, rows=rows, notes=notes)


def _sorted_by(value: object) -> object:
    first = value[0] if isinstance(value, tuple) and value else value
    return "" if first is None else first


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Arms by seeds: the status of each run, and why some have no result."""

    seeds: Sequence[int]
    rows: Sequence[tuple[str, Sequence[str], str]]
    reasons: Sequence[str]


def _completeness(
    store: Store, rows: Sequence[RunRow], request: TableRequest, shown: Sequence[RunRow]
) -> Matrix:
    """Every run that was meant, whether it is there or not."""
    reruns = by_first_name(rows)
    if request.sweep:
        entries = store.sweep(request.sweep).read_plan()
        meant = [(e.name, " ".join([e.variant, *e.overrides]), e.seed) for e in entries]
    else:
        # Of the arms that conditions chose, seeds without a result as well.
        arms = {arm_of(row.name) for row in shown}
        wanted = [r for r in rows if r.record and (arm_of(r.name) in arms or not request.where)]
        words = {first_of(r.name): f"{r.variant} {r.overrides}".strip() for r in wanted}
        seeds_of = {first_of(r.name): r.seed or 0 for r in wanted}
        meant = [(name, words[name], seeds_of[name]) for name in words]
    seeds = sorted({seed for *_, seed in meant})
    lines, reasons = [], []
    for arm in grouped(meant, lambda item: arm_of(item[0])).values():
        states = {}
        for name, _, seed in arm:
            row = shown_run(reruns[name]) if name in reruns else None
            states[seed] = str(RunStatus.TO_DO if row is None else row.status)
            if row is not None and not row.completed and row.reason:
                reasons.append(f"{row.name}: {row.status}: {printable(row.reason)}")
        done = sum(state == RunStatus.COMPLETED for state in states.values())
        lines.append(
            (printable(arm[0][1]), [states.get(one, "") for one in seeds], f"{done} of {len(arm)}")
        )
    return Matrix(seeds=seeds, rows=lines, reasons=reasons)


def _facts_table(rows: Sequence[RunRow]) -> list[tuple[str, list[tuple[str, int]]]]:
    """Code, data, packages and machines of the runs: each value with how many runs have it."""
    values: dict[str, dict[str, int]] = {}
    for row in rows:
        for name, value in recorded_facts(row).items():
            counts = values.setdefault(name, {})
            counts[value] = counts.get(value, 0) + 1
    order = sorted(values, key=lambda name: (len(values[name]) == 1, name != CODE))
    return [(name, sorted(values[name].items())) for name in order]


def _commands(data: ComparisonData) -> list[str]:
    """The words that train each arm again."""
    lines = []
    for arm in sorted(data.arms, key=lambda arm: arm.first.variant != BASELINE):
        if arm.first.imported:
            continue
        seeds = ",".join(str(row.seed) for row in arm.group)
        typed = [str(one) for one in arm.first.record.get("overrides") or ()]
        kept = [word for word in typed if not word.startswith("seed=")]
        words = ["aqr-exp", "sweep", arm.first.variant, *kept, f"seed={seeds}"]
        lines.append(printable(shlex.join(words)))
    return lines


@lru_cache(maxsize=1)
def _vega() -> str:
    """Vega, Vega-Lite and its embedding as one script."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _rendered(**shown: Any) -> str:
    from jinja2 import Environment

    here = files("aqr_exp.report.page")
    script, style = ((here / f"report.{kind}").read_text("utf-8") for kind in ("js", "css"))
    scripts = [_vega(), script]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((here / "report.html").read_text("utf-8"))
    return template.render(
        **shown,
        scripts=scripts,
        style=style,
        policy=" ".join(f"'sha256-{_digest(one)}'" for one in scripts),
        data=_inert(
            {"charts": shown["charts"], "latex": shown["latex"], "markdown": shown["markdown"]}
        ),
        about=_inert(shown["described"]),
        most=MOST_VERDICTS,
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _inert(value: Mapping[str, Any]) -> str:
    """JSON that ends no script element, whatever the names in it."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


ABOUT = '<script type="application/json" id="about">'


def asked_of(page: str) -> tuple[TableRequest, dict[str, Any]]:
    """The request that a report was made for, and the other arguments of `report_page`.

    Raises:
        AqrExpError: It is no report.
    """
    _, found, rest = page.partition(ABOUT)
    try:
        about = json.loads(rest.partition("</script>")[0] if found else "{}")
        others = {"written": str(about["written"]), "conditions": bool(about["conditions"])}
        return msgspec.convert(about["request"], TableRequest), others
    except (ValueError, TypeError, KeyError, RecursionError, msgspec.ValidationError):
        raise AqrExpError("this is no report of aqr-exp: it does not say what it is of") from None


def differences_between(page: str, again: str) -> Iterable[str]:
    """The first lines in which two pages differ, as they are."""
    ours, theirs = page.splitlines(), again.splitlines()
    for number, (one, two) in enumerate(zip(ours, theirs, strict=False), start=1):
        if one != two:
            yield f"line {number}: {one.strip()[:100]!r}, now {two.strip()[:100]!r}"
    if len(ours) != len(theirs):
        yield f"{len(ours)} lines, now {len(theirs)}"
