"""What the schema's dataclasses say about their fields, read once."""

import dataclasses
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from aqr_exp.config.schema.constraints import Before, Excluded, Range


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """One field of a configuration dataclass.

    Attributes:
        name: Its name.
        type: Its type without annotations, and without None.
        range: The closed interval its numbers must lie in.
        excluded: Left out of a run's identity.
        optional: It may be absent: None, or no key at all; it is not in the identity then.
        before: What runs did before there was such a field; None of a field that all have.
    """

    name: str
    type: Any
    range: Range | None
    excluded: bool
    optional: bool
    before: Before | None

    @property
    def nested(self) -> bool:
        """Whether the field holds another configuration dataclass."""
        return dataclasses.is_dataclass(self.type)

    @property
    def listed(self) -> Any:
        """The configuration dataclass that the field holds a list of; None when it holds no such list."""
        kinds = get_args(self.type) if get_origin(self.type) is tuple else ()
        return kinds[0] if len(kinds) == 2 and dataclasses.is_dataclass(kinds[0]) else None

    def is_as_before(self, value: Any) -> bool:
        """Whether a value, as a specification holds it, does what was done before there was the field."""
        if self.before is None:
            return False
        before = self.before.value
        plain = before.value if isinstance(before, Enum) else before
        return bool(value == (list(plain) if isinstance(plain, tuple) else plain))


@cache
def fields_of(cls: Any) -> tuple[FieldSpec, ...]:
    """The fields of a configuration dataclass, in order."""
    hints = get_type_hints(cls, include_extras=True)
    specs = []
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        plain: Any = hint
        notes: list[Any] = []
        if get_origin(hint) is Annotated:
            plain, *notes = get_args(hint)
        plain, optional = _without_none(plain)
        ranges = [note for note in notes if isinstance(note, Range)]
        earlier = [note for note in notes if isinstance(note, Before)]
        specs.append(
            FieldSpec(
                name=field.name,
                type=plain,
                range=ranges[0] if ranges else None,
                excluded=any(isinstance(note, Excluded) for note in notes),
                optional=optional,
                before=earlier[0] if earlier else None,
            )
        )
    return tuple(specs)


def _without_none(hint: Any) -> tuple[Any, bool]:
    """`X` and whether the hint was `X | None`."""
    if get_origin(hint) not in {Union, UnionType}:
        return hint, False
    others = [kind for kind in get_args(hint) if kind is not NoneType]
    if len(others) != 1:
        raise TypeError(f"{hint} is no configuration field: write one type, or `Type | None`")
    return others[0], True


@cache
def dotted_keys(cls: Any, prefix: str = "") -> dict[str, FieldSpec]:
    """Every single value below a configuration dataclass by its dotted key, optional parts included."""
    keys: dict[str, FieldSpec] = {}
    for spec in fields_of(cls):
        if spec.nested:
            keys |= dotted_keys(spec.type, f"{prefix}{spec.name}.")
        else:
            keys[prefix + spec.name] = spec
    return keys
