"""Training time of an arm relative to the baseline's, or why there is no saying."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from aqr_exp.results.collect import RunRow
from aqr_exp.results.setting import differing_circumstances

TRAIN_TIME = "train_time_s"
BASELINE = "baseline"


@dataclass(frozen=True, kw_only=True)
class RelativeTime:
    """An arm's training time over the baseline's.

    Attributes:
        ratio: Mean over mean, over seeds; None where they cannot be compared.
        reason: Why they cannot, or which runs were left out; None when there is nothing to say.
    """

    ratio: float | None = None
    reason: str | None = None


def relative_time(arm: Sequence[RunRow], baseline: Sequence[RunRow] | None) -> RelativeTime:
    """Compare training times.

    Args:
        arm: An arm's completed runs.
        baseline: Those of the baseline with the same setting; None when there are none.

    Returns:
        The ratio of the mean times, or the reason there is none.
    """
    if not baseline:
        return RelativeTime(reason="no baseline with the same model, data and schedule")
    ours, theirs = _timed(arm), _timed(baseline)
    for runs, whose in ((ours, "its"), (theirs, "the baseline's")):
        if not runs:
            return RelativeTime(reason=f"none of {whose} runs was timed in one go")
    # Every run against one: what differs within an arm spoils its mean just as well.
    first = theirs[0]
    for row in (*ours, *theirs):
        differing = differing_circumstances(row.hardware, first.hardware)
        if differing:
            reason = f"{row.name} and {first.name} ran with {', '.join(differing)}"
            return RelativeTime(reason=reason)
    ratio = fmean(_seconds(row) for row in ours) / fmean(_seconds(row) for row in theirs)
    left_out = len(arm) - len(ours)
    words = f"{left_out} of {len(arm)} runs were not timed in one go and are left out"
    return RelativeTime(ratio=ratio, reason=words if left_out else None)


def _timed(rows: Sequence[RunRow]) -> list[RunRow]:
    """Runs whose time is that of the whole training: a resumed run's is that of its last attempt."""
    return [row for row in rows if row.attempt == 1 and _seconds(row) > 0]


def _seconds(row: RunRow) -> float:
    return row.metric(TRAIN_TIME) or 0.0
