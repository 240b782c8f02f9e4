from pathlib import Path

import pytest

from aqr_exp.config.compose import group_options
from aqr_exp.config.convert import dotted_keys
from aqr_exp.config.identity import fingerprint
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.short_names import as_typed, overrides_help, short_names
from aqr_exp.errors import Fault, RequestError
from aqr_exp.variants.attention_bias import AttentionBiasSettings


def faults_of(variant: str, *overrides: str) -> list[str]:
    with pytest.raises(RequestError) as caught:
        load_run(variant, overrides)
    return str(caught.value).splitlines()


def test_a_short_name_is_its_keys() -> None:
    short = load_run("attention_bias", ["bias_scale=3.5", "window_size=5", "learnable_scale=false"])
    long = load_run(
        "attention_bias",
        [
            "variant.bias.scale.start=3.5",
            "variant.bias.window.bev=5",
            "variant.bias.window.camera=5",
            "variant.bias.scale.learnable=false",
        ],
    )
    assert short == long
    assert fingerprint(short) == fingerprint(long)
    assert isinstance(short.variant, AttentionBiasSettings)
    bias = short.variant.bias
    assert (bias.scale.start, bias.scale.learnable) == (3.5, False)
    assert (bias.window.bev, bias.window.camera) == (5.0, 5.0)
    # The router's windows are its own.
    assert short.variant.router.window.bev == 5.0
    assert short.variant.router.window.camera == 3.0


def test_every_short_name_stands_for_keys_that_exist_and_is_none_itself() -> None:
    keys = dotted_keys(RunConfig)
    assert len(short_names()) == 3
    for short, names in short_names().items():
        assert set(names) <= set(keys)
        assert short not in keys
        assert f"\n  {short}=" in overrides_help()


def test_the_help_lists_every_preset() -> None:
    presets = group_options()["bias"]
    assert len(presets) == 5
    assert all(preset in overrides_help().partition("a preset: ")[2] for preset in presets)


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("bias_scale=nan", "bias_scale=nan: must be a number from 0 to 100"),
        ("bias_scale=inf", "bias_scale=inf: must be a number from 0 to 100"),
        ("bias_scale=-1", "bias_scale=-1: must be a number from 0 to 100"),
        ("bias_scale=", "bias_scale='': must be a number from 0 to 100"),
        ("bias_scale=[1]", "bias_scale=[1]: must be a number from 0 to 100"),
        (
            "bias_scale=1,2",
            "override 'bias_scale=1,2' names several values: a run takes one (`aqr-exp sweep` takes them)",
        ),
        (
            "bias_scale",
            "override 'bias_scale' cannot be read: write it as key=value, such as bias_scale=...",
        ),
        (
            "bias_scale=8",
            (
                "bias_scale=8: a learnable scale starts within its bounds, from 0.5 to 5 "
                "(learnable_scale=false fixes it)"
            ),
        ),
        ("learnable_scale=2", "learnable_scale=2: must be true or false"),
        ("window_size=0", "window_size=0: must be a whole number of cells, at least 1"),
        ("window_size=x", "window_size='x': must be a number"),
        (
            "window_size=100",
            (
                "window_size=100: larger than the model's camera map of 6 x 16 cells "
                "(rows x columns)"
            ),
        ),
        (
            "+bias_scale=1",
            (
                "override '+bias_scale=1' cannot be used: "
                "keys are neither added nor removed, only changed"
            ),
        ),
        ("bias_scal=1", "unknown key 'bias_scal': did you mean 'bias_scale'?"),
    ],
)
def test_errors_speak_the_typed_name_in_one_line(override: str, fault: str) -> None:
    assert faults_of("attention_bias", override) == [fault]


@pytest.mark.parametrize("variant", ["baseline", "renderer_modulator"])
@pytest.mark.parametrize("short", sorted(short_names()))
def test_a_variant_without_a_bias_refuses_them(variant: str, short: str) -> None:
    assert faults_of(variant, f"{short}=1") == [
        f"{short}: variant '{variant}' has no bias (variants that have: attention_bias)"
    ]


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["bias_scale=1", "bias_scale=1"], "'bias_scale' is given twice"),
        (
            ["bias_scale=1", "variant.bias.scale.start=2"],
            "'variant.bias.scale.start' is given twice (bias_scale sets it too)",
        ),
        (
            ["variant.bias.window.camera=3", "window_size=5"],
            "'variant.bias.window.camera' is given twice (window_size sets it too)",
        ),
    ],
)
def test_both_spellings_together_are_given_twice(overrides: list[str], fault: str) -> None:
    assert faults_of("attention_bias", *overrides) == [fault]


def test_a_fault_names_only_the_alias_that_was_typed() -> None:
    start, other = (
        Fault(f"variant.bias.scale.{key}", "1", "bad") for key in ("start", "learnable")
    )
    assert as_typed([start, other], {"bias_scale", "seed"}) == [
        Fault("bias_scale", "1", "bad"),
        other,
    ]
    assert as_typed([start, other], set()) == [start, other]


def test_one_typed_value_is_one_fault() -> None:
    faults = [
        Fault("variant.bias.window.camera", "9", "a"),
        Fault("seed", "1", "x"),
        Fault("variant.bias.window.bev", "9", "b"),
        Fault("seed", "1", "y"),
    ]
    assert as_typed(faults, {"window_size"}) == [
        Fault("window_size", "9", "a"),
        faults[1],
        faults[3],
    ]


def test_a_wrong_request_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from aqr_exp.cli.main import main

    monkeypatch.chdir(tmp_path)
    assert main(["run", "attention_bias", "window_size=0"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "aqr-exp: window_size=0: must be a whole number of cells, at least 1\n"
    assert list(tmp_path.iterdir()) == []
