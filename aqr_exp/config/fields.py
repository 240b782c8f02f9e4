"""What the schema's dataclasses say about their fields, read once."""

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from aqr_exp.config.schema.constraints import Excluded, Range


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """One field of a configuration dataclass.

    Attributes:
        name: Its name.
        type: Its type without annotations.
        range: The closed interval its numbers must lie in.
        excluded: Left out of a run's identity.
    """

    name: str
    type: Any
    range: Range | None
    excluded: bool

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
        ranges = [note for note in notes if isinstance(note, Range)]
        specs.append(
            FieldSpec(
                name=field.name,
                type=plain,
                range=ranges[0] if ranges else None,
                excluded=any(isinstance(note, Excluded) for note in notes),
            )
        )
    return tuple(specs)


@cache
def dotted_keys(cls: Any, prefix: str = "") -> dict[str, FieldSpec]:
    """Every single value below a configuration dataclass, by its dotted key."""
    keys: dict[str, FieldSpec] = {}
    for spec in fields_of(cls):
        if spec.nested:
            keys |= dotted_keys(spec.type, f"{prefix}{spec.name}.")
        else:
            keys[prefix + spec.name] = spec
    return keys
