"""The variant whose router weights become maps that multiply the features."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from aqr_exp.config.schema.constraints import DefaultBefore, Range
from aqr_exp.config.schema.run import RunConfig, VariantSettings
from aqr_exp.config.variant_spec import VariantSpec
from aqr_exp.errors import Fault
from aqr_exp.variants.router import (
    RouterConfig,
    plain_arguments,
    router_arguments,
    router_rules,
    router_warnings,
    weight_bounds,
)
from aqr_exp.variants.windows import window_arguments

RenderMethod = Literal["gaussian", "bilinear", "direct", "distance"]
"""Kernel that spreads a query's weight over the cells around it."""

ModulatorMode = Literal["elementwise", "channelwise", "adaptive"]
"""Action of a weight map on the channels of a feature map."""

MapActivation = Literal["none", "relu", "sigmoid", "tanh"]


@dataclass(frozen=True, kw_only=True)
class RendererConfig:
    """From every query's weights to maps over the BEV and over each view.

    Attributes:
        method: Kernel that spreads a weight.
        sigma_cells: Standard deviation of the gaussian, in cells or tokens of the map.
        threshold: Values of a map below it become zero.
        maximum: Values of a map above it become this.
    """

    method: RenderMethod
    sigma_cells: Annotated[float, Range(0.1, 50.0)]
    threshold: Annotated[float, Range(0.0, 100.0)]
    maximum: Annotated[float, Range(0.0, 100.0)]


@dataclass(frozen=True, kw_only=True)
class ModulatorConfig:
    """Features times their weight map: x * (residual + (1 - residual) * map).

    Attributes:
        mode: Action of the map on the channels.
        residual: Share of the feature that passes unchanged; 0 is the pure product, 1 no effect.
        learnable: A factor and an offset of the map are learned, in all modes but `channelwise`,
            which learns one of each for every channel as it is.
        activation: Function of the map before it multiplies.
    """

    mode: ModulatorMode
    residual: Annotated[float, Range(0.0, 1.0)]
    learnable: Annotated[bool, DefaultBefore(False)]
    activation: Annotated[MapActivation, DefaultBefore("none")]


@dataclass(frozen=True, kw_only=True)
class RendererModulatorSettings(VariantSettings):
    """The variant's settings: the router, its weights as maps, the maps as factors of the features."""

    router: RouterConfig
    renderer: RendererConfig
    modulator: ModulatorConfig


def module_arguments(settings: RendererModulatorSettings, run: RunConfig) -> dict[str, Any]:
    """The arguments of `RendererModulatorModule`."""
    return {
        # The weight of a switched-off modality: a full share.
        **router_arguments(settings.router, run.model, neutral=1.0),
        "renderer": plain_arguments(settings.renderer),
        "modulator": plain_arguments(settings.modulator) | {"channels": run.model.head.width},
    }


def rules(settings: RendererModulatorSettings, run: RunConfig) -> Iterator[Fault]:
    """One fault for each broken rule."""
    yield from router_rules(settings.router, run.model)
    renderer = settings.renderer
    if renderer.threshold >= renderer.maximum:
        rule = f"must be below variant.renderer.maximum={renderer.maximum:g}"
        about = ("variant.renderer.maximum",)
        yield Fault("variant.renderer.threshold", f"{renderer.threshold:g}", rule, about=about)
    if settings.modulator.learnable and settings.modulator.mode == "channelwise":
        rule = "variant.modulator.mode=channelwise learns the map's factors already: leave it false"
        yield Fault("variant.modulator.learnable", "true", rule, about=("variant.modulator.mode",))


SPEC = VariantSpec(
    name="renderer_modulator",
    summary="Router weights become maps that multiply the features of both sensors.",
    settings=RendererModulatorSettings,
    module="aqr_exp.variants.renderer_modulator.module:RendererModulatorModule",
    module_arguments=module_arguments,
    rules=rules,
    both_sensors=True,
    learning_rates=lambda settings: {"router": {"lr_mult": settings.router.lr_mult}},
    warnings=lambda _settings, scalars: router_warnings(scalars),
    windows={"router": lambda settings, model: window_arguments(settings.router.window, model)},
    weight_bounds=lambda settings: weight_bounds(settings.router),
)
