"""Variants of the detector as plug-ins: the spec each of them offers, and their registry.

A variant is a package below `aqr_exp.variants` whose `SPEC` is a `VariantSpec`. Configurations are
composed and checked without knowing any of them, so the spec lies here, below the variants: their
folders are listed and imported by name, and no import points upward.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Generic, TypeVar

from aqr_exp.config.schema.model import ModelConfig
from aqr_exp.config.schema.run import RunConfig, VariantSettings
from aqr_exp.errors import Fault

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

    Attributes:
        name: As typed; its folder and its option of the Hydra group `variant` have the same name.
        summary: One line.
        settings: The dataclass of its settings; its fields but `name` are the variant's parts.
        module: `package.module:Class` of a `VariantModule` that the detector's head holds, imported
            when a detector is built; None changes nothing in the detector.
        module_arguments: From settings and run to the arguments of the class, plain values.
        rules: One fault for each broken rule of settings that are sound field by field.
        both_sensors: Whether it needs the tokens of the LiDAR and of the cameras.
        groups: Parts that are chosen from a Hydra group of the same name.
        short_names: The dotted keys that each short name sets.
        overrides_help: What the helps of commands that take overrides say of the short names.
        learning_rates: Options of the optimiser, such as `lr_mult`, by the name of a module within its
            module.
        warnings: From settings and the scalars of a logged step to (kind, message) of what goes
            wrong; a kind is warned about once an epoch.
        windows: From settings and model to the arguments of `gather_windows`, by the part they are of.
        weight_bounds: Ends of the axis that its query weights are drawn on; None without weights.
        scale: Its learnable scale.
        examples: Command lines for the helps of the commands they call.
    """

    name: str
    summary: str
    settings: type[S]
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
    windows: Mapping[str, Callable[[S, ModelConfig], dict[str, Any]]] = field(default_factory=dict)
    weight_bounds: Callable[[S], tuple[float, float]] | None = None
    scale: LearnedScale[S] | None = None
    examples: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of its settings."""
        return tuple(each.name for each in fields(self.settings) if each.name != "name")


@cache
def variant_specs() -> dict[str, VariantSpec[Any]]:
    """Every variant by its name, in alphabetical order."""
    package = importlib.import_module("aqr_exp.variants")
    folders = [entry.name for entry in pkgutil.iter_modules(package.__path__) if entry.ispkg]
    specs = [importlib.import_module(f"{package.__name__}.{folder}").SPEC for folder in folders]
    return {spec.name: spec for spec in specs}


def spec_of(settings: VariantSettings) -> VariantSpec[Any]:
    """The variant whose settings these are."""
    return variant_specs()[settings.name]


def settings_classes(kind: Any) -> dict[str, Any]:
    """The classes that a field of type `VariantSettings` holds, by variant; none of another type."""
    if kind is not VariantSettings:
        return {}
    return {name: spec.settings for name, spec in variant_specs().items()}


def lacks_part(variant: str, part: str) -> str | None:
    """Say that a variant does not have a part; None when it has it or is unknown.

    Args:
        part: Such as `router`: what follows `variant.` in a dotted key.
    """
    specs = variant_specs()
    if variant not in specs or part in specs[variant].parts:
        return None
    having = with_feature(lambda spec: part in spec.parts)
    return f"variant '{variant}' has no {part} {having}"


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
