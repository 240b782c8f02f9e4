"""The cells of a measured quantity: its mean, its difference to the baseline, the verdict."""

from aqr_exp.results.fairness import Confounder
from aqr_exp.results.tables.cells import (
    NO_VALUE,
    Cell,
    count_cell,
    number_cell,
    text_cell,
    words_cell,
)
from aqr_exp.results.tables.measures import Mean
from aqr_exp.results.tables.study import Arm

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
