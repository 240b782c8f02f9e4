"""A difference with its verdict, and the verdict in a sentence."""

from dataclasses import dataclass
from math import inf

from aqr_exp.statistics.metrics import SCENES, VAL, in_points, metric_name

BETTER = "better"
WORSE = "worse"
UNDECIDED = "undecided"
NO_DATA = "no data"

LEAST_DEGREES = 4
"""Below so many in all arms together seed noise is not known well enough for any verdict."""

ENOUGH_SEEDS = 3
"""As many seeds are suggested where seed noise is unknown."""


def no_larger(sesoi: float) -> str:
    """The word for a difference that is surely smaller than the smallest one of interest."""
    return f"no difference as large as ±{100 * sesoi:g} points"


@dataclass(frozen=True, kw_only=True)
class ArmDifference:
    """Another arm minus the reference, judged; what cannot be known is None.

    Attributes:
        condition: The part of the data; None for all.
        n_reference: Runs of the reference.
        word: `better`, `worse`, `undecided`, `no data`, or what `no_larger` says.
        population: The question, see `Resampling`.
        look: Which look at these two arms it is, from 1: their seeds have changed since the first one.
        design: How the arms were decided seed by seed, in words; empty of all others.
        comparisons: With how many others it was judged together: arms, and of classes, errors and
            conditions all of their kind.
        arms: Arms whose seeds tell of noise, the reference included.
        degrees: Degrees of freedom of the noise of all of them.
        seed_sd: Standard deviation of one run, over all of them.
        scenes: How many scenes with such objects were drawn from; 0 where scene noise is unknown.
        low: Lower end of the simultaneous interval: it holds the truth together with all of its family.
        p: The larger p of the two tests, corrected for the family.
        held_back: Whether the test over all arms found it, and that of the two arms alone did not.
        elsewhere: Whether it is shown on other scenes as well; None where that is unknown.
        reach: How far from 0 the simultaneous 90 % interval ends: both one-sided tests that the
            difference is smaller than `sesoi` reject where it is below.
        mde: The minimum detectable effect of the very rule that gave the verdict.
        sesoi: The smallest effect of interest; None where the metric is not between 0 and 1.
        needed: Seeds of each arm that would find `sesoi`; None where no number would.
        paired: Whether arms were compared seed by seed.
        note: Remarks for the reader; may be empty.
    """

    metric: str
    condition: str | None
    n_reference: int
    n_other: int
    word: str = NO_DATA
    population: str = VAL
    look: int = 1
    design: str = ""
    comparisons: int = 1
    arms: int = 2
    degrees: int = 0
    seed_sd: float | None = None
    scenes: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    held_back: bool = False
    elsewhere: bool | None = None
    reach: float | None = None
    mde: float | None = None
    sesoi: float | None = None
    needed: int | None = None
    paired: bool = False
    note: str = ""

    @property
    def name(self) -> str:
        """The metric with its condition."""
        return metric_name(self.metric, self.condition)

    @property
    def differs(self) -> bool:
        """Whether it was called better or worse."""
        return self.word in {BETTER, WORSE}

    @property
    def on_other_scenes(self) -> str | None:
        """Whether what was found is also shown on other scenes; None where there is nothing to say."""
        if not self.differs or self.elsewhere is None or self.population == SCENES:
            return None
        return "yes" if self.elsewhere else "not shown"

    @property
    def outlook(self) -> str:
        """What these seeds can show, and what the smallest effect of interest would take; may be empty."""
        if self.mde is None:
            return ""
        seeds = seeds_words(self.n_other, self.n_reference)
        if self.mde == inf or (in_points(self.metric) and self.mde >= 1):
            text = f"{seeds} cannot show any difference"
        else:
            text = f"{seeds} can show ±{amount(self.metric, self.mde)}"
        if self.sesoi is None:
            return text
        if self.needed is None:
            lacking = (
                "the scenes are too few" if self.population == SCENES else "the noise is too large"
            )
            return f"{text}, ±{100 * self.sesoi:g} points no number of seeds: {lacking}"
        return f"{text}, ±{100 * self.sesoi:g} points would take {self.needed} of each arm"

    @property
    def sentence(self) -> str:
        """The verdict with its numbers and outlook, without remarks."""
        return "; ".join(part for part in (self.short, *self._reasons) if part)

    @property
    def short(self) -> str:
        """The verdict with the difference and its interval."""
        if self.mean is None:
            return f"{self.word}: {self.name}"
        words = f"{self.name} {number(self.metric, self.mean, '+')}"
        if self.low is not None and self.high is not None:
            ends = [number(self.metric, end, "+") for end in (self.low, self.high)]
            words += f" [{', '.join(ends)}]"
        return f"{self.word}: {words}{unit(self.metric)}"

    @property
    def _reasons(self) -> tuple[str, ...]:
        if self.mean is None:
            return ()
        if self.p is None:
            return (self.design or self._unknown,)
        family = f" among {self.comparisons} comparisons" if self.comparisons > 1 else ""
        also = {"yes": "also on other scenes", "not shown": "on other scenes not shown", None: ""}
        within = ""
        if self.word == no_larger(self.sesoi or 0.0) and self.reach is not None:
            within = f"90 % interval within ±{amount(self.metric, self.reach)}"
        held = (
            "all arms together show it, but the two alone do not (Welch)" if self.held_back else ""
        )
        again = f"look {self.look} at these arms: valid at any look" if self.look > 1 else ""
        return (
            f"p {p_words(self.p)}{family}",
            self.design or again,
            also[self.on_other_scenes],
            within,
            held,
            self.outlook if self.word == UNDECIDED else "",
        )

    @property
    def _unknown(self) -> str:
        """Why nothing could be tested."""
        if self.n_reference < 2 or self.degrees < LEAST_DEGREES:
            few = seeds_words(self.n_other, self.n_reference)
            return f"{few} cannot tell seed noise: run {ENOUGH_SEEDS} of each arm"
        if not self.seed_sd:
            return "the seeds do not differ at all: is the seed in effect?"
        return "scene noise is unknown"


_UNITS = {
    "mATE": " m",
    "mAOE": " rad",
    "mAVE": " m/s",
    "train_time_s": " s",
    "peak_memory_mb": " MB",
    "peak_gpu_memory_mb": " MB",
}


def unit(metric: str) -> str:
    """What a metric is given in, after a space; empty for a plain number."""
    return _UNITS.get(metric, " points" if in_points(metric) else "")


def number(metric: str, value: float, sign: str = "") -> str:
    """A value as people read it, in points where the metric is given in them; no zero is negative."""
    if in_points(metric):
        return f"{round(100 * value, 2) + 0.0:{sign}.2f}"
    return f"{value + 0.0:{sign}.4g}"


def amount(metric: str, value: float) -> str:
    """A value with its unit."""
    if not in_points(metric):
        return number(metric, value) + unit(metric)
    return f"{100 * value:.{2 if value < 0.1 else 0}{'g' if value < 0.1 else 'f'}}" + unit(metric)


def seeds_words(*counts: int) -> str:
    """Numbers of seeds in words: `1 seed`, `3 seeds`, `3 and 5 seeds`."""
    words = " and ".join(map(str, dict.fromkeys(counts)))
    return f"{words} seed" if {*counts} == {1} else f"{words} seeds"


def p_words(value: float) -> str:
    """A p with its sign: `= .003`, `< .001`."""
    return "< .001" if value < 0.001 else f"= {value:.3f}".replace("= 0.", "= .")
