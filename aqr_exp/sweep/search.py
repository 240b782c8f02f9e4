"""A search: how points are proposed, from which space, towards what, and which are pruned."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from aqr_exp.config.compose import Groups, Override, parsed
from aqr_exp.errors import Fault, RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.statistics.metrics import lower_is_better
from aqr_exp.store.collect import MEAN_METRICS, NUMERIC
from aqr_exp.sweep.values import kind_of, read_override

if TYPE_CHECKING:  # an optional extra
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

HOW = (
    "write interval(low, high), tag(log, interval(low, high)), int(interval(low, high)), "
    "range(start, stop, step) or a list of choices"
)
REMEDY = "a search needs optuna: pip install 'aqr-exp[search]' (or make setup)"
MOST_TRIALS = 10_000
GIVEN_UP, REASON = "given_up", "reason"
"""Attributes of a trial: the decision to prune it, which is kept however its runs end; its failure."""
CURVES = ("mAP", "NDS")
"""Metrics that evaluations during training write to the history."""


class Strategy(str, Enum):
    """The way the next point is proposed."""

    OPTUNA = "optuna"
    RANDOM = "random"
    ASHA = "asha"


class PruneRule(str, Enum):
    """The comparison that makes a point hopeless."""

    BASELINE = "baseline"
    MEDIAN = "median"
    ASHA = "asha"


class Direction(str, Enum):
    """The better values of the objective."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """The rule by which a point is given up before its training has ended.

    Attributes:
        rule: What it is compared with.
        margin: How far behind the baseline it may be, in the objective's unit.
        after_epochs: The first epoch that is judged.
    """

    rule: PruneRule
    margin: float = 0.0
    after_epochs: int = 1


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One key of the search space.

    Attributes:
        key: As typed.
        distribution: Optuna's: numbers of a closed range, or the texts of choices.
        choices: One override a choice; empty for numbers.
        where: File and line, for messages.
    """

    key: str
    distribution: "BaseDistribution"
    choices: tuple[Override, ...] = ()
    where: str = ""

    def override(self, value: str | float) -> Override:
        """The override of a number of the range, or of a choice as it would be typed."""
        for choice in self.choices:
            if choice.text == value:
                return choice
        number = int(value) if self.whole else float(value)
        return Override(key=self.key, text=repr(number), value=number, where=self.where)

    def ends(self) -> tuple[Override, ...]:
        """The limits of the space: the smallest and the largest number, or every choice."""
        if self.choices:
            return self.choices
        numbers: Any = self.distribution
        return self.override(numbers.low), self.override(numbers.high)

    def probes(self) -> tuple[Override, ...]:
        """The values a space is checked at: its ends, and a number between them."""
        numbers: Any = self.distribution
        if self.choices or (numbers.step is not None and not (self.whole and numbers.log)):
            return self.ends()
        return (*self.ends(), self.override((numbers.low + numbers.high) / 2))

    @property
    def whole(self) -> bool:
        """Only whole numbers are proposed."""
        return type(self.distribution).__name__ == "IntDistribution"

    def __str__(self) -> str:
        """The values as they would be typed."""
        if self.choices:
            return ",".join(choice.text for choice in self.choices)
        numbers: Any = self.distribution
        kind = "whole numbers " if self.whole else ""
        steps = f" in steps of {numbers.step:g}" if numbers.step not in {None, 1} else ""
        log = " (log)" if numbers.log else ""
        return f"{kind}{numbers.low:g} to {numbers.high:g}{steps}{log}"


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search over points.

    Attributes:
        trials: How many points in all.
        objective: The metric of record they are judged by, in the mean over seeds.
        direction: The better ones of its values.
        pruning: When a point is given up early; None never.
        written: The settings as they were given, by name; what follows from them is left out.
    """

    strategy: Strategy
    trials: int
    space: tuple[Dimension, ...]
    objective: str = "mAP"
    direction: Direction = Direction.MAXIMIZE
    pruning: Pruning | None = None
    written: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def point(self, trial: "FrozenTrial") -> tuple[Override, ...]:
        """The point of a trial: one override for each key of the space."""
        return tuple(item.override(trial.params[item.key]) for item in self.space)


def check_installed() -> None:
    """Refuse a search where Optuna is missing.

    Raises:
        RequestError: Says what to install.
    """
    import importlib.util

    if importlib.util.find_spec("optuna") is None:
        raise RequestError(REMEDY)


def read_dimension(key: str, text: str, groups: Groups, where: str = "") -> Dimension:
    """One key of a search space.

    Raises:
        RequestError: It cannot be read, or leaves nothing to choose; or Optuna is missing.
    """
    check_installed()
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if kind_of(text) == "IntervalSweep":
        low, high, log = _interval(key, text)
        whole = isinstance(low, int) and isinstance(high, int)
        numbers: Any = IntDistribution if whole else FloatDistribution
        return Dimension(key=key, distribution=numbers(low, high, log=log), where=where)
    choices = tuple(dict.fromkeys(read_override(f"{key}={text}", groups, where)))
    if len({item.text for item in choices}) < 2:
        raise RequestError(Fault(key, text, f"leaves nothing to search: {HOW}"))
    if kind_of(text) != "RangeSweep":
        texts = [choice.text for choice in choices]
        distribution = CategoricalDistribution(texts)
        return Dimension(key=key, distribution=distribution, choices=choices, where=where)
    ordered = sorted(item.value for item in choices)  # a range may fall
    numbers = IntDistribution if isinstance(ordered[0], int) else FloatDistribution
    step = abs(parsed(f"key={text}").value().step)
    return Dimension(key=key, distribution=numbers(ordered[0], ordered[-1], step=step), where=where)


def _interval(key: str, text: str) -> tuple[float, float, bool]:
    """Its ends, and whether ratios count instead of differences."""
    interval = parsed(f"key={text}").value()
    low, high, log = interval.start, interval.end, "log" in interval.tags
    fault = None
    if interval.tags - {"log"}:
        unknown = ", ".join(sorted(interval.tags - {"log"}))
        fault = f"unknown tag {unknown}: only log is known"
    elif not (math.isfinite(low) and math.isfinite(high) and low < high):
        fault = f"is not an interval: low must lie below high: {HOW}"
    elif log and low <= 0:
        fault = "an interval of ratios must begin above 0"
    if fault:
        raise RequestError(Fault(key, text, fault))
    return low, high, log


def _choice(options: type[Enum]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        names = [option.value for option in options]
        if text not in names:
            raise ValueError(f"{did_you_mean(text, names)} (one of {', '.join(names)})")
        return options(text)

    return read


def _whole(most: float, rule: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise ValueError(f": write a whole number {rule}")
        return int(text)

    return read


def _margin(text: str) -> float:
    try:
        margin = float(text)
    except ValueError:
        margin = math.nan
    if not 0 <= margin < math.inf:
        raise ValueError(": write how far behind the baseline is allowed, from 0")
    return margin


def _objective(text: str) -> str:
    if text in MEAN_METRICS or (text.startswith(NUMERIC) and text not in NUMERIC[-3:]):
        return text
    guess = did_you_mean(text, MEAN_METRICS)
    raise ValueError(f"{guess} (one of {', '.join(MEAN_METRICS)}, or AP/car and the like)")


SETTINGS: dict[str, Callable[[str], Any]] = {
    "strategy": _choice(Strategy),
    "trials": _whole(MOST_TRIALS, f"from 1 to {MOST_TRIALS}"),
    "objective": _objective,
    "direction": _choice(Direction),
    "prune": _choice(PruneRule),
    "prune.margin": _margin,
    "prune.after_epochs": _whole(math.inf, "of epochs from 1"),
}
"""Readers of the settings from their texts; a reader raises what to write instead."""

KEYS = ("strategy", "trials", "search", "objective", "direction", "prune")
"""The keys of a search in a sweep file: its settings, and `search` with the space."""


def read_setting(name: str, text: str) -> Any:
    """The value of one setting, or of `primary`, which is read as `objective` is.

    Raises:
        RequestError: It is none; says what to write.
    """
    try:
        return SETTINGS["objective" if name == "primary" else name](text)
    except ValueError as error:
        rule = Fault(rule=f"'{name}' is {text!r}", hint=str(error), about=(name,))
        raise RequestError(rule) from None


def search_of(settings: Mapping[str, Any], space: tuple[Dimension, ...]) -> Search:
    """A search from its settings and its space.

    Raises:
        RequestError: Something is missing, or does not fit the rest; says what to write.
    """
    lacking = [name for name in ("strategy", "trials") if name not in settings]
    if lacking:
        examples = {"strategy": "strategy: optuna", "trials": "trials: 20"}
        words = " and ".join(examples[name] for name in lacking)
        typed = " ".join(examples[name].replace(": ", "=") for name in lacking)
        raise RequestError(
            f"a search needs {' and '.join(lacking)}: write {words} (in a shell: {typed})"
        )
    if not space:
        raise RequestError("a search needs a space: name keys with interval(low, high) or choices")
    objective = settings.get("objective", "mAP")
    pruning = _pruning(settings)
    if pruning is not None and objective not in CURVES:
        raise RequestError(
            f"'prune' compares curves, and {objective} has none: "
            f"write objective: {' or '.join(CURVES)}, or leave prune out"
        )
    by_metric = Direction.MINIMIZE if lower_is_better(objective) else Direction.MAXIMIZE
    return Search(
        strategy=settings["strategy"],
        trials=settings["trials"],
        space=space,
        objective=objective,
        direction=settings.get("direction") or by_metric,
        pruning=pruning,
        written=settings,
    )


def _pruning(settings: Mapping[str, Any]) -> Pruning | None:
    halving = PruneRule.ASHA if settings["strategy"] is Strategy.ASHA else None
    rule = settings.get("prune", halving)
    if rule is None:
        if any(name.startswith("prune.") for name in settings):
            names = ", ".join(option.value for option in PruneRule)
            raise RequestError(f"'prune' has no rule: write one of {names}")
        return None
    if "prune.margin" in settings and rule is not PruneRule.BASELINE:
        raise RequestError(f"'prune.margin' is for prune: baseline, not for {rule.value}")
    return Pruning(
        rule=rule,
        margin=settings.get("prune.margin", 0.0),
        after_epochs=settings.get("prune.after_epochs", 1),
    )
