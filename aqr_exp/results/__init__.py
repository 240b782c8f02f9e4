"""One folder a run, and what many of them say together; imports nothing heavy.

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
    from aqr_exp.results.frames import runs_frame

    return runs_frame(results, configuration=configuration)


def table(
    results: str | Path | None = None,
    *,
    metrics: Sequence[str] = ("mAP", "NDS"),
    of: Sequence[str] = (),
) -> "pd.DataFrame":
    """Means over seeds with their intervals, one row an arm and metric.

    Args:
        results: The folder, as in `load`.
        metrics: Names such as `mAP`, `AP/car` or `mAP@night`.
        of: Sweeps, or beginnings of runs' names; all runs by default.

    Returns:
        Indexed by `arm` and `metric`; `variant`, `fingerprint`, `overrides`, `split`, `synthetic`, `n`,
        `mean`, `sd`, `low`, `high`, `method`, `note`.

    Raises:
        RequestError: No run has a metric, or nothing begins with a name of `of`.
    """
    from aqr_exp.results.frames import means_frame

    return means_frame(results, metrics, of)


def compare(
    reference: str,
    other: str,
    results: str | Path | None = None,
    *,
    by: Sequence[str] = ("metric", "class", "condition", "scene"),
    metrics: Sequence[str] = (),
    resamples: int = 1000,
) -> "pd.DataFrame":
    """Two arms or runs, one row a number: other minus reference.

    Args:
        reference: A run's name, or the beginning of the names of an arm's runs.
        other: What is compared with it.
        results: The folder, as in `load`.
        by: Of `metric`, `class`, `condition`, `scene`.
        metrics: In place of mAP, NDS and the errors.
        resamples: How often scenes are drawn again.

    Returns:
        Columns `part` (as in `by`), `name`, `condition`, `ground_truth`, `reference`, `other`,
        `difference`, `low`, `high`, `p`, `p_holm`, `verdict`, `sentence`, `pairs`, `agreeing`.

    Raises:
        RequestError: A name is no arm and no run, or no run has a metric.
    """
    from aqr_exp.results.frames import comparison_frame

    return comparison_frame(reference, other, results, by=by, metrics=metrics, resamples=resamples)
