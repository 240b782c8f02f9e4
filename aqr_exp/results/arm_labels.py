"""What to call arms that stand beside one another."""

from collections import Counter
from collections.abc import Sequence

from aqr_exp.results.collect import RunRow

# How a run is executed tells no arm from another.
_CIRCUMSTANCE = "launcher."


def arm_labels(arms: Sequence[RunRow]) -> list[str]:
    """The shortest name for each arm: its variant, with what was typed for it where it needs that.

    Args:
        arms: One run of each arm.

    Returns:
        As many labels, all different where the arms' variants, changes or identities are.
    """
    typed = [_changes(row) for row in arms]
    shared = set.intersection(*map(set, typed)) if len(typed) > 1 else set()
    variants = Counter(row.variant for row in arms)
    labels = []
    for row, words in zip(arms, typed, strict=True):
        own = [word for word in words if word not in shared]
        labels.append(" ".join([row.variant, *own]) if variants[row.variant] > 1 else row.variant)
    seen = Counter(labels)
    return [
        f"{label} {row.fingerprint}" if seen[label] > 1 else label
        for label, row in zip(labels, arms, strict=True)
    ]


def _changes(row: RunRow) -> list[str]:
    return [word for word in row.overrides.split() if not word.startswith(_CIRCUMSTANCE)]
