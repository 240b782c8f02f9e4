"""Conversion of plain values into the schema's dataclasses, by what their fields allow."""

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from aqr_exp.config.idea_files import NOT_AT_HAND, idea_fault
from aqr_exp.config.schema.constraints import DefaultBefore, NotInFingerprint, Range, Table
from aqr_exp.config.schema.run import VariantSettings
from aqr_exp.config.variant_spec import (
    cached_by_variants,
    lacks_part,
    settings_classes,
    variant_named,
    variant_names,
)
from aqr_exp.errors import Fault, RequestError, shown
from aqr_exp.files.suggest import did_you_mean, some


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """One field of a configuration dataclass.

    Attributes:
        type: Its type without annotations, and without None.
        range: The closed interval its numbers must lie in.
        excluded: Left out of a run's identity.
        optional: It may be absent: None, or no key at all; it is not in the identity then.
        words: Texts that it may hold besides, such as `auto`.
        before: What runs did before there was such a field; None of a field that all have.
    """

    type: Any
    range: Range | None
    excluded: bool
    optional: bool
    before: DefaultBefore | None
    words: tuple[str, ...] = ()

    @cached_property
    def nested(self) -> bool:
        """The field holds another configuration dataclass."""
        return dataclasses.is_dataclass(self.type)

    @cached_property
    def below(self) -> dict[str, "FieldSpec"]:
        """The fields of what it holds, by name; of a variant's settings those of every variant."""
        if not self.nested:
            return {}
        kinds = settings_classes(self.type).values() or (self.type,)
        return {name: spec for kind in kinds for name, spec in fields_of(kind).items()}

    @cached_property
    def listed(self) -> Any:
        """The configuration dataclass that the field holds a list of; None of any other field."""
        kinds = get_args(self.type) if get_origin(self.type) is tuple else ()
        return kinds[0] if len(kinds) == 2 and dataclasses.is_dataclass(kinds[0]) else None

    def is_as_before(self, value: Any) -> bool:
        """Check that a stored value does what was done before there was the field."""
        if self.before is None:
            return False
        before = self.before.value
        return bool(value == (list(before) if isinstance(before, tuple) else before))

    @property
    def table(self) -> bool:
        """The field holds values by names of the user's own."""
        return get_origin(self.type) is Table


@cached_by_variants
def fields_of(cls: Any) -> dict[str, FieldSpec]:
    """The fields of a configuration dataclass by name, in order."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: _field_spec(hints[field.name]) for field in dataclasses.fields(cls)}


def _field_spec(hint: Any) -> FieldSpec:
    annotated, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    plain, words, optional = _parted(annotated)
    note_of = {type(note): note for note in notes}
    return FieldSpec(
        type=plain,
        range=note_of.get(Range),
        excluded=NotInFingerprint in note_of,
        optional=optional,
        before=note_of.get(DefaultBefore),
        words=words,
    )


USABLE = "settings are bool, int, float, text, Literal of texts, tuples or dataclasses of these"


def unusable_fields(cls: Any) -> Iterator[tuple[str, str]]:
    """The fields of a dataclass that cannot be configuration, each with the reason.

    Raises:
        NameError: A type is not there.
    """
    hints = get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        try:
            spec = _field_spec(hints[field.name])
        except TypeError as error:
            yield field.name, str(error)
            continue
        if not _usable(spec.type, listed=spec.listed):
            yield field.name, USABLE


def _usable(kind: Any, listed: Any = None) -> bool:
    if dataclasses.is_dataclass(kind) or listed:
        return not [*unusable_fields(listed or kind)]
    if get_origin(kind) is tuple:
        kinds = [each for each in get_args(kind) if each is not Ellipsis]
        return bool(kinds) and all(
            each in _NOUNS or (get_origin(each) is tuple and _usable(each)) for each in kinds
        )
    if get_origin(kind) is Table:
        return get_args(kind)[0] in {float, str}
    return kind in {bool, *_NOUNS} or (
        bool(choices(kind)) and all(isinstance(each, str) for each in choices(kind))
    )


def _parted(hint: Any) -> tuple[Any, tuple[str, ...], bool]:
    """`X`, the texts beside it and whether None is: of `X`, `X | None` or `X | Literal["auto"]`."""
    if get_origin(hint) not in {Union, UnionType}:
        return hint, (), False
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    others = [kind for kind in kinds if not choices(kind)] or kinds
    if len(others) != 1:
        raise TypeError(f"{hint} is not a configuration field: write one type, or `Type | None`")
    words = [word for kind in kinds if kind is not others[0] for word in choices(kind)]
    return others[0], tuple(words), NoneType in get_args(hint)


@cached_by_variants
def dotted_keys(cls: Any, prefix: str = "") -> dict[str, FieldSpec]:
    """Every single value below a configuration dataclass by its dotted key, optional parts included."""
    keys: dict[str, FieldSpec] = {}
    for name, spec in fields_of(cls).items():
        if spec.nested:
            for kind in settings_classes(spec.type).values() or (spec.type,):
                keys |= dotted_keys(kind, f"{prefix}{name}.")
        else:
            keys[prefix + name] = spec
    return keys


T = TypeVar("T")
_INVALID = object()
_NOUNS = {int: "whole number", float: "number", str: "text"}


def convert(cls: type[T], value: Mapping[str, Any]) -> T:
    """Build a configuration dataclass from plain values.

    Returns:
        The object, with every key known, typed and in range.

    Raises:
        RequestError: One line for each fault: key, value, what is allowed, nearest match.
    """
    conversion = _Conversion(cls)
    return conversion.sound(conversion.node(cls, value, ""))  # type: ignore[no-any-return]


def with_converted(whole: T, changed: Mapping[str, Any]) -> T:
    """A configuration dataclass with some of its fields converted anew.

    Raises:
        RequestError: As `convert`.
    """
    cls: Any = type(whole)
    conversion = _Conversion(cls)
    specs = fields_of(cls).items()
    found = {
        name: conversion.field(name, spec, changed, "") for name, spec in specs if name in changed
    }
    return dataclasses.replace(whole, **conversion.sound(found))  # type: ignore[type-var]


def field_faults(cls: Any, values: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with plain values of single fields of a configuration dataclass."""
    conversion = _Conversion(cls)
    for name in values:
        conversion.field(name, fields_of(cls)[name], values, "")
    return conversion.faults


class _Conversion:
    """A conversion of plain values; its faults leave the result unusable.

    Args:
        root: The dataclass whose keys an unknown one is compared with.
    """

    def __init__(self, root: Any) -> None:
        self.root = root
        self.faults: list[Fault] = []
        self.idea: Path | None = None

    def sound(self, result: Any) -> Any:
        """The result, if there are no faults."""
        if self.faults:
            raise RequestError(*self.faults)
        return result

    def fault(self, fault: Fault) -> Any:
        """Keep a fault, in place of a value."""
        self.faults.append(fault)
        return _INVALID

    def node(self, cls: Any, value: Any, where: str) -> Any:
        """One dataclass, whose keys begin with `where`."""
        if not isinstance(value, Mapping):
            return self.fault(Fault(where.rstrip("."), shown(value), "must be a group of keys"))
        if settings_classes(cls):
            value, cls = self._of_one_variant(value, where)
            if cls is None:
                return _INVALID
        specs = fields_of(cls)
        for unknown in [f"{where}{key}" for key in value if key not in specs]:
            known = [f"{where}{name}" for name in specs] if "[" in where else dotted_keys(self.root)
            guess = did_you_mean(unknown, known)
            self.fault(Fault(rule=f"unknown key '{unknown}'", hint=guess, about=(unknown,)))
        found = {name: self.field(name, spec, value, where) for name, spec in specs.items()}
        if self.faults:
            return _INVALID
        try:
            return cls(**found)
        except Exception as error:
            if self.idea is None:
                raise
            return self.fault(idea_fault(error, self.idea))  # what its own class refuses

    def _of_one_variant(self, value: Mapping[str, Any], where: str) -> tuple[dict[str, Any], Any]:
        """The values without parts that only other variants have, and the class that they name."""
        name = value.get("name")
        spec = variant_named(name) if isinstance(name, str) else None
        if spec is None:
            key, names = f"{where}name", variant_names()
            one_of = f"one of {some(names)}"
            if "name" in value:
                guess = did_you_mean(name, names) if isinstance(name, str) else ""
                rule = f"must be {one_of}" if guess else f"is not at hand{NOT_AT_HAND}"
                self.fault(Fault(key, shown(name), rule, guess))
            else:
                self.fault(Fault(rule=f"key '{key}' is missing: it must be {one_of}", about=(key,)))
            return {}, None
        self.idea = spec.origin
        variants = settings_classes(VariantSettings)
        every = {part for kind in variants.values() for part in fields_of(kind)}
        foreign = [key for key in value if key in every and key not in fields_of(spec.settings)]
        for key in foreign:
            if value[key] is not None:
                self.fault(Fault(f"{where}{key}", None, lacks_part(spec.name, key) or ""))
        return {key: item for key, item in value.items() if key not in foreign}, spec.settings

    def field(self, name: str, spec: FieldSpec, values: Mapping[str, Any], where: str) -> Any:
        """One field of the mapping that holds it."""
        key, value = where + name, values.get(name)
        if spec.optional and value is None:
            return None
        if name not in values and spec.before is not None:
            return spec.before.value
        if name not in values:
            rule = f"key '{key}' is missing: it must be {allowed(spec)}"
            return self.fault(Fault(rule=rule, about=(key,)))
        if spec.nested:
            return self.node(spec.type, value, f"{key}.")
        if spec.listed and isinstance(value, (list, tuple)):
            entries = enumerate(value)
            return tuple(self.node(spec.listed, item, f"{key}[{i}].") for i, item in entries)
        if spec.table and isinstance(value, Mapping):
            return self._table(key, spec, value)
        among = choices(spec.type) or spec.words
        result = value if value in spec.words else _cast(spec.type, value, spec.range)
        if result is not _INVALID:
            return result
        guess = did_you_mean(value, among) if among and isinstance(value, str) else ""
        return self.fault(Fault(key, shown(value), f"must be {allowed(spec)}", guess))

    def _table(self, key: str, spec: FieldSpec, values: Mapping[Any, Any]) -> Any:
        """Values by name, each of them with a fault of its own."""
        (kind,) = get_args(spec.type)
        items = {name: _cast(kind, value, spec.range) for name, value in values.items()}
        for name, item in items.items():
            if not isinstance(name, str):
                self.fault(Fault(key, shown(name), "must be a name, as text"))
            elif item is _INVALID:
                entry, rule = f"{key}[{name}]", f"must be {_scalar_words(kind, spec.range)}"
                self.fault(Fault(entry, shown(values[name]), rule, about=(key,)))
        return Table(items)


def _cast(kind: Any, value: Any, limits: Range | None) -> Any:
    """The value as `kind`, or `_INVALID`: neither bools nor texts are numbers, and NaN is invalid."""
    if get_origin(kind) is Table:
        return _INVALID
    if get_origin(kind) is tuple:
        return _cast_tuple(get_args(kind), value, limits)
    if among := choices(kind):
        return value if value in among else _INVALID
    if kind in {bool, str}:
        return value if isinstance(value, kind) else _INVALID
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
        return _INVALID
    # No comparison is true of NaN; whole numbers may be larger than any other number.
    if not -sys.float_info.max <= value <= sys.float_info.max:
        return _INVALID
    if limits and not limits.low <= value <= limits.high:
        return _INVALID
    # Adding zero turns -0.0 into 0.0: one value, one identity.
    return float(value) + 0.0 if kind is float else value


def _cast_tuple(kinds: tuple[Any, ...], value: Any, limits: Range | None) -> Any:
    """A sequence as a tuple of fixed or, with `...`, of any length."""
    if not isinstance(value, (list, tuple)):
        return _INVALID
    variadic = len(kinds) == 2 and kinds[1] is Ellipsis
    if not variadic and len(value) != len(kinds):
        return _INVALID
    each = [kinds[0]] * len(value) if variadic else kinds
    items = [_cast(kind, item, limits) for kind, item in zip(each, value, strict=True)]
    return _INVALID if any(item is _INVALID for item in items) else tuple(items)


def allowed(spec: FieldSpec) -> str:
    """The allowed values of a field in words."""
    kind = spec.type
    if spec.nested:
        return "a group of keys"
    if spec.listed:
        return f"a list of groups of keys (each of {', '.join(fields_of(spec.listed))})"
    if get_origin(kind) is tuple:
        return f"a list of {_elements(get_args(kind))}{_interval(spec.range, ', each')}"
    if among := choices(kind):
        return f"one of {', '.join(among)}"
    if spec.table:
        (item,) = get_args(kind)
        example = {float: "0.5", str: "other"}[item]
        words = _scalar_words(item, spec.range)
        return f"a map of names to {words}, such as {{name: {example}}}"
    return " or ".join([_scalar_words(kind, spec.range), *spec.words])


def _scalar_words(kind: Any, limits: Range | None) -> str:
    words = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}[kind]
    return words + _interval(limits)


def _elements(kinds: tuple[Any, ...]) -> str:
    """A tuple's elements: `2 numbers`, `texts`, `lists of (whole number, number)`."""
    if kinds[-1] is Ellipsis:
        return _plural(kinds[0])
    if len(set(kinds)) == 1:
        return f"{len(kinds)} {_plural(kinds[0])}"
    return f"({', '.join(_NOUNS[kind] for kind in kinds)})"


def _plural(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return f"lists of {_elements(get_args(kind))}"
    return f"{_NOUNS[kind]}s"


def _interval(limits: Range | None, before: str = "") -> str:
    return f"{before} from {_number(limits.low)} to {_number(limits.high)}" if limits else ""


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def choices(kind: Any) -> tuple[str, ...]:
    """The texts that a field of type `Literal` allows; none of another type."""
    return get_args(kind) if get_origin(kind) is Literal else ()
