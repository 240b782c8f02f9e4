import copy
from typing import Any

import pytest

from aqr_exp.config.convert import convert
from aqr_exp.config.identity import as_dict, from_spec
from aqr_exp.config.load import load_run
from aqr_exp.config.rules import broken_rules
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.variant_spec import lacks_part, variant_specs
from aqr_exp.errors import RequestError

BASES = {name: as_dict(load_run(name)) for name in variant_specs()}
ROUTER, BIAS, SCALE = "variant.router.", "variant.bias.", "variant.bias.scale."


def broken(variant: str, changes: dict[str, Any]) -> list[str]:
    plain = copy.deepcopy(BASES[variant])
    for key, value in changes.items():
        *parents, name = key.split(".")
        node = plain
        for parent in parents:
            node = node[parent]
        assert name in node
        node[name] = value
    return [str(fault) for fault in broken_rules(convert(RunConfig, plain))]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {ROUTER + "heads": 3},
            "variant.router.heads=3: must divide model.head.width=128",
        ),
        (
            {ROUTER + "window.camera": 17},
            (
                "variant.router.window.camera=17: "
                "larger than the model's camera map of 6 x 16 cells (rows x columns)"
            ),
        ),
        (
            {BIAS + "window.bev": 0},
            "variant.bias.window.bev=0: must be a whole number of cells, at least 1",
        ),
        (
            {ROUTER + "kind": "constant", ROUTER + "constant": [1.0, -1.1]},
            (
                "variant.router.constant=[1.0, -1.1]: must be from -1 to 1, "
                "where activation=tanh has its weights"
            ),
        ),
        (
            {
                ROUTER + "kind": "constant",
                ROUTER + "activation": "sigmoid",
                ROUTER + "constant": [1.0, -0.1],
            },
            (
                "variant.router.constant=[1.0, -0.1]: must be from 0 to 1, "
                "where activation=sigmoid has its weights"
            ),
        ),
        (
            {ROUTER + "kind": "constant", ROUTER + "activation": "logsigmoid"},
            (
                "variant.router.constant=[1.0, 1.0]: must be at most 0, "
                "where activation=logsigmoid has its weights"
            ),
        ),
        (
            {ROUTER + "kind": "constant", ROUTER + "auxiliary_loss": 0.5},
            "variant.router.auxiliary_loss=0.5: kind=constant has nothing to learn",
        ),
        (
            {BIAS + "local": False, BIAS + "gaussian": True},
            "variant.bias.gaussian=true: acts on a window, and variant.bias.local=false has none",
        ),
        (
            {BIAS + "local": False, BIAS + "recenter": True},
            "variant.bias.recenter=true: acts on a window, and variant.bias.local=false has none",
        ),
        (
            {BIAS + "local": False, BIAS + "window.full_within_m": 12.5},
            (
                "variant.bias.window.full_within_m=12.5: acts on a window, "
                "and variant.bias.local=false has none"
            ),
        ),
        (
            {BIAS + "sigma_cells": 2.5},
            (
                "variant.bias.sigma_cells=2.5: is the gaussian's, "
                "and variant.bias.gaussian=false has none"
            ),
        ),
        (
            {BIAS + "gaussian": True, BIAS + "sigma_cells": 0.05},
            (
                "variant.bias.sigma_cells=0.05: must be at least 0.1, "
                "or 0 for a quarter of the window's side"
            ),
        ),
        (
            {SCALE + "minimum": 6.0},
            "variant.bias.scale.minimum=6: must be below variant.bias.scale.maximum=5",
        ),
        (
            {SCALE + "minimum": 5.0, SCALE + "learnable": False},
            "variant.bias.scale.minimum=5: must be below variant.bias.scale.maximum=5",
        ),
        (
            {SCALE + "warn_threshold": 5.5},
            "variant.bias.scale.warn_threshold=5.5: is above variant.bias.scale.maximum=5",
        ),
        (
            {SCALE + "start": 5.1},
            (
                "variant.bias.scale.start=5.1: a learnable scale starts within its bounds, "
                "from 0.5 to 5 (learnable_scale=false fixes it)"
            ),
        ),
        (
            {SCALE + "start": 0.5, SCALE + "constraint": "sigmoid"},
            (
                "variant.bias.scale.start=0.5: constraint=sigmoid reaches no bound: "
                "must lie between 0.5 and 5 (learnable_scale=false fixes it)"
            ),
        ),
        (
            {SCALE + "anneal": [[0, 3.0, 4.0], [5, 0.5, 5.0]]},
            (
                "variant.bias.scale.start=2.5: a learnable scale starts within its bounds, "
                "from 3 to 4 (learnable_scale=false fixes it)"
            ),
        ),
        (
            {SCALE + "anneal": [[5, 1.0, 2.0], [5, 1.0, 3.0]]},
            (
                "variant.bias.scale.anneal=[[5, 1.0, 2.0], [5, 1.0, 3.0]]: "
                "first epochs must rise, from 0 up"
            ),
        ),
        (
            {SCALE + "anneal": [[-1, 1.0, 3.0]]},
            "variant.bias.scale.anneal=[[-1, 1.0, 3.0]]: first epochs must rise, from 0 up",
        ),
        (
            {SCALE + "anneal": [[5, 2.0, 2.0]]},
            (
                "variant.bias.scale.anneal=[[5, 2.0, 2.0]]: "
                "in every row the minimum must be below the maximum, and not negative"
            ),
        ),
        (
            {SCALE + "anneal": [[5, 1.0, 2.0]], SCALE + "learnable": False},
            ("variant.bias.scale.anneal=[[5, 1.0, 2.0]]: bounds act on a learnable scale only"),
        ),
        (
            {SCALE + "anneal": [[5, 1.0, 2.0]], SCALE + "constraint": "l2"},
            "variant.bias.scale.anneal=[[5, 1.0, 2.0]]: constraint=l2 has no bounds",
        ),
    ],
)
def test_a_broken_rule_of_the_bias_is_one_line(changes: dict[str, Any], fault: str) -> None:
    assert broken("attention_bias", changes) == [fault]


def test_a_broken_rule_of_the_renderer_is_one_line() -> None:
    assert broken("renderer_modulator", {"variant.renderer.threshold": 1.5}) == [
        "variant.renderer.threshold=1.5: must be below variant.renderer.maximum=1.5"
    ]


def test_a_modulator_does_not_learn_its_map_twice() -> None:
    changes = {"variant.modulator.mode": "channelwise", "variant.modulator.learnable": True}
    assert broken("renderer_modulator", changes) == [
        (
            "variant.modulator.learnable=true: variant.modulator.mode=channelwise learns "
            "the map's factors already: leave it false"
        )
    ]
    assert broken("renderer_modulator", changes | {"variant.modulator.mode": "adaptive"}) == []


@pytest.mark.parametrize(
    ("variant", "typed", "fault"),
    [
        ("attention_bias", "variant.router.dropout=1", "must be a number from 0 to 0.9"),
        ("attention_bias", "variant.router.dropout=nan", "must be a number from 0 to 0.9"),
        ("attention_bias", "variant.router.ffn_dropout=-0.1", "must be a number from 0 to 0.9"),
        ("attention_bias", "variant.router.post_norm=1", "must be true or false"),
        (
            "renderer_modulator",
            "variant.router.init_weight=xavir",
            "must be one of zero, xavier: did you mean 'xavier'?",
        ),
        ("attention_bias", "variant.bias.sigma_cells=51", "must be a number from 0 to 50"),
        (
            "attention_bias",
            "variant.bias.window.full_within_m=-1",
            "must be a number from 0 to 1000",
        ),
        (
            "renderer_modulator",
            "variant.modulator.activation=sigmoids",
            "must be one of none, relu, sigmoid, tanh: did you mean 'sigmoid'?",
        ),
    ],
)
def test_values_of_no_use_are_refused(variant: str, typed: str, fault: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_run(variant, [typed])
    assert str(caught.value).endswith(f": {fault}")
    assert str(caught.value).startswith(typed.partition("=")[0])


def test_what_is_typed_reaches_the_modules() -> None:
    from aqr_exp.variants.attention_bias.module import AttentionBiasModule
    from aqr_exp.variants.renderer_modulator.module import RendererModulatorModule

    router = ["dropout=0.1", "ffn_dropout=0.2", "post_norm=true", "init_weight=xavier"]
    typed = [f"{ROUTER}{each}" for each in router]
    for variant, more, made in (
        ("attention_bias", ["gaussian=true", "sigma_cells=2.5"], AttentionBiasModule),
        ("renderer_modulator", ["learnable=true", "activation=tanh"], RendererModulatorModule),
    ):
        part = BIAS if variant == "attention_bias" else "variant.modulator."
        run = load_run(variant, [*typed, *(part + each for each in more)])
        module = made(**variant_specs()[variant].module_arguments(run.variant, run))
        assert (module.router.dropout, module.router.ffn_dropout) == (0.1, 0.2)
        assert module.router.cross_attn.dropout == 0.1
        assert "router.post_norm.weight" in module.state_dict()
        assert module.router.output.weight.abs().max() > 0
        if made is AttentionBiasModule:
            assert module.bias.sigma_cells == 2.5
        else:
            assert "bev_modulator.gain.weight" in module.state_dict()
            assert module.bev_modulator.activation is not None


@pytest.mark.parametrize(
    "changes",
    [
        {SCALE + "start": 0.5},
        {SCALE + "start": 5.0},
        {SCALE + "start": 10.0, SCALE + "learnable": False},
        {SCALE + "start": 0.0, SCALE + "learnable": False},
        {SCALE + "anneal": [[0, 1.0, 2.5], [5, 0.5, 4.0], [15, 0.1, 5.0]]},
        {ROUTER + "constant": [9.0, -9.0]},  # only a constant router has them
        {ROUTER + "kind": "constant", ROUTER + "constant": [1.0, -1.0]},
        {
            ROUTER + "kind": "constant",
            ROUTER + "activation": "sigmoid",
            ROUTER + "constant": [0, 1],
        },
        {
            ROUTER + "kind": "constant",
            ROUTER + "activation": "logsigmoid",
            ROUTER + "constant": [0.0, -50.0],
        },
    ],
)
def test_what_is_sound_is_let_through(changes: dict[str, Any]) -> None:
    assert broken("attention_bias", changes) == []


def test_the_parts_are_those_of_the_name() -> None:
    assert {name: set(plain["variant"]) - {"name"} for name, plain in BASES.items()} == {
        name: set(spec.parts) for name, spec in variant_specs().items()
    }
    edited = copy.deepcopy(BASES["attention_bias"])
    edited["variant"]["name"] = "renderer_modulator"
    with pytest.raises(RequestError) as caught:
        from_spec(edited)
    assert str(caught.value).splitlines() == [
        (
            "variant.bias: variant 'renderer_modulator' has no bias "
            "(variants that have: attention_bias)"
        ),
        "key 'variant.renderer' is missing: it must be a group of keys",
        "key 'variant.modulator' is missing: it must be a group of keys",
    ]


def test_a_variant_that_does_not_exist_lacks_nothing() -> None:
    assert lacks_part("attention_bais", "bias") is None
    assert lacks_part("attention_bias", "bias") is None
