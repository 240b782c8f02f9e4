"""The cells of a measured quantity: its mean, its difference to the baseline, the verdict."""

from collections.abc import Mapping, Sequence

from aqr_exp.report.tables.baselines import RelativeTime
from aqr_exp.report.tables.cells import (
    NO_VALUE,
    Cell,
    count_cell,
    number_cell,
    text_cell,
    words_cell,
)
from aqr_exp.report.tables.measures import ALPHA, WANTED, Decided, Mean
from aqr_exp.report.tables.request import Quantity
from aqr_exp.report.tables.study import Arm, Study
from aqr_exp.statistics.confounders import Confounder

ONE_SEED = "one seed: no interval"
NO_BASELINE = "no comparable baseline"
CONFOUNDERS = "confounders"


class Marks:
    """Hands out the letters of footnotes: the same confounders get the same letter."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def of(self, text: str) -> str:
        """The letter of a footnote."""
        if text not in self._texts:
            self._texts[text] = letter(len(self._texts))
        return self._texts[text]

    def notes(self) -> list[str]:
        """The footnotes in the order of their letters."""
        return [f"({mark}) {text}" for text, mark in self._texts.items()]


def letter(index: int) -> str:
    """a, b, ..., z, aa, ab, ...: footnote marks in their order, from 0."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters


def mean_cells(mean: Mean) -> tuple[Cell, Cell, Cell, Cell]:
    """The mean, the standard deviation and the interval's ends; the lower end says why it lacks."""
    cells = number_cell(mean.mean), number_cell(mean.sd)
    if mean.low is not None:
        return (*cells, number_cell(mean.low), number_cell(mean.high))
    words = ONE_SEED if mean.n == 1 else "no value"
    return (*cells, words_cell(words), words_cell(""))


def count_and_mean_cells(mean: Mean) -> tuple[Cell, ...]:
    """How many runs, then as `mean_cells`."""
    return (count_cell(mean.n), *mean_cells(mean))


def difference_cells(arm: Arm, name: str, marks: Marks) -> tuple[Cell, Cell, Cell, Cell]:
    """An arm's difference, its interval's ends and the verdict.

    Args:
        arm: The arm.
        name: The quantity's.
        marks: Hands out the letter that names the confounders.
    """
    decided = arm.measured.decided.get(name)
    if decided is None:
        words = NO_BASELINE if arm.opponent.reason else "-"
        return (words_cell(words), NO_VALUE, NO_VALUE, NO_VALUE)
    mark = marks.of(confounded_by(arm)) if arm.opponent.confounders else ""
    value = number_cell(decided.mean, signed=True)
    return (
        Cell(text=value.text, value=value.value, mark=mark),
        number_cell(decided.low, signed=True),
        number_cell(decided.high, signed=True),
        text_cell(decided.word),
    )


def confounders_cell(arm: Arm) -> Cell:
    """What confounds an arm's differences, for programs."""
    return text_cell("; ".join(map(str, arm.opponent.confounders)))


def confounded_by(arm: Arm) -> str:
    """The footnote of an arm's confounders."""
    return confounding_words(arm.opponent.confounders)


def confounding_words(confounders: tuple[Confounder, ...]) -> str:
    """Confounders in one line."""
    return f"not only the declared factor differs: {'; '.join(map(str, confounders))}"


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
    from aqr_exp.statistics.differences import DEFAULT

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
