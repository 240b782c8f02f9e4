"""Results under sensor failures: their files, relative accuracy, its means, the worst case."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from aqr_exp.data.corruptions.cases import CORRUPTIONS, CorruptionCase
from aqr_exp.errors import AqrExpError
from aqr_exp.store.run_files import RunPaths, check_sizes, read_metrics_file, write_metrics_file


def ratio(failed: float | None, clean: float | None) -> float | None:
    """A score under a failure over the clean one; None where there is none or the clean one is 0."""
    return None if failed is None or not clean else failed / clean


def relative_accuracies(
    scores: Mapping[CorruptionCase, float], clean: float | None
) -> dict[str, float]:
    """RA of one run by failure: the mean over severities of NDS under the failure / clean NDS.

    Args:
        scores: NDS by case; only the severities of the registry count.

    Returns:
        RA of each failure of which every severity was evaluated, in the registry's order.
    """
    found: dict[str, float] = {}
    for name, failure in CORRUPTIONS.items():
        wanted = [CorruptionCase(corruption=name, severity=level) for level in failure.severities]
        ratios = [ratio(scores.get(case), clean) for case in wanted]
        known = [value for value in ratios if value is not None]
        if len(known) == len(wanted):
            found[name] = fmean(known)
    return found


def mean_relative_accuracy(
    accuracies: Sequence[Mapping[str, float]], failures: Sequence[str]
) -> list[float]:
    """The mean over failures (mRA) of each run that has an RA of all; empty of no failures."""
    return [
        fmean(run[name] for name in failures)
        for run in accuracies
        if failures and all(name in run for name in failures)
    ]


CLEAN = "clean_predictions_sha256"
"""The key of the SHA-256 of the run's detections on clean data, which this one is compared with."""


def read_evaluation(
    folder: RunPaths, case: CorruptionCase, clean: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The metrics of a case; None where it was not evaluated with the present weights and definition.

    Raises:
        AqrExpError: The evaluation is damaged; names the file.
    """
    paths = folder.failure_paths(case.name)
    if not paths.metrics_path.exists():
        return None
    read = read_metrics_file(paths)
    check_sizes(str(paths.path), read.sizes)
    metrics = read.metrics
    current = (
        metrics.get(CLEAN) == clean.get("predictions_sha256")
        and metrics.get("definition") == case.definition.definition
    )
    return metrics if current else None


def missing_cases(
    folder: RunPaths, cases: Sequence[CorruptionCase], clean: Mapping[str, Any]
) -> list[CorruptionCase]:
    """The cases that have no evaluation of the run's weights, or a damaged one."""

    def lacks(case: CorruptionCase) -> bool:
        try:
            return read_evaluation(folder, case, clean) is None
        except AqrExpError:
            return True

    return [case for case in cases if lacks(case)]


def write_evaluation(
    folder: RunPaths,
    case: CorruptionCase,
    metrics: Mapping[str, Any],
    clean: Mapping[str, Any],
    split: str,
) -> dict[str, Any]:
    """Write, and return, the metrics of a case whose detections and match records are in its folder.

    Raises:
        OSError: A file is missing, or the metrics cannot be written.
    """
    paths = folder.failure_paths(case.name)
    kept = {
        **metrics,
        "failure": case.corruption,
        "severity": case.severity,
        "definition": case.definition.definition,
        "split": split,
        CLEAN: clean.get("predictions_sha256"),
    }
    write_metrics_file(paths, kept, (paths.predictions_path(split), paths.records_path))
    return kept
