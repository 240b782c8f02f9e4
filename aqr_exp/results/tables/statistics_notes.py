"""How differences and verdicts were made, and what these runs could have shown: below every table."""

from collections.abc import Sequence

from aqr_exp.results.tables.quantities import MAIN_METRICS, Quantity
from aqr_exp.results.tables.study import ALPHA, Arm, Study

# Beyond so many comparisons their sentences would bury the table.
MOST_SENTENCES = 8
MOST_REMARKS = 2
WANTED = 0.003
"""The effect that seeds are planned for: .3 points, about what reports in this field turn on."""


def statistics_notes(study: Study) -> list[str]:
    """Method, level, number of comparisons and resamples; verdicts in words; detectable effects.

    Args:
        study: The arms with their differences.
    """
    compared = [
        (arm, item, arm.differences[item.name])
        for arm in study.arms
        for item in study.quantities
        if item.name in arm.differences
    ]
    if not compared:
        return []
    return [_method(study), *_sentences(study), *_detectable(study)]


def _method(study: Study) -> str:
    from aqr_exp.results.inference.differences import DEFAULT

    verdicts = [verdict for arm in study.arms for verdict in arm.verdicts.values()]
    methods = dict.fromkeys(verdict.difference.method for verdict in verdicts)
    tested = sum(verdict.p_holm is not None for verdict in verdicts)
    scenes = max(verdict.difference.scenes for verdict in verdicts)
    drawn = f", {DEFAULT.resamples} resamples of up to {scenes} scenes" if scenes else ""
    return (
        f"differences: {'; '.join(methods)}{drawn}; verdicts at alpha = {ALPHA:g} after Holm's "
        f"correction for {tested} comparison{'s' if tested != 1 else ''}"
    )


def _sentences(study: Study) -> list[str]:
    verdicts = [
        (arm, arm.verdicts[item.name])
        for arm in study.arms
        for item in study.quantities
        if item.name in arm.verdicts
    ]
    # What all comparisons of an arm have in common to say is said once.
    remarks = [(arm.name, verdict.difference.note) for arm, verdict in verdicts]
    said = [
        f"{arm.name}: {verdict.sentence.removesuffix(f'; {verdict.difference.note}')}"
        for arm, verdict in verdicts
    ]
    return [*(said if len(said) <= MOST_SENTENCES else []), *_remarks(remarks)]


def _remarks(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What comparisons lack, each once and not more than a few of each arm."""
    by_arm: dict[str, dict[str, None]] = {}
    for arm, note in pairs:
        said = [part for part in note.split("; ") if part]
        by_arm.setdefault(arm, {}).update(dict.fromkeys(said))
    seen: set[str] = set()
    lines = []
    for arm, parts in by_arm.items():
        new = [part for part in parts if part not in seen]
        seen.update(new)
        more = f"; and {len(new) - MOST_REMARKS} more" if len(new) > MOST_REMARKS else ""
        if new:
            lines.append(f"{arm}: {'; '.join(new[:MOST_REMARKS])}{more}")
    return lines[:MOST_SENTENCES]


def _detectable(study: Study) -> list[str]:
    """For each quantity the comparison that could show least: nothing smaller is sure to be seen."""
    notes = []
    for item in study.quantities[:MOST_SENTENCES]:
        known = [
            (difference.mde, arm)
            for arm in study.arms
            if (difference := arm.differences.get(item.name)) is not None and difference.mde
        ]
        if known:
            notes.append(_plan(item, max(known, key=lambda pair: pair[0])[1]))
    return notes


def _plan(item: Quantity, arm: Arm) -> str:
    difference = arm.differences[item.name]
    seeds = f"{difference.n} seed{'s' if difference.n != 1 else ''}"
    seen = _amount(item, difference.mde or 0.0)
    text = f"{item.name}: with these {seeds} you could see {seen}"
    if not _in_points(item) or (difference.mde or 0.0) <= WANTED:
        return text
    needed = difference.seeds_for(WANTED)
    plan = (
        f"plan {needed} seeds"
        if needed is not None
        else "no number of seeds is enough: the scenes are too few"
    )
    return f"{text}; for {_amount(item, WANTED)} {plan}"


def _amount(item: Quantity, value: float) -> str:
    return f"±{100 * value:.2g} points" if _in_points(item) else f"±{value:.2g}"


def _in_points(item: Quantity) -> bool:
    return item.metric in MAIN_METRICS or item.metric.startswith("AP/")
