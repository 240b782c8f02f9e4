"""How differences and verdicts were made, and what these runs could have shown: below every table."""

from collections.abc import Mapping, Sequence

from aqr_exp.results.tables.measures import ALPHA, WANTED, Decided
from aqr_exp.results.tables.quantities import Quantity
from aqr_exp.results.tables.study import Arm, Study

# Beyond so many comparisons their sentences would bury the table.
MOST_SENTENCES = 8
MOST_REMARKS = 2


def statistics_notes(study: Study) -> list[str]:
    """Method, level, number of comparisons and resamples; verdicts in words; detectable effects.

    Args:
        study: The arms with their differences.
    """
    decided = [
        (arm, arm.measured.decided[item.name])
        for arm in study.arms
        for item in study.quantities
        if item.name in arm.measured.decided
    ]
    if not decided:
        return []
    return [_method(decided), *_sentences(decided), *_detectable(study)]


def _method(decided: Sequence[tuple[Arm, Decided]]) -> str:
    methods = dict.fromkeys(item.method for _, item in decided)
    tested = sum(item.p_holm is not None for _, item in decided)
    scenes = max(item.scenes for _, item in decided)
    drawn = f", {_resamples()} resamples of up to {scenes} scenes" if scenes else ""
    return (
        f"differences: {'; '.join(methods)}{drawn}; verdicts at alpha = {ALPHA:g} after Holm's "
        f"correction for {tested} comparison{'s' if tested != 1 else ''}"
    )


def _resamples() -> int:
    from aqr_exp.results.inference.differences import DEFAULT

    return DEFAULT.resamples


def _sentences(decided: Sequence[tuple[Arm, Decided]]) -> list[str]:
    # What all comparisons of an arm have in common to say is said once.
    said = [f"{arm.name}: {item.sentence.removesuffix(f'; {item.note}')}" for arm, item in decided]
    remarks = _remarks([(arm.name, item.note) for arm, item in decided])
    return [*(said if len(said) <= MOST_SENTENCES else []), *remarks]


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
        known = [arm.measured.decided.get(item.name) for arm in study.arms]
        given = [(each.mde, each) for each in known if each is not None and each.mde]
        if given:
            least = max(given, key=lambda pair: pair[0])[1]
            notes.append(_plan(item, least, study.seeds_for_wanted))
    return notes


def _plan(item: Quantity, least: Decided, plans: Mapping[str, int | None]) -> str:
    seeds = f"{least.n} seed{'s' if least.n != 1 else ''}"
    text = f"{item.name}: with these {seeds} you could see {_amount(item, least.mde or 0.0)}"
    if item.name not in plans:
        return text
    needed = plans[item.name]
    plan = (
        f"plan {needed} seeds"
        if needed is not None
        else "no number of seeds is enough: the scenes are too few"
    )
    return f"{text}; for {_amount(item, WANTED)} {plan}"


def _amount(item: Quantity, value: float) -> str:
    return f"±{100 * value:.2g} points" if item.in_points else f"±{value:.2g}"
