"""The router: two modality weights for every query, read from the keys around it."""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from aqr_exp.config.schema.constraints import Range
from aqr_exp.config.schema.window import WindowConfig


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
