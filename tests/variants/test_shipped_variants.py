"""What the shipped variants and presets hold."""

import math
import re
from pathlib import Path

import pytest

from aqr_exp.config.compose import group_options
from aqr_exp.config.convert import dotted_keys
from aqr_exp.config.identity import as_dict
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.run import StartConfig
from aqr_exp.config.short_names import short_names
from aqr_exp.variants.attention_bias import AttentionBiasSettings, BiasConfig
from aqr_exp.variants.renderer_modulator import RendererModulatorSettings
from aqr_exp.variants.router import RouterConfig


def router_of(config: RunConfig) -> RouterConfig:
    assert isinstance(config.variant, AttentionBiasSettings)
    return config.variant.router


def bias_of(config: RunConfig) -> BiasConfig:
    assert isinstance(config.variant, AttentionBiasSettings)
    return config.variant.bias


def test_the_attention_bias_starts_as_the_baseline() -> None:
    config = load_run("attention_bias")
    assert (router_of(config).activation, router_of(config).init_bias) == ("tanh", 0.0)
    bias = bias_of(config)
    assert (bias.local, bias.gaussian, bias.recenter, bias.unit) == (
        True,
        False,
        False,
        "score",
    )


def test_the_older_scheme_starts_as_it_did() -> None:
    variant = load_run("renderer_modulator").variant
    assert isinstance(variant, RendererModulatorSettings)
    assert variant.router.activation == "sigmoid"
    assert 1 / (1 + math.exp(-variant.router.init_bias)) == pytest.approx(0.82, abs=0.005)
    assert as_dict(variant.renderer) == {
        "method": "gaussian",
        "sigma_cells": 1.0,
        "threshold": 0.01,
        "maximum": 1.5,
    }
    assert as_dict(variant.modulator) == {
        "mode": "elementwise",
        "residual": 0.7,
        "learnable": False,
        "activation": "none",
    }


def test_windows_and_widths_belong_to_the_size_of_the_model() -> None:
    published = load_run("attention_bias", ["model=cmt_r50_800x320"])
    router, bias = router_of(published), bias_of(published)
    assert (router.window.bev, router.window.camera, router.ffn_channels) == (5, 8, 1024)
    assert (bias.window.bev, bias.window.camera) == (8, 8)
    large = load_run("attention_bias", ["model=cmt_vov_1600x640"])
    assert (router_of(large).window.bev, router_of(large).window.camera) == (5, 15)
    assert (bias_of(large).window.bev, bias_of(large).window.camera) == (8, 15)
    rendered = load_run("renderer_modulator", ["model=cmt_vov_1600x640"]).variant
    assert isinstance(rendered, RendererModulatorSettings)
    assert rendered.renderer.sigma_cells == 2.0
    tiny = load_run("attention_bias")
    router, bias = router_of(tiny), bias_of(tiny)
    assert (router.window.bev, router.window.camera, router.ffn_channels) == (5, 3, 256)
    assert (bias.window.bev, bias.window.camera) == (8, 3)


@pytest.mark.parametrize(
    ("preset", "start", "learnable", "bounds", "warn", "max_bias", "activation"),
    [
        ("ultra_conservative", 2.0, True, (0.5, 3.0), 2.5, 5.0, "tanh"),
        ("conservative", 2.5, True, (0.5, 5.0), 4.0, 5.0, "tanh"),
        ("standard", 5.0, False, (0.5, 5.0), 4.0, 5.0, "tanh"),
        ("aggressive", 3.5, True, (1.0, 8.0), 6.0, 8.0, "tanh"),
        ("earlier", 5.0, False, (0.5, 5.0), 4.0, 10.0, "sigmoid"),
    ],
)
def test_presets(
    preset: str,
    start: float,
    learnable: bool,
    bounds: tuple[float, float],
    warn: float,
    max_bias: float,
    activation: str,
) -> None:
    config = load_run("attention_bias", [f"bias={preset}"])
    bias = bias_of(config)
    scale = bias.scale
    assert (scale.start, scale.learnable, scale.warn_threshold) == (start, learnable, warn)
    assert (scale.minimum, scale.maximum) == bounds
    assert bias.max_bias == max_bias
    assert router_of(config).activation == activation


def test_the_default_is_the_conservative_preset_and_what_is_typed_wins() -> None:
    assert load_run("attention_bias", ["bias=conservative"]) == load_run("attention_bias")
    typed = load_run("attention_bias", ["bias_scale=4", "bias=aggressive"])
    assert bias_of(typed).scale.start == 4.0
    assert bias_of(typed).scale.maximum == 8.0


def test_the_scale_takes_every_configuration_that_is_let_through() -> None:
    from aqr_exp.aqr.scale import BiasScale

    changes = [
        [f"variant.bias.scale.constraint={constraint}", f"variant.bias.scale.sharing={sharing}"]
        for constraint in ("clamp", "l2", "sigmoid")
        for sharing in ("one", "modality", "layer")
    ]
    for overrides in [*changes, ["bias_scale=0", "learnable_scale=false"]]:
        scale = bias_of(load_run("attention_bias", overrides)).scale
        made = BiasScale(
            start=scale.start,
            learnable=scale.learnable,
            minimum=scale.minimum,
            maximum=scale.maximum,
            constraint=scale.constraint,
            sharing=scale.sharing,
            layers=2,
            anneal=scale.anneal,
            l2_weight=scale.l2_weight,
        )
        assert made.values().tolist() == pytest.approx([scale.start] * len(made.values()))


def test_the_page_on_variants_names_every_key_preset_and_short_name() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "variants.md"
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", page.read_text()))))
    variants = [key for key in dotted_keys(RunConfig) if key.startswith("variant.")]
    keys = {key.rpartition(".")[2] for key in (*variants, *dotted_keys(StartConfig))}
    wanted = (keys - {"name"}) | set(short_names()) | set(group_options()["bias"])
    assert len(wanted) > 30
    assert wanted - named == {"sha256"}  # named in prose: it is computed, not typed
