"""Which arm of the comparison a run is."""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from aqr_exp.config.schema.bias import BiasConfig
from aqr_exp.config.schema.constraints import Range
from aqr_exp.config.schema.router import RouterConfig


class VariantName(str, Enum):
    """The arms there are."""

    BASELINE = "baseline"
    RENDERER_MODULATOR = "renderer_modulator"
    ATTENTION_BIAS = "attention_bias"


class RenderMethod(str, Enum):
    """How a query's weight is spread over the cells around it."""

    GAUSSIAN = "gaussian"
    BILINEAR = "bilinear"
    DIRECT = "direct"
    DISTANCE = "distance"


class ModulatorMode(str, Enum):
    """How a weight map acts on the channels of a feature map."""

    ELEMENTWISE = "elementwise"
    CHANNELWISE = "channelwise"
    ADAPTIVE = "adaptive"


@dataclass(frozen=True, kw_only=True)
class RendererConfig:
    """From every query's weights to maps over the BEV and over each view.

    Attributes:
        method: How a weight is spread.
        sigma_cells: Standard deviation of the gaussian, in cells or tokens of the map.
        threshold: What lies below it in a map becomes zero.
        maximum: What lies above it becomes this.
    """

    method: RenderMethod
    sigma_cells: Annotated[float, Range(0.1, 50.0)]
    threshold: Annotated[float, Range(0.0, 100.0)]
    maximum: Annotated[float, Range(0.0, 100.0)]


@dataclass(frozen=True, kw_only=True)
class ModulatorConfig:
    """Features times their weight map: x * (residual + (1 - residual) * map).

    Attributes:
        mode: How the map acts on the channels.
        residual: Share of the feature that passes unchanged; 0 is the pure product, 1 no effect.
    """

    mode: ModulatorMode
    residual: Annotated[float, Range(0.0, 1.0)]


@dataclass(frozen=True, kw_only=True)
class VariantConfig:
    """The arm, and the parts it has; a part it does not have is None and not in its identity.

    Attributes:
        name: The variant.
        router: Per-query modality weights.
        bias: The weights as an additive bias of the cross-attention scores.
        renderer: The weights as maps.
        modulator: The maps as factors of the features.
    """

    name: VariantName
    router: RouterConfig | None = None
    bias: BiasConfig | None = None
    renderer: RendererConfig | None = None
    modulator: ModulatorConfig | None = None


VARIANT_PARTS: dict[str, tuple[str, ...]] = {
    VariantName.BASELINE.value: (),
    VariantName.RENDERER_MODULATOR.value: ("router", "renderer", "modulator"),
    VariantName.ATTENTION_BIAS.value: ("router", "bias"),
}
"""The parts of each variant."""


def lacks_part(variant: str, part: str) -> str | None:
    """That a variant does not have a part, in words; None when it has it or is unknown.

    Args:
        variant: A variant's name.
        part: A field of `VariantConfig`.
    """
    if part in VARIANT_PARTS.get(variant, (part,)):
        return None
    having = [name for name, parts in VARIANT_PARTS.items() if part in parts]
    return f"variant '{variant}' has no {part} (variants that have: {', '.join(having)})"
