"""The rules of a variant's parts: between their fields, and between them and the model."""

import dataclasses
import itertools
from collections.abc import Iterator
from functools import partial

from aqr_exp.config.schema import ModelConfig, RunConfig, VariantConfig
from aqr_exp.config.schema.variant import (
    VARIANT_PARTS,
    Activation,
    BiasConfig,
    RendererConfig,
    RouterConfig,
    RouterKind,
    ScaleConfig,
    ScaleConstraint,
    lacks_part,
)
from aqr_exp.config.window_sizes import window_faults
from aqr_exp.errors import Fault

WEIGHT_RANGES = {
    Activation.TANH: (-1.0, 1.0),
    Activation.SIGMOID: (0.0, 1.0),
    Activation.LOGSIGMOID: (float("-inf"), 0.0),
}
"""Where the weights of each activation lie, bounds included."""

SCALE = "variant.bias.scale"


def variant_rules(config: RunConfig) -> Iterator[Fault]:
    """One line for each broken rule of the variant."""
    variant = config.variant
    yield from _part_rules(variant)
    if variant.router is not None:
        yield from _router_rules(variant.router, config.model)
    if variant.bias is not None:
        yield from _bias_rules(variant.bias, config.model)
        yield from _scale_rules(variant.bias.scale)
    if variant.renderer is not None:
        yield from _renderer_rules(variant.renderer)


def start_rules(config: RunConfig) -> Iterator[Fault]:
    """One line for each broken rule of what a run starts from."""
    start = config.start
    if start is None:
        return
    if start.freeze and not start.load_from:
        rule = "freezes what start.load_from loads: set it too"
        yield Fault("start.freeze", f"{list(start.freeze)}", rule, about=("start.load_from",))
    if start.parts and not start.load_from:
        rule = "parts of what start.load_from loads: set it too"
        yield Fault("start.parts", f"{list(start.parts)}", rule, about=("start.load_from",))
    if any(not prefix for prefix in start.parts):
        rule = "an empty beginning would take everything"
        yield Fault("start.parts", f"{list(start.parts)}", rule)
    if any(not prefix for prefix in start.freeze):
        rule = "an empty beginning would freeze everything"
        yield Fault("start.freeze", f"{list(start.freeze)}", rule)


def _part_rules(variant: VariantConfig) -> Iterator[Fault]:
    """The parts must be those of the name: a spec may have been edited by hand."""
    name = variant.name.value
    for field in dataclasses.fields(variant):
        if field.name == "name":
            continue
        absent = getattr(variant, field.name) is None
        if absent and field.name in VARIANT_PARTS[name]:
            rule = f"key 'variant.{field.name}' is missing: variant '{name}' needs it"
            yield Fault(rule=rule, about=(f"variant.{field.name}",))
        elif not absent and (fault := lacks_part(name, field.name)):
            yield Fault(f"variant.{field.name}", None, fault)


def _router_rules(router: RouterConfig, model: ModelConfig) -> Iterator[Fault]:
    key, width = "variant.router", model.head.width
    yield from window_faults(router.window, f"{key}.window", model)
    if width % router.heads:
        rule = f"must divide model.head.width={width}"
        yield Fault(f"{key}.heads", f"{router.heads}", rule, about=("model.head.width",))
    if router.kind is not RouterKind.CONSTANT:
        return
    low, high = WEIGHT_RANGES[router.activation]
    if any(not low <= weight <= high for weight in router.constant):
        allowed = f"from {low:g} to {high:g}" if low > float("-inf") else f"at most {high:g}"
        rule = f"must be {allowed}, where activation={router.activation.value} has its weights"
        about = (f"{key}.activation", f"{key}.kind")
        yield Fault(f"{key}.constant", f"{list(router.constant)}", rule, about=about)
    if router.auxiliary_loss:
        weight, rule = f"{router.auxiliary_loss:g}", "kind=constant has nothing to learn"
        yield Fault(f"{key}.auxiliary_loss", weight, rule, about=(f"{key}.kind",))


def _bias_rules(bias: BiasConfig, model: ModelConfig) -> Iterator[Fault]:
    key = "variant.bias"
    yield from window_faults(bias.window, f"{key}.window", model)
    if not bias.local:
        for name in ("gaussian", "recenter"):
            if getattr(bias, name):
                rule = f"acts on a window, and {key}.local=false has none"
                yield Fault(f"{key}.{name}", "true", rule, about=(f"{key}.local",))


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
    elif scale.constraint is ScaleConstraint.SIGMOID and scale.start in {low, high}:
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
    elif scale.constraint is ScaleConstraint.L2:
        yield anneal("constraint=l2 has no bounds", about=(f"{SCALE}.constraint",))


def _renderer_rules(renderer: RendererConfig) -> Iterator[Fault]:
    if renderer.threshold >= renderer.maximum:
        rule = f"must be below variant.renderer.maximum={renderer.maximum:g}"
        about = ("variant.renderer.maximum",)
        yield Fault("variant.renderer.threshold", f"{renderer.threshold:g}", rule, about=about)
