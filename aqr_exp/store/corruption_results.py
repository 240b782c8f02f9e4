"""Results under sensor failures: their files, resistance abilities and their means."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from aqr_exp.data.corruptions.cases import CORRUPTIONS, CorruptionCase, cases_of
from aqr_exp.errors import AqrExpError
from aqr_exp.store.run_files import RunPaths, check_sizes, read_metrics_file, write_metrics_file


def ratio(failed: float | None, clean: float | None) -> float | None:
    """A score under a failure over the clean one; None where there is none or the clean one is 0."""
    return None if failed is None or not clean else failed / clean


def by_failure(scores: Mapping[CorruptionCase, float]) -> dict[str, list[float]]:
    """Scores of each failure of which every severity was evaluated, in the registry's order."""
    found = {
        name: [scores.get(case) for case in cases_of(item)] for name, item in CORRUPTIONS.items()
    }
    known = {name: [one for one in all_ if one is not None] for name, all_ in found.items()}
    return {name: values for name, values in known.items() if len(values) == len(found[name])}


def resistance_abilities(
    scores: Mapping[CorruptionCase, float], clean: float | None
) -> dict[str, float]:
    """Resistance ability (RA, MultiCorrupt) by failure: the mean over severities of NDS / clean NDS."""
    return {
        name: fmean(value / clean for value in values)
        for name, values in by_failure(scores).items()
        if clean
    }


def relative_resistance(
    scores: Mapping[CorruptionCase, float], baseline: Mapping[CorruptionCase, float]
) -> dict[str, float]:
    """Relative resistance ability (RRA, MultiCorrupt) by failure, in %: summed NDS / the baseline's - 1."""
    ours, theirs = ({k: sum(v) for k, v in by_failure(one).items()} for one in (scores, baseline))
    return {name: 100 * (ours[name] / theirs[name] - 1) for name in ours if theirs.get(name)}


def means_over(runs: Sequence[Mapping[str, float]], failures: Sequence[str]) -> list[float]:
    """The mean over failures (mRA, mRRA) of each run that has all of them; empty of no failures."""
    return [
        fmean(run[name] for name in failures)
        for run in runs
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
