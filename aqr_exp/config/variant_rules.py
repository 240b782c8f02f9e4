"""The rules of a variant's parts: between their fields, and between them and the model."""

import dataclasses
import itertools
from collections.abc import Iterator

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

WEIGHT_RANGES = {
    Activation.TANH: (-1.0, 1.0),
    Activation.SIGMOID: (0.0, 1.0),
    Activation.LOGSIGMOID: (float("-inf"), 0.0),
}
"""Where the weights of each activation lie, bounds included."""

SCALE = "variant.bias.scale"


def variant_rules(config: RunConfig) -> Iterator[str]:
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


def start_rules(config: RunConfig) -> Iterator[str]:
    """One line for each broken rule of what a run starts from."""
    start = config.start
    if start is None:
        return
    if start.freeze and not start.load_from:
        yield f"start.freeze={list(start.freeze)}: freezes what start.load_from loads: set it too"
    if start.parts and not start.load_from:
        yield f"start.parts={list(start.parts)}: parts of what start.load_from loads: set it too"
    if any(not prefix for prefix in start.parts):
        yield f"start.parts={list(start.parts)}: an empty beginning would take everything"
    if any(not prefix for prefix in start.freeze):
        yield f"start.freeze={list(start.freeze)}: an empty beginning would freeze everything"


def _part_rules(variant: VariantConfig) -> Iterator[str]:
    """The parts must be those of the name: a spec may have been edited by hand."""
    name = variant.name.value
    for field in dataclasses.fields(variant):
        if field.name == "name":
            continue
        absent = getattr(variant, field.name) is None
        if absent and field.name in VARIANT_PARTS[name]:
            yield f"key 'variant.{field.name}' is missing: variant '{name}' needs it"
        elif not absent and (fault := lacks_part(name, field.name)):
            yield f"variant.{field.name}: {fault}"


def _router_rules(router: RouterConfig, model: ModelConfig) -> Iterator[str]:
    key, width = "variant.router", model.head.width
    yield from window_faults(router.window, f"{key}.window", model)
    if width % router.heads:
        yield f"{key}.heads={router.heads}: must divide model.head.width={width}"
    if router.kind is not RouterKind.CONSTANT:
        return
    low, high = WEIGHT_RANGES[router.activation]
    if any(not low <= weight <= high for weight in router.constant):
        allowed = f"from {low:g} to {high:g}" if low > float("-inf") else f"at most {high:g}"
        yield (
            f"{key}.constant={list(router.constant)}: must be {allowed}, "
            f"where activation={router.activation.value} has its weights"
        )
    if router.auxiliary_loss:
        yield f"{key}.auxiliary_loss={router.auxiliary_loss:g}: kind=constant has nothing to learn"


def _bias_rules(bias: BiasConfig, model: ModelConfig) -> Iterator[str]:
    key = "variant.bias"
    yield from window_faults(bias.window, f"{key}.window", model)
    if not bias.local:
        for name in ("gaussian", "recenter"):
            if getattr(bias, name):
                yield f"{key}.{name}=true: acts on a window, and {key}.local=false has none"


def _scale_rules(scale: ScaleConfig) -> Iterator[str]:
    low, high = scale.minimum, scale.maximum
    if low >= high:
        yield f"{SCALE}.minimum={low:g}: must be below {SCALE}.maximum={high:g}"
    if scale.warn_threshold > high:
        yield f"{SCALE}.warn_threshold={scale.warn_threshold:g}: is above {SCALE}.maximum={high:g}"
    yield from _anneal_rules(scale)
    if scale.learnable and low < high:
        yield from _start_rules(scale)


def _start_rules(scale: ScaleConfig) -> Iterator[str]:
    """A learnable scale starts within the bounds of its first epoch."""
    low, high = next(
        ((low, high) for epoch, low, high in scale.anneal if epoch == 0),
        (scale.minimum, scale.maximum),
    )
    start = f"{SCALE}.start={scale.start:g}"
    remedy = "(learnable_scale=false fixes it)"
    if not low <= scale.start <= high:
        yield f"{start}: a learnable scale starts within its bounds, from {low:g} to {high:g} {remedy}"
    elif scale.constraint is ScaleConstraint.SIGMOID and scale.start in {low, high}:
        rule = f"constraint=sigmoid reaches no bound: must lie between {low:g} and {high:g}"
        yield f"{start}: {rule} {remedy}"


def _anneal_rules(scale: ScaleConfig) -> Iterator[str]:
    if not scale.anneal:
        return
    key = f"{SCALE}.anneal={[list(row) for row in scale.anneal]}"
    epochs = [epoch for epoch, _, _ in scale.anneal]
    if epochs[0] < 0 or any(a >= b for a, b in itertools.pairwise(epochs)):
        yield f"{key}: first epochs must rise, from 0 up"
    if any(not 0 <= low < high for _, low, high in scale.anneal):
        yield f"{key}: in every row the minimum must be below the maximum, and not negative"
    if not scale.learnable:
        yield f"{key}: bounds act on a learnable scale only"
    elif scale.constraint is ScaleConstraint.L2:
        yield f"{key}: constraint=l2 has no bounds"


def _renderer_rules(renderer: RendererConfig) -> Iterator[str]:
    if renderer.threshold >= renderer.maximum:
        yield (
            f"variant.renderer.threshold={renderer.threshold:g}: "
            f"must be below variant.renderer.maximum={renderer.maximum:g}"
        )
