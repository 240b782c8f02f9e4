"""What the schema's dataclasses say about their fields, read once."""

import dataclasses
from dataclasses import dataclass
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
        optional: A configuration dataclass that may be absent: None, or no key at all.
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
    """`X` and whether the hint was `X | None`; only a configuration dataclass may be absent."""
    if get_origin(hint) not in {Union, UnionType}:
        return hint, False
    others = [kind for kind in get_args(hint) if kind is not NoneType]
    if len(others) != 1 or not dataclasses.is_dataclass(others[0]):
        raise TypeError(f"{hint} is no configuration field: write `Part | None` with a dataclass")
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
