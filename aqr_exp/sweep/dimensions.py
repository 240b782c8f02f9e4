"""The search space as it is written: `interval(...)`, `range(...)`, lists and choices."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aqr_exp.errors import RequestError
from aqr_exp.sweep.search import Dimension
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
