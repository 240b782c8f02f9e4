"""Overrides, read and checked: known keys and options, each with one value."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import aqr_exp
from aqr_exp.config.convert import dotted_keys, fields_of
from aqr_exp.config.idea_files import NOT_AT_HAND
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.description import DataDescription
from aqr_exp.config.short_names import keys_set_by, short_names
from aqr_exp.config.variant_spec import (
    VariantSpec,
    lacks_group,
    lacks_part,
    part_of,
    variant_named,
    variant_names,
)
from aqr_exp.errors import Fault, RequestError, cut, shown
from aqr_exp.files.suggest import did_you_mean, nearest, some

# Filled in by the program; typing it could only make the record untrue.
COMPUTED_KEYS = {
    "data.fingerprint": "it is read from the data",
    "sources": "it is computed from the idea's files",
    **{
        f"data.description.{name}": "it is read from the data's dataset.yaml"
        for name in fields_of(DataDescription)
    },
    "start.sha256": "it is read from the checkpoint",
    "variant.name": "the variant is named first, before the overrides",
}
# The only interpolation that a typed value may hold: `${key}`, of this configuration. What resolvers read
# (the environment) would be stored with the run, and would not be the same elsewhere.
_KEYS_ONLY = re.compile(r"\$\{[^:${}]*\}")

Groups = Mapping[str, Sequence[str]]
"""Option names by group name."""


def shipped_folder(name: str) -> Path:
    """A folder of shipped files: inside the installed package, or beside it in a checkout.

    Args:
        name: `conf`, `sweeps` or `templates`.

    Raises:
        RequestError: It is missing; the installation is incomplete.
    """
    package = Path(aqr_exp.__file__).resolve().parent
    for folder in (package / name, package.parent / name):
        if any([*folder.glob("*.yaml"), *folder.glob("*.py")]):
            return folder
    raise RequestError(f"no folder {name} beside {package}: the installation is incomplete")


def source_of(group: str, option: str) -> str:
    """The first comment in an option's file, which of a preset says where it comes from."""
    text = (shipped_folder("conf") / group / f"{option}.yaml").read_text(encoding="utf-8")
    comments = (line[1:].strip() for line in text.splitlines() if line.startswith("#"))
    return next((each for each in comments if not each.startswith("@")), "")


def group_options() -> dict[str, list[str]]:
    """Sorted options by Hydra group; what only others derive from (`*_base`) is left out."""
    return {**_options_of_files(), "variant": variant_names()}


@cache
def _options_of_files() -> dict[str, list[str]]:
    return {
        group.name: sorted(
            option.stem for option in group.glob("*.yaml") if not option.stem.endswith("_base")
        )
        for group in sorted(shipped_folder("conf").iterdir())
        if group.is_dir() and not group.name.endswith("_base")
    }


@dataclass(frozen=True, kw_only=True)
class Override:
    """One changed key or group, read once.

    Attributes:
        key: As typed: a dotted key, an alias or a group.
        text: The value as it would be typed.
        value: The value.
        where: File and line, for messages; empty for what was typed.
    """

    key: str
    text: str
    value: Any = field(compare=False)
    where: str = field(default="", compare=False)

    @property
    def typed(self) -> str:
        """As it would be typed."""
        return f"{self.key}={self.text}"


# What is meant to name several values, and is no text when it is broken.
_SEVERAL = re.compile(
    r"(range|choice|glob|interval|tag|int|float|shuffle|sort)\s*\(|.*,", re.DOTALL
)


def parsed(text: str) -> Any:
    """Hydra's reading of a typed `key=value`; None where it cannot be read.

    A value that its grammar does not allow, such as `~/data`, `a=b` or `x#1`, is taken as text,
    unless its commas or its function might stand for several values.
    """
    found = strictly_parsed(text)
    key, _, value = text.partition("=")
    if found is None and value.strip() and not _SEVERAL.match(value.strip()):
        return strictly_parsed(f"{key}={quoted(value.strip())}")
    return found


@cache
def strictly_parsed(text: str) -> Any:
    """Hydra's own reading of a typed `key=value`; None where it has none."""
    from hydra.errors import HydraException

    try:
        return _parser().parse_override(text)
    except (HydraException, ValueError):  # Python reads no number of thousands of digits
        return None


def quoted(text: str) -> str:
    """A text in quotes, which Hydra reads as it is."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return str(QuotedString(text=text, quote=Quote.single).with_quotes())


@cache
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def read_overrides(typed: Sequence[str], variant: str, groups: Groups) -> tuple[Override, ...]:
    """Overrides as typed, each with one value.

    Raises:
        RequestError: One fault for each unknown variant, group, option or key.
    """
    return known_overrides([_read(text) for text in joined_words(typed)], variant, groups)


def typed_keys(variant: str = "") -> list[str]:
    """Everything that stands before the equals sign of an override, of one variant or of any."""
    keys = [key for key in dotted_keys(RunConfig) if key not in COMPUTED_KEYS]
    every = [*keys, *group_options(), *short_names()]
    return [key for key in every if lacks_part(variant, part_of(keys_set_by(key)[0])) is None]


def joined_words(typed: Sequence[str]) -> list[str]:
    """Typed words, where those that are no `key=value` are one with their neighbours: `a = 3`."""
    found: list[str] = []
    for word in typed:
        follows = bool(found) and "=" not in found[-1].rstrip("=")
        if follows and ("=" not in word or word.startswith("=")):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def split_typed(text: str) -> tuple[str, str]:
    """The key and the value of one typed `key=value`.

    Raises:
        RequestError: It is none; says what to write.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if key and (key[0] in "+~" or "@" in key):
        rule = "cannot be used: keys are neither added nor removed, only changed"
        raise RequestError(Fault(rule=f"override {shown(text)} {rule}", about=(key,)))
    if key and equals:
        return key, value
    words = text.replace("=", " ").split()
    guess = nearest(words[0].lstrip("-"), typed_keys()) if words else None
    hint = f", such as {guess}={words[1] if len(words) == 2 else '...'}" if guess else ""
    raise RequestError(f"override {shown(text)} cannot be read: write it as key=value{hint}")


def known_overrides(
    items: Sequence[Override | Fault], variant: str, groups: Groups
) -> tuple[Override, ...]:
    """The overrides, if their variant, keys and options are known.

    Raises:
        RequestError: As `read_overrides`.
    """
    try:
        known_variant(variant, groups)
        faults = override_faults(items, variant, groups)
    except RequestError as error:
        faults = [*error.faults, *override_faults(items, variant, groups)]
        # Whether it has a key of its own cannot be known.
        faults = [each for each in faults if not any(map(part_of, each.about))]
    if faults:
        raise RequestError(*faults)
    return tuple(item for item in items if isinstance(item, Override))


def _read(text: str) -> Override | Fault:
    """One override; a fault where it is none, or names several values."""
    try:
        key, value = split_typed(text)
    except RequestError as error:
        return error.faults[0]
    override, fault = parsed(f"key={value}"), None
    if override is None or override.is_sweep_override():
        hint = in_quotes(key, value) or " (`aqr-exp sweep` takes them)"
        fault = f"names several values: a run takes one{hint}"
    elif key == "variant":
        fault = "cannot be used: name the variant first, before the overrides"
    if fault:
        return Fault(rule=f"override {shown(text)} {fault}", about=(key,))
    return Override(key=key, text=value, value=override.value())


def in_quotes(key: str, text: str) -> str:
    """The hint how to type a text that reads as something else; empty for keys that hold no text."""
    spec = dotted_keys(RunConfig).get(key)
    return f""" (in quotes: '{key}="{text}"')""" if spec and spec.type is str else ""


def override_faults(items: Iterable[Override | Fault], variant: str, groups: Groups) -> list[Fault]:
    """Everything that is wrong with the keys and group options of overrides."""
    faults = []
    seen: dict[str, str] = {}
    for item in items:
        if isinstance(item, Fault):
            faults.append(item)
            continue
        keys = dict.fromkeys((item.key, *keys_set_by(item.key)))
        twice = next((key for key in keys if key in seen), None)
        fault = _key_fault(item, variant, groups)
        if not fault and twice is not None:
            other = {item.key, seen[twice]} - {twice}
            also = f" ({' and '.join(sorted(other))} sets it too)" if other else ""
            fault = Fault(rule=f"'{twice}' is given twice{also}", about=(twice, *other))
        for key in keys:
            seen.setdefault(key, item.key)
        if fault:
            faults.append(fault)
    return faults


def _key_fault(item: Override, variant: str, groups: Groups) -> Fault | None:
    """An unknown or computed key, an unknown option, or a part that the variant lacks."""
    key, value = item.key, item.value
    fault = partial(Fault, "", None, about=(key,))
    if _calls_resolver(value):
        rule = "may refer to keys alone, as ${model.head.width}: write what a resolver would read"
        return Fault(key, cut(item.text), rule)
    if key in groups:
        if value not in groups[key]:
            return unknown(key, str(value), groups)
        lacking = lacks_group(variant, key)
        return Fault(item.typed, None, lacking, about=(key,)) if lacking else None
    known = dotted_keys(RunConfig)
    if key in COMPUTED_KEYS:
        return fault(f"'{key}' cannot be set: {COMPUTED_KEYS[key]}")
    if key in known or key in short_names():
        lacking = lacks_part(variant, part_of(keys_set_by(key)[0]))
        return Fault(key, None, lacking, about=(key,)) if lacking else None
    if table := next((n for n, s in known.items() if s.table and key.startswith(f"{n}.")), None):
        whole = f"{table}={{{key.removeprefix(f'{table}.')}: {item.text}}}"
        return fault(f"'{table}' is set as a whole: {shown(whole)}")
    typed = typed_keys(variant)
    below = [name for name in known if name.startswith(f"{key}.")]
    if f"variant.{key}" in typed:
        below = [f"variant.{key}"]
    if below:
        return fault(f"'{key}' is a group of keys: set one of them, such as '{below[0]}'")
    guess = did_you_mean(key, typed) or did_you_mean(key, typed_keys())
    return fault(f"unknown key '{key}'", guess)


def _calls_resolver(value: Any) -> bool:
    """Check for interpolations of anything but keys, at any depth."""
    if isinstance(value, dict):
        return any(map(_calls_resolver, (*value, *value.values())))
    if isinstance(value, list):
        return any(map(_calls_resolver, value))
    return isinstance(value, str) and "${" in _KEYS_ONLY.sub("", value)


def known_variant(name: str, groups: Groups) -> VariantSpec[Any]:
    """A variant that is asked for; an idea is imported now.

    Raises:
        RequestError: There is none, or it is an idea that cannot be used.
    """
    spec = variant_named(name)
    if spec is None:
        raise RequestError(unknown("variant", name, groups))
    return spec


def unknown(group: str, option: str, groups: Groups) -> Fault:
    """The fault of an option that a group does not have, with the nearest."""
    guess = did_you_mean(option, groups[group])
    where = NOT_AT_HAND if group == "variant" and not guess else ""
    hint = f"{guess} (available: {some(groups[group])}){where}"
    return Fault(rule=f"unknown {group} '{option}'", hint=hint, about=(group,))


def changes_of(overrides: Sequence[Override], groups: Groups) -> dict[str, Any]:
    """The values that overrides set, by dotted key; choices of groups set none here."""
    return {
        key: item.value
        for item in overrides
        if item.key not in groups
        for key in keys_set_by(item.key)
    }
