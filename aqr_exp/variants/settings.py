"""From the typed variant to the dict that the head builds its arm from: pure."""

from typing import Any

from aqr_exp.config.schema.model import ModelConfig
from aqr_exp.config.schema.variant import BiasConfig, VariantConfig, WindowConfig
from aqr_exp.config.window_sizes import bev_map, window_cells


def arm_config(variant: VariantConfig, model: ModelConfig) -> dict[str, Any] | None:
    """The arm of a variant.

    Args:
        variant: The variant.
        model: Whose maps and widths it works on.

    Returns:
        Arguments of an arm in `aqr_exp.cmt.variant_module`; None for the baseline.
    """
    if variant.router is None:
        return None
    router = variant.router
    rows_m, columns_m = bev_map(model).pitch
    arm: dict[str, Any] = {
        "router": {
            "width": model.head.width,
            "heads": router.heads,
            "ffn_channels": router.ffn_channels,
            "activation": router.activation.value,
            "init_bias": router.init_bias,
            "kind": router.kind.value,
            "constant": router.constant,
            "modalities": router.modalities.value,
            # What a switched-off weight is: no bias, or a full share.
            "neutral": 0.0 if variant.bias is not None else 1.0,
        },
        "router_window": _window(router.window, model),
        "bev_pitch_m": (columns_m, rows_m),
        "auxiliary_loss": router.auxiliary_loss,
    }
    if variant.bias is not None:
        return arm | _bias(variant.bias, model)
    assert variant.renderer is not None  # noqa: S101 - VARIANT_PARTS says so
    assert variant.modulator is not None  # noqa: S101
    renderer, modulator = variant.renderer, variant.modulator
    return arm | {
        "type": "ModulationArm",
        "renderer": {
            "method": renderer.method.value,
            "sigma_cells": renderer.sigma_cells,
            "threshold": renderer.threshold,
            "maximum": renderer.maximum,
        },
        "modulator": {
            "channels": model.head.width,
            "mode": modulator.mode.value,
            "residual": modulator.residual,
        },
    }


def _bias(bias: BiasConfig, model: ModelConfig) -> dict[str, Any]:
    scale = bias.scale
    return {
        "type": "AttentionBiasArm",
        "scale": {
            "start": scale.start,
            "learnable": scale.learnable,
            "minimum": scale.minimum,
            "maximum": scale.maximum,
            "constraint": scale.constraint.value,
            "sharing": scale.sharing.value,
            "layers": model.head.layers,
            "anneal": scale.anneal,
            "l2_weight": scale.l2_weight,
        },
        "bias": {
            "local": bias.local,
            "gaussian": bias.gaussian,
            "max_bias": bias.max_bias,
            "unit": bias.unit.value,
        },
        "window": _window(bias.window, model),
        "recenter": bias.recenter,
        "attention": bias.attention.value,
    }


def _window(window: WindowConfig, model: ModelConfig) -> dict[str, Any]:
    bev, camera = window_cells(window, model)
    return {"bev": bev, "camera": camera, "view_policy": window.view_policy.value}
