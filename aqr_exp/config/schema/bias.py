"""The attention bias: weight times falloff times scale, clamped, on the keys in a query's window."""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from aqr_exp.config.schema.constraints import Before, Excluded, Range
from aqr_exp.config.schema.window import WindowConfig


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
