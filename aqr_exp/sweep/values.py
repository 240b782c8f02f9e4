"""Values in Hydra's syntax, as they are typed: lists, ranges, choices and globs, read into overrides."""

from decimal import Decimal
from functools import cache
from typing import Any, TypeGuard

from aqr_exp.config.compose import Groups, Override, parsed, quoted, split_typed, strictly_parsed
from aqr_exp.config.convert import fields_of
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.constraints import Range
from aqr_exp.errors import Fault, RequestError

_LIMITS = fields_of(RunConfig)["seed"].range or Range(0, 0)
SEED_RULE = f"write a whole number from {_LIMITS.low} to {_LIMITS.high}"
MOST_VALUES = 100_000
_RANGE = "write range(start, stop) or range(start, stop, step), the stop left out"


def is_seed(value: Any) -> TypeGuard[int]:
    """Check that a value is a seed."""
    return type(value) is int and _LIMITS.low <= value <= _LIMITS.high


def read_override(text: str, groups: Groups, where: str = "") -> tuple[Override, ...]:
    """Every value that one typed `key=value` names, as `split_typed` and `read_values` read it."""
    key, value = split_typed(text)
    return tuple(
        Override(key=key, text=item, value=plain, where=where)
        for item, plain in read_values(key, value, groups)
    )


def read_values(key: str, text: str, groups: Groups) -> tuple[tuple[str, Any], ...]:
    """Every value a text names, each as (text, value).

    Raises:
        RequestError: It cannot be read, or names no value.
    """
    if text == "":
        rule = "no value: write one, or several with commas between"
        raise RequestError(Fault(key, None, rule))
    override = parsed(f"key={text}")
    if override is None and text.startswith("range("):
        raise RequestError(Fault(key, text, f"is not a range: {_RANGE}"))
    if override is None:
        rule = "write a value, a list with commas between, range(...) or choice(...)"
        raise RequestError(Fault(key, text, f"cannot be read: {rule}"))
    is_glob = kind_of(text) == "Glob"
    found = _glob(key, text, override, groups) if is_glob else _all(key, text, override)
    if not found:
        raise RequestError(Fault(key, text, "names no value at all"))
    return found


def kind_of(text: str) -> str:
    """The class of a sweep's values; empty for one value, and for a text that cannot be read."""
    override = parsed(f"key={text}") if text else None
    if override is None or not override.is_sweep_override():
        return ""
    return type(override.value()).__name__


def _glob(key: str, text: str, override: Any, groups: Groups) -> tuple[tuple[str, Any], ...]:
    if key not in groups:
        rule = f"glob chooses among the options of a group ({', '.join(groups)})"
        raise RequestError(Fault(key, text, rule))
    names = override.value().filter(list(groups[key]))
    if not names:
        rule = f"matches no {key} (available: {', '.join(groups[key])})"
        raise RequestError(Fault(key, text, rule))
    return tuple((name, name) for name in names)


def _all(key: str, text: str, override: Any) -> tuple[tuple[str, Any], ...]:
    """The values of anything but a glob."""
    if not override.is_sweep_override():
        return ((override.get_value_string(), override.value()),)
    kind, sweep = kind_of(text), override.value()
    if kind == "IntervalSweep":
        fault = f"an interval holds no list of values: {_RANGE}; a search has intervals"
        raise RequestError(Fault(key, text, fault, " (strategy: optuna)"))
    if sweep.shuffle:
        raise RequestError(Fault(key, text, "shuffled values make no plan: leave shuffle out"))
    if kind == "RangeSweep":
        return _range(key, text, sweep)
    texts, values = override.sweep_string_iterator(), override.sweep_iterator()
    plain = map(override._convert_value, values)  # noqa: SLF001 - hydra has no public way
    return tuple(
        (as_text(value) if isinstance(value, bool) else item, value)
        for item, value in zip(texts, plain, strict=True)
    )


def _range(key: str, text: str, sweep: Any) -> tuple[tuple[str, Any], ...]:
    """The numbers of a range that ends and holds at least one."""
    start, stop, step = sweep.start, sweep.stop, sweep.step
    fault = None
    try:
        steps = (Decimal(str(stop)) - Decimal(str(start))) / Decimal(str(step))
        if not steps > 0:
            way = "below" if step > 0 else "above"
            fault = f"is not a range: start must lie {way} stop: {_RANGE}"
        elif steps > MOST_VALUES:
            fault = f"holds {float(steps):.3g} values, at most {MOST_VALUES}"
    except ArithmeticError:
        fault = f"is not a range: its step is 0: {_RANGE}"
    if fault:
        raise RequestError(Fault(key, text, fault))
    if all(isinstance(number, int) for number in (start, stop, step)):
        return tuple((str(number), number) for number in range(start, stop, step))
    # In decimal, as typed: 0.1 + 0.2 must be 0.3.
    exact, numbers = Decimal(str(start)), []
    while (exact < Decimal(str(stop))) is (step > 0) and exact != Decimal(str(stop)):
        numbers.append(float(exact))
        exact += Decimal(str(step))
    return tuple((repr(number), number) for number in numbers)


@cache
def as_text_alone(value: str) -> str:
    """A text as it would be typed: as it is where it reads as itself, else quoted."""
    override = strictly_parsed(f"key={value}") if value else None
    alone = override is not None and not override.is_sweep_override()
    if override is not None and alone and override.value() == value:
        return value
    return quoted(value)


def as_text(value: Any) -> str:
    """A plain value as it would be typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{','.join(map(as_text, value))}]"
    return as_text_alone(value) if isinstance(value, str) else repr(value)
