"""Runs, means and comparisons as pandas DataFrames; the tables of the command line say the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.report.arm_names import all_left_out, one_arm
from aqr_exp.statistics.grouping import check_metric_names
from aqr_exp.store.collect import RunRow, collect
from aqr_exp.store.store import Store, results_root

if TYPE_CHECKING:
    import pandas as pd

    from aqr_exp.report.compare.comparison import Compared, Comparison
    from aqr_exp.report.compare.scenes import SceneChange
    from aqr_exp.report.tables.request import By, TableRequest

RUN_COLUMNS = (
    "status",
    "reason",
    "variant",
    "fingerprint",
    "preset",
    "seed",
    "overrides",
    "split",
    "synthetic",
    "attempt",
)


def store_at(results: str | Path | None) -> Store:
    """The store at a folder; the command line's by default."""
    return Store(results_root() if results is None else Path(results).expanduser().absolute())


def runs_frame(results: str | Path | None, *, configuration: bool) -> "pd.DataFrame":
    """As `aqr_exp.results.load`."""
    import pandas as pd

    store = store_at(results)
    rows = collect(store)
    values = [_run_values(row) for row in rows]
    if configuration:
        values = [one | _configuration(store, row) for one, row in zip(values, rows, strict=True)]
    index = pd.Index([row.name for row in rows], name="run")
    columns = list(dict.fromkeys([*RUN_COLUMNS, *(name for one in values for name in one)]))
    frame = pd.DataFrame(values, index=index, columns=columns)
    # A missing seed must not make the others fractions.
    return frame.astype({"seed": "Int64", "attempt": "Int64"})


def _run_values(row: RunRow) -> dict[str, Any]:
    scored = bool(row.metrics)
    facts = {
        "status": row.status,
        "reason": row.reason,
        "variant": row.variant,
        "fingerprint": row.fingerprint,
        "preset": row.preset,
        "seed": row.seed,
        "overrides": row.overrides,
        "split": row.metrics.get("split"),
        "synthetic": row.synthetic if scored else None,
        "attempt": row.attempt,
    }
    numbers = {
        name: value
        for name in row.metrics
        if name not in facts and (value := row.metric(name)) is not None
    }
    return facts | numbers


def _configuration(store: Store, row: RunRow) -> dict[str, Any]:
    """A run's configuration; none where its file is damaged, which `status` need not know."""
    from aqr_exp.report.figures.swept import flat

    try:
        spec = store.folder(row.name).read_spec()
    except AqrExpError:
        return {}
    return {f"config.{key}": value for key, value in flat(spec).items()}


def table_parts(by: str) -> "By":
    """The blocks of a table, by their name.

    Raises:
        RequestError: There is no such; tells the nearest.
    """
    from aqr_exp.report.tables.request import By

    names = [part.value for part in By]
    if by not in names:
        raise RequestError(f"by: '{by}'{did_you_mean(by, names)} (available: {', '.join(names)})")
    return By(by)


def table_frame(results: str | Path | None, request: "TableRequest") -> "pd.DataFrame":
    """As `aqr_exp.results.table`."""
    import pandas as pd

    from aqr_exp.report.tables.build import build_table

    store = store_at(results)
    built = build_table(store, collect(store), request).table
    values = [[cell.value for cell in row] for row in built.all_rows]
    frame = pd.DataFrame(values, columns=list(built.names))
    frame.attrs |= {
        "title": built.title,
        "notes": list(built.notes),
        "synthetic": built.synthetic,
    }
    return frame


def comparison_frame(
    reference: str,
    other: str,
    results: str | Path | None,
    *,
    by: Sequence[str],
    metrics: Sequence[str],
    factors: Sequence[str],
    resamples: int,
) -> "pd.DataFrame":
    """As `aqr_exp.results.compare`."""
    from aqr_exp.report.compare.comparison import PARTS, Request, compare_two
    from aqr_exp.statistics.resampling import Resampling

    unknown = [part for part in by if part not in PARTS]
    if unknown:
        raise RequestError(f"by: unknown part '{unknown[0]}' (available: {', '.join(PARTS)})")
    store = store_at(results)
    rows = collect(store)
    arms = [one_arm(rows, name) for name in (reference, other)]
    names = tuple(metrics) or Request.metrics
    check_metric_names(names, [row for arm in arms for row in arm.runs])
    request = Request(
        metrics=names,
        errors=not metrics,
        parts=tuple(by),
        factors=tuple(factors),
        settings=Resampling(resamples=resamples),
    )
    runs = [arm.runs for arm in arms]
    left_out = all_left_out(arms)
    return as_frame(compare_two(*runs, store=store, request=request, left_out=left_out))


def as_frame(found: "Comparison") -> "pd.DataFrame":
    """A comparison, one row a number."""
    import pandas as pd

    from aqr_exp.report.compare.comparison import CLASS, CONDITION, METRIC

    values = [
        _compared_values(part, item)
        for part, items in (
            (METRIC, (*found.metrics, *found.errors)),
            (CLASS, found.classes),
            (CONDITION, found.conditions),
        )
        for item in items
    ]
    values += [_scene_values(change) for change in found.scenes.changes]
    counts = dict.fromkeys(("ground_truth", "pairs", "agreeing"), "Int64")
    frame = pd.DataFrame(values, columns=list(_COMPARED)).astype(counts)
    rows = found.rows
    frame.attrs |= {
        "configuration": {item.key: (item.ours, item.theirs) for item in found.configuration},
        "confounders": [str(item) for item in found.confounders],
        "notes": [*found.notes, *found.scenes.notes],
        "synthetic": any(row.synthetic for row in rows),
    }
    return frame


_COMPARED = (
    "part",
    "name",
    "condition",
    "ground_truth",
    "reference",
    "other",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "verdict",
    "sentence",
    "pairs",
    "agreeing",
)


def _compared_values(part: str, item: "Compared") -> dict[str, Any]:
    difference = item.result.difference
    return {
        "part": part,
        "name": item.metric,
        "condition": item.condition,
        "ground_truth": item.truths,
        "reference": item.reference.mean,
        "other": item.other.mean,
        "difference": difference.mean,
        "low": difference.low,
        "high": difference.high,
        "p": difference.p,
        "p_holm": item.result.p_holm,
        "verdict": item.result.word,
        "sentence": item.result.sentence,
        "pairs": difference.n_pairs,
    }


def _scene_values(change: "SceneChange") -> dict[str, Any]:
    return {
        "part": "scene",
        "name": change.scene,
        "ground_truth": change.truths,
        "reference": change.reference,
        "other": change.other,
        "difference": change.difference,
        "pairs": change.pairs,
        "agreeing": change.agreeing,
    }
