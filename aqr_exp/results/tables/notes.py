"""What stands below a table: how its numbers were made, and what is missing from them."""

from collections.abc import Sequence

from aqr_exp.results.tables.study import Arm, Study
from aqr_exp.results.tables.train_time import RelativeTime


def value_notes(study: Study) -> list[str]:
    """Where a mean is over fewer seeds than its line's n says."""
    return [
        f"{arm.name}: {item.name} is over {count} of {len(arm.group)} seeds, the others have none"
        for arm in study.arms
        for item in study.quantities
        if 0 < (count := arm.measured.means[item.name].n) < len(arm.group)
    ]


def time_notes(study: Study, times: Sequence[RelativeTime]) -> list[str]:
    """Why times are not compared: arms with the same reason share a line."""
    return _by_reason(
        "training time of",
        [(arm, time.reason) for arm, time in zip(study.arms, times, strict=False)],
    )


def baseline_notes(study: Study) -> list[str]:
    """Why arms are compared with nothing."""
    reasons = [(arm, arm.opponent.reason) for arm in study.arms]
    return _by_reason("no comparable baseline for", reasons)


def _by_reason(about: str, pairs: Sequence[tuple[Arm, str | None]]) -> list[str]:
    arms: dict[str, list[str]] = {}
    for arm, reason in pairs:
        if reason:
            arms.setdefault(reason, []).append(arm.name)
    return [f"{about} {', '.join(names)}: {reason}" for reason, names in arms.items()]


def unlike_pairs(study: Study) -> list[str]:
    """Arms whose opponent is not the only one: which is compared with which."""
    opponents = {
        arm.opponent.group[0].fingerprint for arm in study.arms if arm.opponent.group is not None
    }
    if len(opponents) < 2:
        return []
    return [
        f"{arm.name} is compared with {other[0].variant} {other[0].fingerprint}"
        for arm in study.arms
        if (other := arm.opponent.group) is not None
    ]
