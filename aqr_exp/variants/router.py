"""The query router that variants share: its settings, rules, module arguments and warnings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from aqr_exp.config.schema.constraints import DefaultBefore, Range
from aqr_exp.config.schema.model import ModelConfig
from aqr_exp.errors import Fault
from aqr_exp.variants.windows import WindowConfig, window_arguments, window_faults

MODALITIES = ("lidar", "camera")
COLLAPSED_SHARE = 0.95
"""More of the queries than this prefer one modality."""
STEADY_MEAN, STEADY_SPREAD = 0.9, 0.02
"""Weights near the end of their range that hardly differ between queries: the router routes nothing."""


Activation = Literal["tanh", "sigmoid", "logsigmoid"]
RouterKind = Literal["learned", "constant", "shuffled"]
"""Learned weights, or a control: one constant, or learned weights dealt to other queries."""

RouterStart = Literal["zero", "xavier"]
Modalities = Literal["both", "lidar", "camera"]
"""Modalities whose weights act; the weight of a switched-off modality is neutral."""


@dataclass(frozen=True, kw_only=True)
class RouterConfig:
    """The adaptive query router.

    Attributes:
        window: Keys that a query's weights are read from.
        heads: Heads of its cross-attention; they divide the width of the detector's head.
        ffn_channels: Hidden width of its feed-forward block.
        activation: Range of the weights.
        init_bias: Bias of the last layer at the start.
        init_weight: Weight of the last layer at the start; from zero all queries begin alike.
        dropout: Share of attention probabilities and of attention outputs dropped in training; .1 in
            MoME.
        ffn_dropout: Share of the feed-forward block's hidden numbers and outputs dropped in training.
        post_norm: A second norm after the layer, as in MoME.
        kind: Learned, or a control.
        constant: The weights (lidar, camera) of the kind `constant`.
        modalities: Modalities whose weights act.
        auxiliary_loss: Weight of a sample-level loss on the weights, an ablation; 0 is without.
        lr_mult: Multiplier on the router's learning rate.
    """

    window: WindowConfig
    heads: Annotated[int, Range(1, 128)]
    ffn_channels: Annotated[int, Range(8, 65536)]
    activation: Activation
    init_bias: Annotated[float, Range(-20.0, 20.0)]
    init_weight: Annotated[RouterStart, DefaultBefore("zero")]
    dropout: Annotated[float, Range(0.0, 0.9), DefaultBefore(0.0)]
    ffn_dropout: Annotated[float, Range(0.0, 0.9), DefaultBefore(0.0)]
    post_norm: Annotated[bool, DefaultBefore(False)]
    kind: RouterKind
    constant: Annotated[tuple[float, float], Range(-100.0, 100.0)]
    modalities: Modalities
    auxiliary_loss: Annotated[float, Range(0.0, 100.0)]
    lr_mult: Annotated[float, Range(0.0, 10.0)]


WEIGHT_RANGES: dict[Activation, tuple[float, float]] = {
    "tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "logsigmoid": (float("-inf"), 0.0),
}
"""Range of the weights by activation, bounds included."""


def router_rules(router: RouterConfig, model: ModelConfig) -> Iterator[Fault]:
    """One fault for each broken rule of a router."""
    key, width = "variant.router", model.head.width
    yield from window_faults(router.window, f"{key}.window", model)
    if width % router.heads:
        rule = f"must divide model.head.width={width}"
        yield Fault(f"{key}.heads", f"{router.heads}", rule, about=("model.head.width",))
    if router.kind != "constant":
        return
    low, high = WEIGHT_RANGES[router.activation]
    if any(not low <= weight <= high for weight in router.constant):
        allowed = f"from {low:g} to {high:g}" if low > float("-inf") else f"at most {high:g}"
        rule = f"must be {allowed}, where activation={router.activation} has its weights"
        about = (f"{key}.activation", f"{key}.kind")
        yield Fault(f"{key}.constant", f"{list(router.constant)}", rule, about=about)
    if router.auxiliary_loss:
        weight, rule = f"{router.auxiliary_loss:g}", "kind=constant has nothing to learn"
        yield Fault(f"{key}.auxiliary_loss", weight, rule, about=(f"{key}.kind",))


def plain_arguments(part: Any, *without: str) -> dict[str, Any]:
    """The fields of a part as plain keyword arguments.

    Args:
        part: A configuration dataclass without dataclasses in it, as far as its fields are taken.
        without: Fields that are left out.
    """
    return {
        each.name: getattr(part, each.name) for each in fields(part) if each.name not in without
    }


def router_arguments(router: RouterConfig, model: ModelConfig, *, neutral: float) -> dict[str, Any]:
    """The arguments of `RoutedModule`.

    Args:
        neutral: The weight of a switched-off modality.
    """
    return {
        "router": {
            **plain_arguments(router, "window", "auxiliary_loss", "lr_mult"),
            "width": model.head.width,
            "neutral": neutral,
        },
        "router_window": window_arguments(router.window, model),
        "auxiliary_loss": router.auxiliary_loss,
    }


def weight_bounds(router: RouterConfig) -> tuple[float, float]:
    """The ends of the axis that weights are drawn on: of their range, or -4 where it has no end."""
    low, high = WEIGHT_RANGES[router.activation]
    return max(low, -4.0), high


def router_warnings(scalars: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Warn about a router that learns nothing or weighs all queries alike.

    Yields:
        (kind, message).
    """
    if scalars.get("router_gradient") == 0.0:
        yield "router_gradient", "the router gets no gradient"
    for modality in MODALITIES:
        share = scalars.get(f"prefers_{modality}", 0.0)
        if share > COLLAPSED_SHARE:
            yield f"prefers_{modality}", f"{share:.0%} of the queries prefer the {modality}"
        mean = scalars.get(f"weight_{modality}_mean", 0.0)
        if abs(mean) > STEADY_MEAN and scalars[f"weight_{modality}_std"] < STEADY_SPREAD:
            yield f"weight_{modality}", f"every query gets the same {modality} weight, {mean:.2f}"


def weights_are_zero(scalars: Mapping[str, float]) -> bool:
    """True before the first step of a router that starts from zero."""
    names = [f"weight_{modality}_{part}" for modality in MODALITIES for part in ("mean", "std")]
    return all(scalars.get(name) == 0.0 for name in names)
