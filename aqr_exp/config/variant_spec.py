"""Variants of the detector as plug-ins: the spec each of them offers, and their registry.

A shipped variant is a package below `aqr_exp.variants` whose `SPEC` is a `VariantSpec`; an idea is a file
of the user's own (`idea_files`), of which a spec is made (`idea_spec`) when its own name is asked for.
Configurations are composed and checked without knowing any of them, so the spec lies here, below the
variants: their folders are listed and imported by name, and no import points upward.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from aqr_exp.config.idea_files import idea_names, idea_place, shown_path
from aqr_exp.config.schema.model import ModelConfig
from aqr_exp.config.schema.run import RunConfig, VariantSettings
from aqr_exp.errors import Fault, RequestError

Bounds = tuple[tuple[int, float, float], ...]
"""Rows of (first epoch, minimum, maximum) that rise from epoch 0."""

S = TypeVar("S", bound=VariantSettings)


@dataclass(frozen=True, kw_only=True)
class LearnedScale(Generic[S]):
    """A learnable scale of a variant, which is drawn over training.

    Attributes:
        is_scale: Whether a watched scalar of this name is a scale.
        bounds: From settings as plain values, of any version, to the bounds by epoch; None of a scale
            that nothing holds.
        warn_threshold: From settings to the value above which there is a warning; None without.
    """

    is_scale: Callable[[str], bool]
    bounds: Callable[[Mapping[str, Any]], Bounds | None]
    warn_threshold: Callable[[S], float | None]


@dataclass(frozen=True, kw_only=True)
class VariantSpec(Generic[S]):
    """Everything the rest of the program knows of a variant.

    An idea's file may hold one as `SPEC`, with what is not taken from the file itself: its name, its
    summary, its settings and its module.

    Attributes:
        name: As typed; its folder and its option of the Hydra group `variant` have the same name.
        summary: One line.
        settings: The dataclass of its settings; its fields but `name` are the variant's parts.
        module: `package.module:Class` of a `VariantModule` that the detector's head holds, imported
            when a detector is built; None changes nothing in the detector.
        module_arguments: From settings and run to the arguments of the class.
        rules: One fault for each broken rule of settings that are sound field by field.
        both_sensors: Whether it needs the tokens of the LiDAR and of the cameras.
        groups: Parts that are chosen from a Hydra group of the same name.
        short_names: The dotted keys that each short name sets.
        overrides_help: What the helps of commands that take overrides say of the short names.
        learning_rates: Options of the optimiser, such as `lr_mult`, by the name of a module within its
            module.
        warnings: From settings and the scalars of a logged step to (kind, message) of what goes
            wrong; a kind is warned about once an epoch.
        train_transforms: From settings to functions of (sample, generator) that training's pipeline calls
            after augmentation (docs/hooks.md).
        figure: From completed runs, (name, lines of the history) each, to a Matplotlib figure.
        windows: From settings and model to the arguments of `gather_windows`, by the part they are of.
        weight_bounds: Ends of the axis that its query weights are drawn on; None without weights.
        scale: Its learnable scale.
        examples: Command lines for the helps of the commands they call.
        origin: An idea's file or folder; None of a shipped variant.
        option: Its option of the Hydra group `variant`, where no file holds it.
    """

    name: str = ""
    summary: str = ""
    settings: type[S] = VariantSettings  # type: ignore[assignment]
    module: str | None = None
    module_arguments: Callable[[S, RunConfig], dict[str, Any]] = lambda _settings, _run: {}
    rules: Callable[[S, RunConfig], Iterator[Fault]] = lambda _settings, _run: iter(())
    both_sensors: bool = False
    groups: tuple[str, ...] = ()
    short_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    overrides_help: str = ""
    learning_rates: Callable[[S], dict[str, dict[str, float]]] = lambda _settings: {}
    warnings: Callable[[S, Mapping[str, float]], Iterator[tuple[str, str]]] = (
        lambda _settings, _scalars: iter(())
    )
    train_transforms: Callable[[S], Sequence[Callable[..., Any]]] = lambda _settings: ()
    figure: Callable[[Sequence[tuple[str, Sequence[Mapping[str, Any]]]]], Any] | None = None
    windows: Mapping[str, Callable[[S, ModelConfig], dict[str, Any]]] = field(default_factory=dict)
    weight_bounds: Callable[[S], tuple[float, float]] | None = None
    scale: LearnedScale[S] | None = None
    examples: tuple[str, ...] = ()
    origin: Path | None = None
    option: Mapping[str, Any] | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of its settings."""
        return tuple(each.name for each in fields(self.settings) if each.name != "name")


@cache
def shipped_specs() -> dict[str, VariantSpec[Any]]:
    """The variants of this package by name, in alphabetical order."""
    package = importlib.import_module(_SHIPPED)
    folders = [entry.name for entry in pkgutil.iter_modules(package.__path__) if entry.ispkg]
    specs = [importlib.import_module(f"{_SHIPPED}.{folder}").SPEC for folder in folders]
    return {spec.name: spec for spec in specs}


_SHIPPED = "aqr_exp.variants"
# The ideas that were asked for, and the functions that know no others.
_IDEAS: dict[str, VariantSpec[Any]] = {}
_OF_KNOWN: list[Callable[[], None]] = []

Cached = TypeVar("Cached", bound=Callable[..., Any])


def cached_by_variants(function: Cached) -> Cached:
    """Cache what a function returns until one more variant is known."""
    cached = cache(function)
    _OF_KNOWN.append(cached.cache_clear)
    return cast(Cached, cached)


def variant_specs() -> dict[str, VariantSpec[Any]]:
    """The shipped variants, and the ideas that were asked for, by name; imports no idea."""
    return {**shipped_specs(), **_IDEAS}


def variant_names() -> list[str]:
    """Every name that may be asked for, in alphabetical order; imports no idea."""
    return sorted({*shipped_specs(), *idea_names()})


def variant_named(name: str) -> VariantSpec[Any] | None:
    """A variant that is asked for; an idea is imported now. None where there is none.

    Raises:
        RequestError: The idea cannot be used, or two things have the name.
    """
    place, shipped = idea_place(name), shipped_specs().get(name)
    if place is None:
        return shipped
    if shipped is not None:
        if not place.file.exists():
            return shipped
        folder = importlib.import_module(f"{_SHIPPED}.{name}").__path__[0]
        rule = f"has the name of the shipped variant in {folder}: give it another"
        raise RequestError(Fault(where=shown_path(place.path), rule=rule))
    known = _IDEAS.get(name)
    if known is None or known.origin != place.path:
        _IDEAS.pop(name, None)
        reader = importlib.import_module("aqr_exp.config.idea_spec")
        _IDEAS[name] = reader.read_idea(name, place)
        for forget in _OF_KNOWN:
            forget()
    return _IDEAS[name]


def spec_of(settings: VariantSettings) -> VariantSpec[Any]:
    """The variant whose settings these are."""
    return variant_specs()[settings.name]


def settings_classes(kind: Any) -> dict[str, Any]:
    """The classes that a field of type `VariantSettings` holds, by known variant; none of another type."""
    if kind is not VariantSettings:
        return {}
    return {name: spec.settings for name, spec in variant_specs().items()}


def part_of(key: str) -> str:
    """The part of a variant that a dotted key changes; empty where it changes none."""
    head, _, rest = key.partition(".")
    return rest.partition(".")[0] if head == "variant" else ""


def lacks_part(variant: str, part: str) -> str | None:
    """Say that a variant does not have a part; None when it has it or is unknown.

    Args:
        part: Such as `router`: what follows `variant.` in a dotted key; an empty one all have.
    """
    specs = variant_specs()
    if not part or variant not in specs or part in specs[variant].parts:
        return None
    having = with_feature(lambda spec: part in spec.parts)
    return f"variant '{variant}' has no {part} {having}"


def lacks_group(variant: str, group: str) -> str | None:
    """Say that a variant chooses no part of itself from a Hydra group; None where it may be chosen."""
    specs = variant_specs()
    if group not in part_groups() or variant not in specs or group in specs[variant].groups:
        return None
    return f"variant '{variant}' has no {group} {with_feature(lambda spec: group in spec.groups)}"


def with_feature(has: Callable[[VariantSpec[Any]], bool]) -> str:
    """Name the variants that have something, as a remedy at the end of a message."""
    return f"(variants that have: {', '.join(n for n, s in variant_specs().items() if has(s))})"


def part_groups() -> dict[str, str]:
    """Hydra groups that belong to one part of a variant, and what Hydra calls them there."""
    return {group: f"{group}@variant" for spec in variant_specs().values() for group in spec.groups}


def example_lines(command: str) -> str:
    """The variants' examples of a command, indented as its help has them.

    Args:
        command: Such as `run` or `analyze bias`.
    """
    every = [line for spec in variant_specs().values() for line in spec.examples]
    return "\n".join(f"  {line}" for line in every if line.startswith(f"aqr-exp {command} "))
