"""The cells of a measured quantity: its mean, its difference to the baseline, the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from aqr_exp.report.tables.baselines import RelativeTime
from aqr_exp.report.tables.cells import (
    NO_VALUE,
    Cell,
    Column,
    count_cell,
    number_cell,
    text_cell,
    words_cell,
)
from aqr_exp.report.tables.comparison_data import (
    ALPHA,
    TARGET_EFFECT,
    ComparisonData,
    TableArm,
    least_sensitive,
)
from aqr_exp.report.tables.request import Quantity
from aqr_exp.statistics.differences import DEFAULT
from aqr_exp.statistics.estimates import ArmDifference, ArmMean
from aqr_exp.statistics.grouping import arm_name
from aqr_exp.statistics.metrics import in_points
from aqr_exp.statistics.verdicts import DifferenceResult
from aqr_exp.store.counting import grouped

ONE_SEED = "one seed: no interval"
NO_BASELINE = "no comparable baseline"
CONFOUNDERS_COLUMN = Column("confounders", machine_only=True, with_baseline=True)


class Marks:
    """Hands out the letters of footnotes: the same confounders get the same letter."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def of(self, text: str) -> str:
        """The letter of a footnote."""
        return self._texts.setdefault(text, letter(len(self._texts)))

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


def mean_cells(mean: ArmMean) -> tuple[Cell, Cell, Cell, Cell]:
    """Mean, standard deviation and the interval's ends, the lower with the reason for no interval."""
    cells = number_cell(mean.mean), number_cell(mean.sd)
    if mean.low is not None:
        return (*cells, number_cell(mean.low), number_cell(mean.high))
    words = ONE_SEED if mean.n == 1 else "no value"
    return (*cells, words_cell(words), words_cell(""))


def count_and_mean_cells(mean: ArmMean) -> tuple[Cell, ...]:
    """The number of runs, then as `mean_cells`."""
    return (count_cell(mean.n), *mean_cells(mean))


def difference_cells(arm: TableArm, name: str, marks: Marks) -> tuple[Cell, Cell, Cell, Cell]:
    """An arm's difference, its interval's ends and the verdict."""
    result = arm.estimates.differences.get(name)
    if result is None:
        words = NO_BASELINE if arm.match.reason else "-"
        return (words_cell(words), NO_VALUE, NO_VALUE, NO_VALUE)
    value = number_cell(result.difference.mean, signed=True)
    if arm.match.confounders:
        words = "; ".join(map(str, arm.match.confounders))
        value = replace(value, mark=marks.of(f"not only the declared factor differs: {words}"))
    return (
        value,
        number_cell(result.difference.low, signed=True),
        number_cell(result.difference.high, signed=True),
        text_cell(result.word),
    )


def confounders_cell(arm: TableArm) -> Cell:
    """The confounders of an arm's differences, for programs."""
    return text_cell("; ".join(map(str, arm.match.confounders)))


def value_notes(data: ComparisonData) -> list[str]:
    """Means over fewer seeds than their line's n."""
    return [
        f"{arm.name}: {item.name} is over {count} of {len(arm.group)} seeds, the others have none"
        for arm in data.arms
        for item in data.quantities
        if 0 < (count := arm.estimates.means[item.name].n) < len(arm.group)
    ]


def time_notes(data: ComparisonData, times: Sequence[RelativeTime]) -> list[str]:
    """Reasons why times are not compared: arms with the same reason share a line."""
    reasons = [(arm, time.reason) for arm, time in zip(data.arms, times, strict=False)]
    return _by_reason("training time of", reasons)


def baseline_notes(data: ComparisonData) -> list[str]:
    """Reasons why arms are compared with nothing."""
    reasons = [(arm, arm.match.reason) for arm in data.arms]
    return _by_reason("no comparable baseline for", reasons)


def _by_reason(about: str, pairs: Sequence[tuple[TableArm, str | None]]) -> list[str]:
    by_reason = grouped(pairs, lambda pair: pair[1])
    return [
        f"{about} {', '.join(arm.name for arm, _ in alike)}: {reason}"
        for reason, alike in by_reason.items()
        if reason
    ]


def unlike_pairs(data: ComparisonData) -> list[str]:
    """Arms whose match is not the only one: which is compared with which."""
    matches = {arm.match.group[0].fingerprint for arm in data.arms if arm.match.group is not None}
    if len(matches) < 2:
        return []
    return [
        f"{arm.name} is compared with {arm_name(other)}"
        for arm in data.arms
        if (other := arm.match.group) is not None
    ]


# Beyond so many comparisons their sentences would bury the table.
MOST_SENTENCES = 8
MOST_REMARKS = 2


def statistics_notes(data: ComparisonData) -> list[str]:
    """Method, level, number of comparisons and resamples; verdicts in words; detectable effects."""
    decided = [
        (arm, arm.estimates.differences[item.name])
        for arm in data.arms
        for item in data.quantities
        if item.name in arm.estimates.differences
    ]
    if not decided:
        return []
    return [_method(decided), *_sentences(decided), *_detectable(data)]


def _method(decided: Sequence[tuple[TableArm, DifferenceResult]]) -> str:
    methods = dict.fromkeys(item.difference.method for _, item in decided)
    tested = sum(item.p_holm is not None for _, item in decided)
    scenes = max(item.difference.scenes for _, item in decided)
    drawn = f", {DEFAULT.resamples} resamples of up to {scenes} scenes" if scenes else ""
    return (
        f"differences: {'; '.join(methods)}{drawn}; verdicts at alpha = {ALPHA:g} after Holm's "
        f"correction for {tested} comparison{'s' if tested != 1 else ''}"
    )


def _sentences(decided: Sequence[tuple[TableArm, DifferenceResult]]) -> list[str]:
    # The remark that all comparisons of an arm share is shown once.
    said = [
        f"{arm.name}: {item.sentence.removesuffix(f'; {item.difference.note}')}"
        for arm, item in decided
    ]
    remarks = _remarks([(arm.name, item.difference.note) for arm, item in decided])
    return [*(said if len(said) <= MOST_SENTENCES else []), *remarks]


def _remarks(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Remarks on comparisons, each once and not more than a few of each arm."""
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


def _detectable(data: ComparisonData) -> list[str]:
    """For each quantity the comparison that could show least: nothing smaller is sure to be seen."""
    estimates = [arm.estimates for arm in data.arms]
    return [
        _plan(item, least, data.seeds_for_target)
        for item in data.quantities[:MOST_SENTENCES]
        if (least := least_sensitive(estimates, item.name)) is not None and least.mde
    ]


def _plan(item: Quantity, least: ArmDifference, plans: Mapping[str, int | None]) -> str:
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
    return f"{text}; for {_amount(item, TARGET_EFFECT)} {plan}"


def _amount(item: Quantity, value: float) -> str:
    return f"±{100 * value:.2g} points" if in_points(item.metric) else f"±{value:.2g}"
