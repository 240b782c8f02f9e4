"""The cells of a measured quantity: its mean, its difference to the baseline, the verdict."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from aqr_exp.files.suggest import some
from aqr_exp.report.tables.baselines import RelativeTime
from aqr_exp.report.tables.cells import (
    NO_VALUE,
    Cell,
    Column,
    count_cell,
    metric_cell,
    text_cell,
    words_cell,
)
from aqr_exp.report.tables.comparison_data import ComparisonData, TableArm
from aqr_exp.report.tables.request import Quantity
from aqr_exp.statistics.confounders import changed_modules, some_files
from aqr_exp.statistics.differences import DEFAULT
from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.grouping import arm_name
from aqr_exp.statistics.metrics import PRIMARY, SCENES, VAL
from aqr_exp.statistics.verdicts import NO_DATA, ArmDifference
from aqr_exp.store.counting import grouped

ONE_SEED = "one seed: no interval"
NO_BASELINE = "no comparable baseline"
UNDECLARED = "not among the arms that the sweep declared"
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


def mean_cells(mean: ArmMean, metric: str) -> tuple[Cell, Cell, Cell, Cell]:
    """Mean, standard deviation and the interval's ends, the lower with the reason for no interval."""
    sd = metric_cell(metric, mean.sd)
    if mean.low is not None:
        low, high = metric_cell(metric, mean.low), metric_cell(metric, mean.high)
        return metric_cell(metric, mean.mean), sd, low, high
    words = ONE_SEED if mean.n == 1 else NO_DATA
    return (metric_cell(metric, mean.mean), sd, words_cell(words), words_cell(""))


def count_and_mean_cells(mean: ArmMean, metric: str) -> tuple[Cell, ...]:
    """The number of runs, then as `mean_cells`."""
    return (count_cell(mean.n), *mean_cells(mean, metric))


def difference_cells(arm: TableArm, item: Quantity, marks: Marks) -> tuple[Cell, ...]:
    """An arm's difference, its interval's ends, the verdict, and whether it holds on other scenes."""
    found = arm.estimates.differences.get(item.name)
    if found is None:
        words = NO_BASELINE if arm.match.reason else "-"
        return (words_cell(words), NO_VALUE, NO_VALUE, NO_VALUE, NO_VALUE)
    value, low, high = (
        metric_cell(item.metric, each, signed=True) for each in (found.mean, found.low, found.high)
    )
    if arm.match.confounders:
        words = "; ".join(map(str, arm.match.confounders))
        value = replace(value, mark=marks.of(f"not only the declared factor differs: {words}"))
    if arm.match.undeclared:
        letter_of = marks.of(f"{UNDECLARED}, corrected among themselves: exploratory")
        value = replace(value, mark=", ".join(filter(None, (value.mark, letter_of))))
    also = found.on_other_scenes
    return (value, low, high, text_cell(found.word), text_cell(also) if also else NO_VALUE)


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


def code_notes(data: ComparisonData) -> list[str]:
    """Differences of code that were tested, and arms whose seeds different code made, one line each."""
    tested = [f"{arm.name}: {item}" for arm in data.arms for item in arm.match.tested]
    return [*tested, *(line for arm in data.arms if (line := _editions(arm)) is not None)]


def _editions(arm: TableArm) -> str | None:
    changed = sorted(
        {
            name
            for row in arm.group[1:]
            for name in changed_modules(arm.group[0].modules, row.modules)
        }
    )
    if not changed:
        return None
    by_code = grouped(arm.group, lambda row: tuple(row.modules.get(name) for name in changed))
    seeds = "; ".join(", ".join(str(row.seed) for row in rows) for rows in by_code.values())
    return f"{arm.name}: different code made its seeds {seeds}: {some_files(changed)}"


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
MOST_REMARKS = 4


def statistics_notes(data: ComparisonData, primary: str = PRIMARY) -> list[str]:
    """Question, rule, level and sizes; verdicts in words; remarks; and what was tried of each variant."""
    judged = [
        (arm, arm.estimates.differences[item.name])
        for arm in data.arms
        for item in data.quantities
        if item.name in arm.estimates.differences
    ]
    if not judged:
        return []
    said = [
        f"{arm.name}: {found.sentence}{f'; {UNDECLARED}' if arm.match.undeclared else ''}"
        for arm, found in judged
    ]
    remarks = _remarks([(arm.name, found.note) for arm, found in judged])
    sentences = said if len(said) <= MOST_SENTENCES else []
    why = dict.fromkeys(arm.estimates.unrecorded for arm in data.arms if arm.estimates.unrecorded)
    unrecorded = list(map(unrecorded_note, why))
    rules = rule_notes([found for _, found in judged], primary)
    return [*rules, *sentences, *remarks, *unrecorded, *_trials(data)]


def unrecorded_note(why: str) -> str:
    """A remark on a look that could not be written down."""
    return (
        f"this look could not be written down ({why}): what is found after adding seeds will seem to "
        "be found at once, and is less sure"
    )


QUESTIONS = {
    VAL: "models trained again with other seeds, on these scenes",
    SCENES: "models trained again with other seeds, on other scenes as well",
}


def rule_notes(found: Sequence[ArmDifference], primary: str = PRIMARY) -> list[str]:
    """The question, the rule and its level; which verdicts are exploratory."""
    everything, found = found, [one for one in found if not one.design]
    if not found:
        return []
    first = next((one for one in found if one.name == primary), found[0])
    together = (
        "Dunnett's step-down test" if first.population == VAL else "Banerjee's test after Holm"
    )
    alone = "the paired t test" if any(one.paired for one in found) else "Welch's test"
    sizes = dict.fromkeys(
        f"{one.comparisons} comparison{'s' if one.comparisons > 1 else ''} with the seed noise of "
        f"{one.arms} arms ({one.degrees} degrees of freedom)"
        for one in found
        if one.metric == first.metric and one.mean is not None
    )
    rule = (
        f"verdicts are about {QUESTIONS[first.population]}: {together} of "
        f"{' or '.join(sizes)}, and {alone} of the two arms alone, at {DEFAULT.alpha:.2g}; "
        "intervals hold together"
    )
    lines = [rule] if sizes else []
    others = dict.fromkeys(one.name for one in found if one.name != primary)
    if len(others) < len({one.name for one in everything}) and others:
        lines.append(
            f"{primary} is the primary metric; each other one ({some([*others])}) is corrected by itself: "
            "exploratory"
        )
    return lines


def _trials(data: ComparisonData) -> list[str]:
    """How many configurations of each variant were tried, where some had more than one."""
    by_setting = Counter(
        (arm.first.variant, arm.first.data, arm.first.setting) for arm in data.arms
    )
    counts: dict[str, int] = {}
    for (variant, *_), count in by_setting.items():
        counts[variant] = max(count, counts.get(variant, 0))
    if max(counts.values(), default=0) < 2:
        return []
    words = ", ".join(f"{variant} {count}" for variant, count in counts.items())
    return [f"configurations tried: {words}: the best of more of them looks better by chance"]


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
