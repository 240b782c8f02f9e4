"""The search space as it is written: `interval(...)`, `range(...)`, lists and choices."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aqr_exp.errors import RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.store.collect import MEAN_METRICS, NUMERIC
from aqr_exp.sweep.request import Dimension, Direction, PruneRule, Pruning, Search, Strategy
from aqr_exp.sweep.values import parsed_value, read_override, read_values

HOW = (
    "write interval(low, high), tag(log, interval(low, high)), int(interval(low, high)), "
    "range(start, stop, step) or a list of choices"
)


def read_dimension(
    key: str, text: str, groups: Mapping[str, Sequence[str]], where: str = ""
) -> Dimension:
    """One key of a search space.

    Args:
        key: As typed.
        text: Its values, in Hydra's syntax.
        groups: Option names by group name, for `glob(...)`.
        where: File and line, for messages.

    Raises:
        RequestError: It cannot be read, or leaves nothing to choose.
    """
    parsed = parsed_value(text) if text else "no value"
    kind = _kind(parsed)
    if not isinstance(parsed, str) and kind == "IntervalSweep":
        return _interval(key, text, parsed.value(), where)
    overrides = read_override(f"{key}={text}", groups, where)
    if len({item.text for item in overrides}) < 2:
        raise RequestError(f"{key}={text}: leaves nothing to search: {HOW}")
    if kind == "RangeSweep":
        return _range(key, [item.value for item in overrides], where)
    return Dimension(key=key, choices=tuple(dict.fromkeys(overrides)), where=where)


def is_interval(text: str) -> bool:
    """Whether a value is an interval, which only a search knows."""
    return bool(text) and _kind(parsed_value(text)) == "IntervalSweep"


def names_several(key: str, text: str, groups: Mapping[str, Sequence[str]]) -> bool:
    """Whether a value leaves anything to choose."""
    return is_interval(text) or len(read_values(key, text, groups)) > 1


def _kind(parsed: Any) -> str:
    """The class of a sweep's values; empty for one value, and for what cannot be read."""
    if isinstance(parsed, str) or not parsed.is_sweep_override():
        return ""
    return type(parsed.value()).__name__


def _interval(key: str, text: str, interval: Any, where: str) -> Dimension:
    low, high = interval.start, interval.end
    log = "log" in interval.tags
    if interval.tags - {"log"}:
        unknown = ", ".join(sorted(interval.tags - {"log"}))
        raise RequestError(f"{key}={text}: unknown tag {unknown}: only log is known")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise RequestError(f"{key}={text}: is no interval: low must lie below high: {HOW}")
    if log and low <= 0:
        raise RequestError(f"{key}={text}: an interval of ratios must begin above 0")
    whole = isinstance(low, int) and isinstance(high, int)
    return Dimension(
        key=key,
        low=low,
        high=high,
        step=1 if whole and not log else None,
        whole=whole,
        log=log,
        where=where,
    )


def _range(key: str, numbers: Sequence[float], where: str) -> Dimension:
    """The numbers of a range, which need not be in growing order."""
    ordered = sorted(numbers)
    # Of decimal numbers such as .1 and .3 the difference is not exactly the step.
    step = ordered[1] - ordered[0] if isinstance(ordered[0], int) else _step(ordered)
    return Dimension(
        key=key,
        low=ordered[0],
        high=ordered[-1],
        step=step,
        whole=all(isinstance(number, int) for number in ordered),
        where=where,
    )


def _step(ordered: Sequence[float]) -> float:
    from decimal import Decimal

    return float(Decimal(repr(ordered[1])) - Decimal(repr(ordered[0])))


MOST_TRIALS = 10_000
# What is better when smaller: errors, seconds, megabytes, and what stability counts.
SMALLER_IS_BETTER = (
    "mATE",
    "mASE",
    "mAOE",
    "mAVE",
    "mAAE",
    "train_time_s",
    "peak_memory_mb",
    "stability/",
)
CURVES = ("mAP", "NDS")
"""What evaluations during training write to the history."""


def _choice(options: type[Strategy] | type[PruneRule] | type[Direction]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        names = [option.value for option in options]
        if text not in names:
            raise RequestError(
                f"is {text!r}{did_you_mean(text, names)} (one of {', '.join(names)})"
            )
        return options(text)

    return read


def _trials(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_TRIALS:
        raise RequestError(f"is {text!r}: write a whole number from 1 to {MOST_TRIALS}")
    return int(text)


def _epochs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise RequestError(f"is {text!r}: write a whole number of epochs from 1")
    return int(text)


def _margin(text: str) -> float:
    try:
        margin = float(text)
    except ValueError:
        margin = math.nan
    if not 0 <= margin < math.inf:
        raise RequestError(f"is {text!r}: write how far behind the baseline is allowed, from 0")
    return margin


def _objective(text: str) -> str:
    if text in MEAN_METRICS or (text.startswith(NUMERIC) and text not in NUMERIC[-3:]):
        return text
    guess = did_you_mean(text, MEAN_METRICS)
    raise RequestError(
        f"is {text!r}{guess} (one of {', '.join(MEAN_METRICS)}, or AP/car and the like)"
    )


SETTINGS: dict[str, Callable[[str], Any]] = {
    "strategy": _choice(Strategy),
    "trials": _trials,
    "objective": _objective,
    "direction": _choice(Direction),
    "prune": _choice(PruneRule),
    "prune.margin": _margin,
    "prune.after_epochs": _epochs,
}
"""What reads each setting from its text."""

HELP = {
    "strategy": "optuna (TPE), random or asha: points are proposed instead of listed",
    "trials": "how many points a search proposes in all",
    "search": "the space: keys with interval(...), range(...) or choices",
    "objective": "the metric a search is judged by; mAP by default",
    "direction": "maximize or minimize, where the objective does not say it itself",
    "prune": "baseline, median or asha: points that are given up early",
}
"""The keys of a search in a sweep file, and what each holds."""


def read_setting(name: str, text: str) -> Any:
    """The value of one setting.

    Raises:
        RequestError: It is none; says what to write.
    """
    try:
        return SETTINGS[name](text)
    except RequestError as error:
        raise RequestError(f"'{name}' {error}") from None


def search_of(settings: Mapping[str, Any], space: tuple[Dimension, ...]) -> Search:
    """A search from its settings and its space.

    Args:
        settings: Read values by name.
        space: What is searched.

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
    smaller = objective.startswith(SMALLER_IS_BETTER)
    return Search(
        strategy=settings["strategy"],
        trials=settings["trials"],
        space=space,
        objective=objective,
        direction=settings.get("direction", Direction.MINIMIZE if smaller else Direction.MAXIMIZE),
        pruning=pruning,
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
