"""What a seed may be."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any, TypeGuard

from aqr_exp.config.compose import Override
from aqr_exp.config.convert import fields_of
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.constraints import Range
from aqr_exp.errors import RequestError

_LIMITS = next(spec.range for spec in fields_of(RunConfig) if spec.name == "seed") or Range(0, 0)
SEED_RULE = f"write a whole number from {_LIMITS.low} to {_LIMITS.high}"


def is_seed(value: Any) -> TypeGuard[int]:
    """Whether a value is a seed."""
    return type(value) is int and _LIMITS.low <= value <= _LIMITS.high


MOST_VALUES = 100_000


def read_override(
    text: str, groups: Mapping[str, Sequence[str]], where: str = ""
) -> tuple[Override, ...]:
    """Every value that one typed `key=value` names.

    Args:
        text: As typed.
        groups: Option names by group name, for `glob(...)`.
        where: File and line, for messages.

    Returns:
        One override for each value, in order; never empty.

    Raises:
        RequestError: It cannot be read, or names no value; says what to write.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key or key[0] in "+~" or "@" in key:
        raise RequestError(f"override {text!r} cannot be read: write it as key=value")
    return tuple(
        Override(key=key, text=item, value=plain, where=where)
        for item, plain in read_values(key, value.strip(), groups)
    )


def read_values(
    key: str, text: str, groups: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, Any], ...]:
    """Every value a text names, each as (text, value).

    Args:
        key: What they are values of, for messages and `glob(...)`.
        text: As typed after the equals sign.
        groups: Option names by group name.

    Raises:
        RequestError: It cannot be read, or names no value.
    """
    if text == "":
        raise RequestError(f"{key}: no value: write one, or several with commas between")
    parsed = parsed_value(text)
    if isinstance(parsed, str):
        raise RequestError(f"{key}={text}: {parsed}")
    found = _glob(key, text, parsed, groups) if _kind(parsed) == "Glob" else _all(key, text, parsed)
    if not found:
        raise RequestError(f"{key}={text}: names no value at all")
    return found


@cache
def parsed_value(text: str) -> Any:
    """Hydra's reading of a value; a fault in words when there is none."""
    from hydra.errors import HydraException

    try:
        return _parser().parse_override(f"key={text}")
    except (HydraException, ValueError):  # Python reads no number of thousands of digits
        if text.startswith("range("):
            return f"is no range: {_RANGE}"
        return (
            "cannot be read: write a value, a list with commas between, range(...) or choice(...)"
        )


_RANGE = "write range(start, stop) or range(start, stop, step), the stop left out"


@cache
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def _kind(override: Any) -> str:
    return type(override._value).__name__ if override.is_sweep_override() else ""  # noqa: SLF001


def _glob(
    key: str, text: str, override: Any, groups: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, Any], ...]:
    if key not in groups:
        names = ", ".join(groups)
        raise RequestError(f"{key}={text}: glob chooses among the options of a group ({names})")
    names = override._value.filter(list(groups[key]))  # noqa: SLF001 - hydra has no public way
    if not names:
        options = ", ".join(groups[key])
        raise RequestError(f"{key}={text}: matches no {key} (available: {options})")
    return tuple((name, name) for name in names)


def _all(key: str, text: str, override: Any) -> tuple[tuple[str, Any], ...]:
    """The values of anything but a glob."""
    if not override.is_sweep_override():
        return ((override.get_value_string(), override.value()),)
    kind, sweep = _kind(override), override.value()
    if kind == "IntervalSweep":
        fault = f"an interval holds no list of values: {_RANGE}; a search has intervals"
        raise RequestError(f"{key}={text}: {fault} (strategy: optuna)")
    if sweep.shuffle:
        raise RequestError(f"{key}={text}: shuffled values make no plan: leave shuffle out")
    if kind == "RangeSweep":
        return _range(key, text, sweep)
    found = [(item, parsed_value(item).value()) for item in override.sweep_string_iterator()]
    return tuple(
        (as_text(value) if isinstance(value, bool) else item, value) for item, value in found
    )


def _range(key: str, text: str, sweep: Any) -> tuple[tuple[str, Any], ...]:
    """The numbers of a range that ends and holds at least one."""
    start, stop, step = sweep.start, sweep.stop, sweep.step
    try:
        steps = (Decimal(str(stop)) - Decimal(str(start))) / Decimal(str(step))
    except ArithmeticError:
        raise RequestError(f"{key}={text}: is no range: its step is 0: {_RANGE}") from None
    if not steps > 0:
        way = "below" if step > 0 else "above"
        raise RequestError(f"{key}={text}: is no range: start must lie {way} stop: {_RANGE}")
    if steps > MOST_VALUES:
        raise RequestError(f"{key}={text}: holds {float(steps):.3g} values, at most {MOST_VALUES}")
    if all(isinstance(number, int) for number in (start, stop, step)):
        return tuple((str(number), number) for number in range(start, stop, step))
    # In decimal, as typed: .1 + .2 must be .3.
    exact, numbers = Decimal(str(start)), []
    while (exact < Decimal(str(stop))) is (step > 0) and exact != Decimal(str(stop)):
        numbers.append(float(exact))
        exact += Decimal(str(step))
    return tuple((repr(number), number) for number in numbers)


def as_text(value: Any) -> str:
    """A plain value as it would be typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{','.join(map(as_text, value))}]"
    if isinstance(value, str):
        parsed: Any = parsed_value(value) if value else ""
        alone = not isinstance(parsed, str) and not parsed.is_sweep_override()
        if alone and parsed.value() == value:
            return value
        from hydra.core.override_parser.types import Quote, QuotedString

        return str(QuotedString(text=value, quote=Quote.single).with_quotes())
    return repr(value)
