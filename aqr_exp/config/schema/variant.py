"""The windows around a query: which keys of the BEV and of the views belong to its place."""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from aqr_exp.config.schema.constraints import Before, Excluded, Range


class WindowUnit(str, Enum):
    """What window sizes are given in."""

    CELLS = "cells"
    METRIC = "metric"


class ViewPolicy(str, Enum):
    """Which views get a window when several see a query: the first, or each."""

    FIRST = "first"
    ALL = "all"


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """A square window in the BEV and one in the camera maps.

    Attributes:
        bev: Side in the BEV: whole cells, or metres when the unit is metric.
        camera: Side in a view: whole tokens, or pixels of the network's input when metric.
        unit: What the sides are given in; metric ones are rounded to whole cells.
        view_policy: Which of the views that see a query get a window.
    """

    bev: float
    camera: float
    unit: WindowUnit
    view_policy: ViewPolicy


class Activation(str, Enum):
    """Where the weights lie: tanh in [-1, 1], sigmoid in [0, 1], logsigmoid below 0."""

    TANH = "tanh"
    SIGMOID = "sigmoid"
    LOGSIGMOID = "logsigmoid"


class RouterKind(str, Enum):
    """Learned weights, or a control: one constant, or learned weights dealt to other queries."""

    LEARNED = "learned"
    CONSTANT = "constant"
    SHUFFLED = "shuffled"


class Modalities(str, Enum):
    """Which weights act; that of a switched-off modality is neutral."""

    BOTH = "both"
    LIDAR = "lidar"
    CAMERA = "camera"


@dataclass(frozen=True, kw_only=True)
class RouterConfig:
    """The adaptive query router.

    Attributes:
        window: Keys that a query's weights are read from.
        heads: Heads of its cross-attention; they divide the width of the detector's head.
        ffn_channels: Hidden width of its feed-forward block.
        activation: Where the weights lie.
        init_bias: Bias of the last layer at the start, where the weight of that layer is zero.
        kind: Learned, or a control.
        constant: The weights (lidar, camera) of the kind `constant`.
        modalities: Which weights act.
        auxiliary_loss: Weight of a sample-level loss on the weights, an ablation; 0 is without.
        lr_mult: Multiplier on the router's learning rate.
    """

    window: WindowConfig
    heads: Annotated[int, Range(1, 128)]
    ffn_channels: Annotated[int, Range(8, 65536)]
    activation: Activation
    init_bias: Annotated[float, Range(-20.0, 20.0)]
    kind: RouterKind
    constant: Annotated[tuple[float, float], Range(-100.0, 100.0)]
    modalities: Modalities
    auxiliary_loss: Annotated[float, Range(0.0, 100.0)]
    lr_mult: Annotated[float, Range(0.0, 10.0)]


class BiasUnit(str, Enum):
    """What the scale multiplies: the score itself, or the log-odds of a query's window.

    With n of all N keys in the window, log((N - n) / n) is the bias that gives the window half of an
    even attention's mass.
    """

    SCORE = "score"
    LOG_ODDS = "log_odds"


class AttentionBackend(str, Enum):
    """How scores with a bias in windows are attended with; all agree to rounding.

    `windowed` is for CPUs and `flex` for CUDA, `dense` holds matrices and is what they are held
    against; `auto` takes the fastest that serves.
    """

    AUTO = "auto"
    WINDOWED = "windowed"
    DENSE = "dense"
    FLEX = "flex"


class ScaleConstraint(str, Enum):
    """What keeps a learnable scale in place."""

    CLAMP = "clamp"
    L2 = "l2"
    SIGMOID = "sigmoid"


class ScaleSharing(str, Enum):
    """How many scales there are: one, one a modality, or one a decoder layer."""

    ONE = "one"
    MODALITY = "modality"
    LAYER = "layer"


@dataclass(frozen=True, kw_only=True)
class ScaleConfig:
    """The scale of the bias; bounds, constraint and rate count for a learnable one.

    Attributes:
        start: The scale, or where a learnable one starts.
        learnable: Whether training changes it.
        minimum: Its lower bound.
        maximum: Its upper bound.
        warn_threshold: A scale above it is warned about while training.
        constraint: `clamp` and `sigmoid` keep it within the bounds, `l2` near its start.
        l2_weight: Weight of the penalty (scale - start)^2 of the constraint `l2`.
        sharing: How many scales there are.
        anneal: Bounds by epoch: rows of (first epoch, minimum, maximum); before the first row the
            bounds above hold. Empty: they always hold.
        lr_mult: Multiplier on the scale's learning rate.
    """

    start: Annotated[float, Range(0.0, 100.0)]
    learnable: bool
    minimum: Annotated[float, Range(0.0, 100.0)]
    maximum: Annotated[float, Range(0.0, 100.0)]
    warn_threshold: Annotated[float, Range(0.0, 100.0), Excluded()]
    constraint: ScaleConstraint
    l2_weight: Annotated[float, Range(0.0, 100.0)]
    sharing: ScaleSharing
    anneal: tuple[tuple[int, float, float], ...]
    lr_mult: Annotated[float, Range(0.0, 10.0)]


@dataclass(frozen=True, kw_only=True)
class BiasConfig:
    """The additive bias of the cross-attention scores.

    Attributes:
        window: Keys that get the bias.
        local: Only the keys in the window; false gives it to all keys of the modality.
        gaussian: The bias falls off from the query's cell towards the window's edge.
        recenter: From the second decoder layer on, windows sit at the previous layer's boxes.
        unit: What the scale multiplies.
        max_bias: The bias is clamped to +- this.
        scale: Its scale.
        attention: How scores with the bias are attended with. Anything but `auto` is part of the
            identity: it changes last digits, and training enlarges them.
    """

    window: WindowConfig
    local: bool
    gaussian: bool
    recenter: bool
    unit: BiasUnit
    max_bias: Annotated[float, Range(0.01, 100.0)]
    scale: ScaleConfig
    attention: Annotated[AttentionBackend, Before(AttentionBackend.AUTO)]


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
