"""Short names of keys that are typed often: translated on the way in, spoken on the way out."""

from collections.abc import Sequence
from dataclasses import replace

from aqr_exp.errors import Fault

SHORT_NAMES: dict[str, tuple[str, ...]] = {
    "bias_scale": ("variant.bias.scale.start",),
    "learnable_scale": ("variant.bias.scale.learnable",),
    "window_size": ("variant.bias.window.bev", "variant.bias.window.camera"),
}
"""The keys each short name sets."""

HELP = """\b
Short names (variants with an attention bias):
  bias_scale=3.5           the scale, or where a learnable one starts
  learnable_scale=false    whether training changes it
  window_size=5            side of both windows of the bias, in cells
  bias=aggressive          a preset: ultra_conservative, conservative (the default), standard,
                           aggressive, earlier
"""


def keys_set_by(key: str) -> tuple[str, ...]:
    """The dotted keys that a typed key stands for; itself when it is no short name."""
    return SHORT_NAMES.get(key, (key,))


def spelled_out(overrides: Sequence[str]) -> list[str]:
    """The overrides with every short name replaced by the keys it sets.

    Args:
        overrides: As typed; those that cannot be read stay as they are.
    """
    full = []
    for text in overrides:
        key, equals, value = text.partition("=")
        full += [f"{name}{equals}{value}" for name in keys_set_by(key.strip())]
    return full


def as_typed(faults: Sequence[Fault], overrides: Sequence[str]) -> list[Fault]:
    """Faults by the aliases that were typed.

    Args:
        faults: By dotted keys.
        overrides: As typed.

    Returns:
        The same, with one fault for what was typed once: of several faults of an alias's keys the
        first.
    """
    typed = {text.partition("=")[0].strip() for text in overrides}
    alias_of = {key: alias for alias, keys in SHORT_NAMES.items() if alias in typed for key in keys}
    found: dict[object, Fault] = {}
    for fault in faults:
        alias = alias_of.get(fault.key)
        found.setdefault(alias or fault, replace(fault, key=alias) if alias else fault)
    return list(found.values())
