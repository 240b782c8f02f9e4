"""The Python API (docs/api.md): runs, tables and comparisons as pandas DataFrames.

Importing it is light: NumPy and pandas are imported by its functions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aqr_exp.config.short_names import flat
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.files.text import typed_path
from aqr_exp.report.arm_names import one_arm, same_setting
from aqr_exp.report.tables.request import By, TableRequest, question
from aqr_exp.statistics.metrics import SESOI_POINTS, VAL
from aqr_exp.store.collect import RunRow, collect
from aqr_exp.store.store import Store, results_root

if TYPE_CHECKING:
    import pandas as pd

    from aqr_exp.report.compare.comparison import Compared
    from aqr_exp.report.compare.scenes import SceneChange

__all__ = ["compare", "load", "table"]


def load(results: str | Path | None = None, *, configuration: bool = False) -> "pd.DataFrame":
    """Every run of a results folder, one a row.

    Args:
        results: The folder; `$AQR_EXP_RESULTS`, or `results` below the current folder, by default.
        configuration: Whether the complete configuration is added, a column `config.<key>` each.

    Returns:
        Indexed by `run`; `status`, `reason`, `variant`, `fingerprint`, `preset`, `seed`, `overrides`,
        `split`, `synthetic`, `verified`, `attempt`, and a column for every number of `metrics.json`,
        NaN where a run has none.
    """
    import pandas as pd

    store = _store_at(results)
    rows = collect(store)
    values = [_run_values(row) for row in rows]
    if configuration:
        values = [one | _configuration(store, row) for one, row in zip(values, rows, strict=True)]
    index = pd.Index([row.name for row in rows], name="run")
    columns = list(dict.fromkeys([*_OF_A_ROW, *(name for one in values for name in one)]))
    frame = pd.DataFrame(values, index=index, columns=columns)
    # A missing seed must not make the others fractions.
    return frame.astype({"seed": "Int64", "attempt": "Int64"})


def table(
    results: str | Path | None = None,
    *,
    by: str = "arm",
    metrics: Sequence[str] | None = None,
    where: Sequence[str] = (),
    sweep: str | None = None,
    baseline: str | None = None,
    factors: Sequence[str] = (),
    sort: str | None = None,
    at_epoch: str | None = None,
    population: str = VAL,
    sesoi: float = SESOI_POINTS,
    paired: bool = False,
) -> "pd.DataFrame":
    """The table that `aqr-exp table` prints, with the same digits.

    Args:
        results: The folder, as in `load`.
        by: `arm`, `metric`, `class`, `condition` or `range`.
        metrics: Metric names; None takes the usual ones.
        where: Conditions that runs must meet, such as `bias_scale >= 2`.
        sweep: The sweep whose runs are shown; None shows all.
        baseline: The arm that all others are compared with; None takes each arm's own.
        factors: What two arms may differ in besides their variant.
        sort: A column, `-` in front for the other order.
        at_epoch: `last-common` or an epoch; None takes the metrics of record.
        population: What verdicts are about: `val`, these scenes, or `scenes`, other ones as well.
        sesoi: The smallest effect of interest, in points.
        paired: Whether arms of one seed share their start, and are compared seed by seed.

    Returns:
        The table's columns; `attrs` holds its `title`, its `notes`, whether it is `synthetic`, and what a
        `sweep` over numbers says of each.

    Raises:
        RequestError: A metric, condition, sweep or arm does not exist.
    """
    import pandas as pd

    from aqr_exp.report.tables.build import build_table

    names = [part.value for part in By]
    if by not in names:
        raise RequestError(f"by: '{by}'{did_you_mean(by, names)} (available: {', '.join(names)})")
    request = TableRequest(
        by=By(by),
        metrics=metrics,
        where=where,
        sweep=sweep,
        baseline=baseline,
        factors=factors,
        sort=sort,
        at_epoch=at_epoch,
        population=population,
        sesoi_points=sesoi,
        paired=paired,
    )
    store = _store_at(results)
    built = build_table(store, collect(store), request).table
    values = [[cell.value for cell in row] for row in built.all_rows]
    frame = pd.DataFrame(values, columns=list(built.names))
    frame.attrs |= {
        "title": built.title,
        "notes": list(built.notes),
        "synthetic": built.synthetic,
        "sweep": list(built.sweep),
    }
    return frame


def compare(
    reference: str,
    other: str,
    results: str | Path | None = None,
    *,
    by: Sequence[str] = ("metric", "class", "condition", "scene"),
    metrics: Sequence[str] = (),
    factors: Sequence[str] = (),
    resamples: int = 1000,
    population: str = VAL,
    sesoi: float = SESOI_POINTS,
    paired: bool = False,
) -> "pd.DataFrame":
    """Two arms or runs, one row a number: other minus reference.

    Args:
        reference: A run's name, or the beginning of the names of an arm's runs.
        other: What is compared with it.
        results: The folder, as in `load`.
        by: Of `metric`, `class`, `condition`, `scene`.
        metrics: In place of mAP, NDS and the errors.
        factors: What the two may differ in besides their variant.
        resamples: How often scenes are drawn again.
        population: As in `table`, and `sesoi` and `paired`.

    Returns:
        Columns `part` (as in `by`), `name`, `condition`, `ground_truth`, `reference`, `other`,
        `difference`, `low`, `high`, `p`, `verdict`, `other_scenes`, `sentence`, `pairs`, `agreeing`;
        `attrs` holds `configuration` (key: the two values), `confounders`, `notes` and whether it is
        `synthetic`.

    Raises:
        RequestError: A name matches neither an arm nor a run, or no run has a metric.
    """
    import pandas as pd

    from aqr_exp.report.compare import comparison

    unknown = [part for part in by if part not in comparison.PARTS]
    if unknown:
        there = ", ".join(comparison.PARTS)
        raise RequestError(f"by: unknown part '{unknown[0]}' (available: {there})")
    store = _store_at(results)
    rows = collect(store)
    arms, lines = zip(*(one_arm(rows, name) for name in (reference, other)), strict=True)
    request = comparison.Request(
        metrics=tuple(metrics) or comparison.Request.metrics,
        errors=not metrics,
        parts=tuple(by),
        factors=tuple(factors),
        settings=question(population, sesoi, paired=paired, resamples=resamples),
    )
    left_out = [line for each in lines for line in each]
    found = comparison.compare_two(
        *arms,
        store=store,
        request=request,
        further=same_setting(store, rows, arms),
        left_out=left_out,
    )
    parts = {
        comparison.METRIC: (*found.metrics, *found.errors),
        comparison.CLASS: found.classes,
        comparison.CONDITION: found.conditions,
    }
    values = [_compared_values(part, item) for part, items in parts.items() for item in items]
    values += [_scene_values(change) for change in found.scenes.changes]
    counts = dict.fromkeys(("ground_truth", "pairs", "agreeing"), "Int64")
    frame = pd.DataFrame(values, columns=list(_COMPARED)).astype(counts)
    frame.attrs |= {
        "configuration": {item.key: (item.ours, item.theirs) for item in found.configuration},
        "confounders": [str(item) for item in found.confounders],
        "notes": [*found.notes, *found.scenes.notes],
        "synthetic": any(row.synthetic for row in found.rows),
    }
    return frame


_OF_A_ROW = (
    "status",
    "reason",
    "variant",
    "fingerprint",
    "preset",
    "seed",
    "overrides",
    "split",
    "synthetic",
    "verified",
    "attempt",
)
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
    "verdict",
    "other_scenes",
    "sentence",
    "pairs",
    "agreeing",
)


def _store_at(results: str | Path | None) -> Store:
    return Store(results_root() if results is None else typed_path(results, "results"))


def _run_values(row: RunRow) -> dict[str, Any]:
    facts = {name: getattr(row, name, None) for name in _OF_A_ROW}
    facts |= {
        "split": row.metrics.get("split"),
        "synthetic": row.synthetic if row.metrics else None,
    }
    numbers = {name: row.metric(name) for name in row.metrics if name not in facts}
    return facts | {name: value for name, value in numbers.items() if value is not None}


def _configuration(store: Store, row: RunRow) -> dict[str, Any]:
    """A run's configuration; none where its file is damaged, which `status` need not know."""
    try:
        spec = store.folder(row.name).read_spec()
    except AqrExpError:
        return {}
    return {f"config.{key}": value for key, value in flat(spec).items()}


def _compared_values(part: str, item: "Compared") -> dict[str, Any]:
    difference = item.difference
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
        "verdict": difference.word,
        "other_scenes": difference.on_other_scenes,
        "sentence": difference.sentence,
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
