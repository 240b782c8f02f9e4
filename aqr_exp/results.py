"""The Python API: runs, tables and comparisons as pandas DataFrames. Importing it is light.

For notebooks and scripts, `load`, `table` and `compare` give pandas DataFrames (docs/api.md).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare", "load", "table"]


def load(results: str | Path | None = None, *, configuration: bool = False) -> "pd.DataFrame":
    """Every run of a results folder, one a row.

    Args:
        results: The folder; `$AQR_EXP_RESULTS`, or `results` below the current folder, by default.
        configuration: Whether the complete configuration is added, a column `config.<key>` each.

    Returns:
        Indexed by `run`; `status`, `reason`, `variant`, `fingerprint`, `preset`, `seed`, `overrides`,
        `split`, `synthetic`, `attempt`, and a column for every number of `metrics.json`, NaN where a run
        has none.
    """
    from aqr_exp.report.frames import runs_frame

    return runs_frame(results, configuration=configuration)


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

    Returns:
        The table's columns; `attrs` holds its `title`, its `notes` and whether it is `synthetic`.

    Raises:
        RequestError: A metric, condition, sweep or arm does not exist.
    """
    from aqr_exp.report.frames import table_frame, table_parts
    from aqr_exp.report.tables.request import TableRequest

    request = TableRequest(
        by=table_parts(by),
        metrics=metrics,
        where=where,
        sweep=sweep,
        baseline=baseline,
        factors=factors,
        sort=sort,
        at_epoch=at_epoch,
    )
    return table_frame(results, request)


def compare(
    reference: str,
    other: str,
    results: str | Path | None = None,
    *,
    by: Sequence[str] = ("metric", "class", "condition", "scene"),
    metrics: Sequence[str] = (),
    factors: Sequence[str] = (),
    resamples: int = 1000,
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

    Returns:
        Columns `part` (as in `by`), `name`, `condition`, `ground_truth`, `reference`, `other`,
        `difference`, `low`, `high`, `p`, `p_holm`, `verdict`, `sentence`, `pairs`, `agreeing`; `attrs`
        holds `configuration` (key: the two values), `confounders`, `notes` and whether it is `synthetic`.

    Raises:
        RequestError: A name matches neither an arm nor a run, or no run has a metric.
    """
    from aqr_exp.report.frames import comparison_frame

    return comparison_frame(
        reference, other, results, by=by, metrics=metrics, factors=factors, resamples=resamples
    )
