"""The variant whose router weights bias the cross-attention scores of the keys around each query."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from aqr_exp.config.schema.constraints import DefaultBefore, NotInFingerprint, Range
from aqr_exp.config.schema.model import ModelConfig as ModelConfig
from aqr_exp.config.schema.run import RunConfig, VariantSettings
from aqr_exp.config.short_names import value_at
from aqr_exp.config.variant_spec import Bounds, LearnedScale, VariantSpec
from aqr_exp.errors import Fault
from aqr_exp.variants.router import (
    RouterConfig,
    plain_arguments,
    router_arguments,
    router_rules,
    router_warnings,
    weight_bounds,
    weights_are_zero,
)
from aqr_exp.variants.windows import WindowConfig, window_arguments, window_faults

SCALE = "variant.bias.scale"
NEAR_BOUND = 0.8
"""A scale beyond this share of its upper bound is about to be held there."""
LEAST_SIGMA = 0.1
"""A narrower gaussian leaves next to nothing beside the query's own cell."""
SATURATED_SHARE = 0.5
"""More of the biases than this beyond +-3: softmax answers to them no longer."""


BiasUnit = Literal["score", "log_odds"]
"""Unit of the scale: the score itself, or the log-odds of a query's window.

With n of all N keys in the window, log((N - n) / n) is the bias that gives the window half of an
even attention's mass.
"""

AttentionBackend = Literal["auto", "windowed", "dense", "flex"]
"""Implementation of the attention with a bias in windows; all agree to rounding.

`windowed` is for CPUs and `flex` for CUDA, `dense` holds whole matrices and is the reference;
`auto` takes the fastest that supports the case.
"""

ScaleConstraint = Literal["clamp", "l2", "sigmoid"]
ScaleSharing = Literal["one", "modality", "layer", "light"]
"""Number of scales: one, one per modality, one per decoder layer, or two, of darkness and of full light."""


@dataclass(frozen=True, kw_only=True)
class ScaleConfig:
    """The scale of the bias; bounds, constraint and rate count for a learnable one.

    Attributes:
        start: The scale, or where a learnable one starts.
        learnable: Training changes it.
        minimum: Its lower bound.
        maximum: Its upper bound.
        warn_threshold: A scale above it is warned about while training.
        constraint: `clamp` and `sigmoid` keep it within the bounds, `l2` near its start.
        l2_weight: Weight of the penalty (scale - start)^2 of the constraint `l2`.
        sharing: Number of scales.
        anneal: Bounds by epoch: rows of (first epoch, minimum, maximum); before the first row the
            bounds above hold. Empty: they always hold.
        lr_mult: Multiplier on the scale's learning rate.
    """

    start: Annotated[float, Range(0.0, 100.0)]
    learnable: bool
    minimum: Annotated[float, Range(0.0, 100.0)]
    maximum: Annotated[float, Range(0.0, 100.0)]
    warn_threshold: Annotated[float, Range(0.0, 100.0), NotInFingerprint()]
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
        sigma_cells: Standard deviation of that gaussian, in cells or tokens of each map; 0 is a quarter
            of the window's side.
        recenter: From the second decoder layer on, windows sit at the previous layer's boxes.
        unit: Unit of the scale.
        max_bias: The bias is clamped to +- this.
        attention: Implementation of the attention with the bias. Anything but `auto` is part of the
            identity: it changes last digits, and training enlarges them.
    """

    window: WindowConfig
    local: bool
    gaussian: bool
    sigma_cells: Annotated[float, Range(0.0, 50.0), DefaultBefore(0.0)]
    recenter: bool
    unit: BiasUnit
    max_bias: Annotated[float, Range(0.01, 100.0)]
    scale: ScaleConfig
    attention: Annotated[AttentionBackend, DefaultBefore("auto")]


@dataclass(frozen=True, kw_only=True)
class AttentionBiasSettings(VariantSettings):
    """The variant's settings: the router, and its weights as a bias."""

    router: RouterConfig
    bias: BiasConfig


def module_arguments(settings: AttentionBiasSettings, run: RunConfig) -> dict[str, Any]:
    """The arguments of `AttentionBiasModule`."""
    bias, model = settings.bias, run.model
    return {
        # The weight of a switched-off modality: no bias.
        **router_arguments(settings.router, model, neutral=0.0),
        "scale": {
            **plain_arguments(bias.scale, "warn_threshold", "lr_mult"),
            "layers": model.head.layers,
        },
        "bias": {
            **plain_arguments(bias, "window", "recenter", "scale", "attention"),
            "sigma_cells": bias.sigma_cells or None,
        },
        "window": window_arguments(bias.window, model),
        "recenter": bias.recenter,
        "normalisation": {"mean": model.image.mean, "std": model.image.std},
        "attention": bias.attention,
    }


def rules(settings: AttentionBiasSettings, run: RunConfig) -> Iterator[Fault]:
    """One fault for each broken rule."""
    bias, key = settings.bias, "variant.bias"
    yield from router_rules(settings.router, run.model)
    yield from window_faults(bias.window, f"{key}.window", run.model)
    for name, acts, value in (
        ("gaussian", bias.gaussian, "true"),
        ("recenter", bias.recenter, "true"),
        ("window.full_within_m", bias.window.full_within_m > 0.0, f"{bias.window.full_within_m:g}"),
    ):
        if acts and not bias.local:
            rule = f"acts on a window, and {key}.local=false has none"
            yield Fault(f"{key}.{name}", value, rule, about=(f"{key}.local",))
    if bias.sigma_cells and not bias.gaussian:
        rule = f"is the gaussian's, and {key}.gaussian=false has none"
        yield Fault(f"{key}.sigma_cells", f"{bias.sigma_cells:g}", rule, about=(f"{key}.gaussian",))
    if 0.0 < bias.sigma_cells < LEAST_SIGMA:
        rule = f"must be at least {LEAST_SIGMA:g}, or 0 for a quarter of the window's side"
        yield Fault(f"{key}.sigma_cells", f"{bias.sigma_cells:g}", rule)
    if bias.scale.sharing == "light" and min(run.model.image.mean) <= 0.0:
        rule = f"must be positive: {SCALE}.sharing=light measures light by it"
        mean = f"{list(run.model.image.mean)}"
        yield Fault("model.image.mean", mean, rule, about=(f"{SCALE}.sharing",))
    yield from _scale_rules(bias.scale)


def _scale_rules(scale: ScaleConfig) -> Iterator[Fault]:
    low, high = scale.minimum, scale.maximum
    if low >= high:
        rule = f"must be below {SCALE}.maximum={high:g}"
        yield Fault(f"{SCALE}.minimum", f"{low:g}", rule, about=(f"{SCALE}.maximum",))
    if scale.warn_threshold > high:
        value, rule = f"{scale.warn_threshold:g}", f"is above {SCALE}.maximum={high:g}"
        yield Fault(f"{SCALE}.warn_threshold", value, rule, about=(f"{SCALE}.maximum",))
    yield from _anneal_rules(scale)
    if scale.learnable and low < high:
        yield from _start_rules(scale)


def _start_rules(scale: ScaleConfig) -> Iterator[Fault]:
    """A learnable scale starts within the bounds of its first epoch."""
    low, high = next(
        ((low, high) for epoch, low, high in scale.anneal if epoch == 0),
        (scale.minimum, scale.maximum),
    )
    start = partial(
        Fault,
        f"{SCALE}.start",
        f"{scale.start:g}",
        hint=" (learnable_scale=false fixes it)",
        about=tuple(f"{SCALE}.{name}" for name in ("learnable", "minimum", "maximum", "anneal")),
    )
    if not low <= scale.start <= high:
        yield start(f"a learnable scale starts within its bounds, from {low:g} to {high:g}")
    elif scale.constraint == "sigmoid" and scale.start in {low, high}:
        rule = f"constraint=sigmoid reaches no bound: must lie between {low:g} and {high:g}"
        yield start(rule)


def _anneal_rules(scale: ScaleConfig) -> Iterator[Fault]:
    if not scale.anneal:
        return
    anneal = partial(Fault, f"{SCALE}.anneal", f"{[list(row) for row in scale.anneal]}")
    epochs = [epoch for epoch, _, _ in scale.anneal]
    if epochs[0] < 0 or any(a >= b for a, b in itertools.pairwise(epochs)):
        yield anneal("first epochs must rise, from 0 up")
    if any(not 0 <= low < high for _, low, high in scale.anneal):
        yield anneal("in every row the minimum must be below the maximum, and not negative")
    if not scale.learnable:
        yield anneal("bounds act on a learnable scale only", about=(f"{SCALE}.learnable",))
    elif scale.constraint == "l2":
        yield anneal("constraint=l2 has no bounds", about=(f"{SCALE}.constraint",))


def is_scale(name: str) -> bool:
    """Tell a scale among the watched scalars from its share of the bound and its gradient."""
    return name.startswith("scale") and not name.endswith(("_of_max", "_gradient"))


def scale_bounds(settings: Mapping[str, Any]) -> Bounds | None:
    """The bounds of the scale by epoch; None of a fixed scale and of one under `l2`, which has none."""
    scale = value_at(settings, "bias.scale")
    if value_at(scale, "learnable") is not True or scale.get("constraint") == "l2":
        return None
    first = (0, float(scale["minimum"]), float(scale["maximum"]))
    later = [(int(at), float(low), float(high)) for at, low, high in scale.get("anneal") or ()]
    return tuple(later) if any(at == 0 for at, _, _ in later) else (first, *later)


def warnings(
    settings: AttentionBiasSettings, scalars: Mapping[str, float]
) -> Iterator[tuple[str, str]]:
    """Warn about a scale at its bound or without gradient, a saturated softmax, and the router."""
    threshold = settings.bias.scale.warn_threshold
    for name in [key for key in scalars if key.endswith("_of_max")]:
        label = name.removesuffix("_of_max")
        value, share = scalars[label], scalars[name]
        if share > NEAR_BOUND:
            yield name, f"{label} is {value:.3g}, {share:.0%} of its upper bound"
    for label in filter(is_scale, scalars):
        if scalars[label] > threshold:
            yield label, f"{label} is {scalars[label]:.3g}, above {threshold:g}"
        if scalars.get(f"{label}_gradient") == 0.0 and not weights_are_zero(scalars):
            yield f"{label}_gradient", f"{label} gets no gradient: it has left its bounds"
    if scalars.get("bias_share_above_3", 0.0) > SATURATED_SHARE:
        share = scalars["bias_share_above_3"]
        yield "saturated", f"{share:.0%} of the biases are beyond +-3, where softmax is saturated"
    yield from router_warnings(scalars)


SPEC = VariantSpec(
    name="attention_bias",
    summary="Router weights bias the cross-attention scores of the keys around each query.",
    settings=AttentionBiasSettings,
    module="aqr_exp.variants.attention_bias.module:AttentionBiasModule",
    module_arguments=module_arguments,
    rules=rules,
    both_sensors=True,
    groups=("bias",),
    short_names={
        "bias_scale": ("variant.bias.scale.start",),
        "learnable_scale": ("variant.bias.scale.learnable",),
        "window_size": ("variant.bias.window.bev", "variant.bias.window.camera"),
    },
    overrides_help="""\b
Short names (variants with an attention bias):
  bias_scale=3.5           the scale, or where a learnable one starts
  learnable_scale=false    whether training changes it
  window_size=5            side of both windows of the bias, in cells
  bias=aggressive          a preset: ultra_conservative, conservative (the default), standard,
                           aggressive, earlier; all from design notes of earlier work
""",
    learning_rates=lambda settings: {
        "router": {"lr_mult": settings.router.lr_mult},
        # Only the loss and its constraint move the scale: decay would pull it towards no bias.
        "bias.scale": {"lr_mult": settings.bias.scale.lr_mult, "decay_mult": 0.0},
    },
    warnings=warnings,
    windows={
        "bias": lambda settings, model: window_arguments(settings.bias.window, model),
        "router": lambda settings, model: window_arguments(settings.router.window, model),
    },
    weight_bounds=lambda settings: weight_bounds(settings.router),
    scale=LearnedScale(
        is_scale=is_scale,
        bounds=scale_bounds,
        warn_threshold=lambda settings: (
            settings.bias.scale.warn_threshold if settings.bias.scale.learnable else None
        ),
    ),
    examples=(
        "aqr-exp analyze windows attention_bias",
        "aqr-exp analyze windows attention_bias window_size=5 --sample 12 --boxes 10",
        "aqr-exp analyze windows attention_bias model=cmt_r50_800x320 --router --output /tmp",
        "aqr-exp analyze bias attention_bias-3f",
        "aqr-exp analyze bias attention_bias-3f --sample 12 --queries 5 --samples 40",
        "aqr-exp compare baseline-8f attention_bias-ac",
        "aqr-exp compare baseline-8f attention_bias-ac --by metric,class",
        "aqr-exp compare baseline-8f attention_bias-ac --format md > comparison.md",
        "aqr-exp config attention_bias bias=aggressive learnable_scale=false",
        'aqr-exp why "attention_bias bias_scale=2.5" attention_bias',
        'aqr-exp why baseline "attention_bias bias_scale=0 learnable_scale=false"',
        "aqr-exp cost baseline-1a2b3c4d5e6f-s0 attention_bias-0f1e2d3c4b5a-s0",
        "aqr-exp cost baseline attention_bias --passes 200",
        "aqr-exp plot curves --of baseline-8f,attention_bias-ac --loss loss_cls --metric NDS",
        "aqr-exp plot classes --of baseline-8f,attention_bias-ac --width page",
        "aqr-exp run attention_bias bias_scale=3.5 window_size=5",
        "aqr-exp sweep attention_bias bias_scale=1,2.5,5 window_size=5,8 seed=0,1,2",
        "aqr-exp sweep attention_bias 'bias=glob(*)' 'seed=range(0,5)'",
        "aqr-exp sweep attention_bias strategy=optuna trials=20 'bias_scale=interval(0.5,10)'",
    ),
)
