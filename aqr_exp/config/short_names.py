"""Dotted keys and their aliases; faults name the alias that was typed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aqr_exp.config.variant_spec import cached_by_variants, variant_specs
from aqr_exp.errors import Fault


@cached_by_variants
def short_names() -> dict[str, tuple[str, ...]]:
    """The dotted keys that each variant's short names set."""
    specs = variant_specs().values()
    return {short: keys for spec in specs for short, keys in spec.short_names.items()}


def overrides_help() -> str:
    """The part of a command's help on short names, one paragraph a variant that has any."""
    return "\n".join(filter(None, (spec.overrides_help for spec in variant_specs().values())))


def keys_set_by(key: str) -> tuple[str, ...]:
    """The dotted keys that a typed key sets; itself unless it is a short name."""
    return short_names().get(key, (key,))


def value_at(values: Any, key: str) -> Any:
    """The value of a dotted key in nested mappings; None where there is none."""
    for name in key.split("."):
        values = values.get(name) if isinstance(values, Mapping) else None
    return values


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every single value of nested mappings by its dotted key."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def within(name: str, module: str) -> bool:
    """True for a module's own dotted name and for all names below it; the empty one is above all."""
    return not module or f"{name}.".startswith(f"{module}.")


def innermost(name: str, modules: Collection[str]) -> str | None:
    """The module with the longest name that a dotted name is, or is below; None without one."""
    return max((each for each in modules if within(name, each)), key=len, default=None)


def as_typed(faults: Sequence[Fault], typed: Collection[str]) -> list[Fault]:
    """Faults by the aliases that were typed.

    Args:
        typed: Keys and aliases that were typed.

    Returns:
        The same, with one fault for what was typed once: of several faults of an alias's keys the
        first.
    """
    alias_of = {
        key: alias for alias, keys in short_names().items() if alias in typed for key in keys
    }
    found: dict[object, Fault] = {}
    for fault in faults:
        alias = alias_of.get(fault.key)
        found.setdefault(alias or fault, replace(fault, key=alias) if alias else fault)
    return list(found.values())
