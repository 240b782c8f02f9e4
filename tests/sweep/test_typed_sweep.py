from pathlib import Path

import pytest

from aqr_exp.errors import RequestError
from aqr_exp.sweep.cli_source import sweep_request

FILE = """\
variant: attention_bias
fixed: {schedule.epochs: 3}
grid:
  bias_scale: [1, 2]
  window_size: [5, 8]
zip: {variant.bias.unit: [score, log_odds]}
seeds: [0, 1]
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my sweep.yaml").write_text(FILE)
    return "my sweep.yaml"


def shape(what: str, *overrides: str) -> tuple[list[str], dict[str, list[object]], tuple[int, ...]]:
    request = sweep_request(what, overrides)
    axes = {axis.key: [item.value for item in axis.values] for axis in request.grid}
    return [item.typed for item in request.fixed], axes, request.seeds


def test_a_variant_with_values_is_a_sweep_named_after_them() -> None:
    assert shape("attention_bias", "bias_scale=1,2", "schedule.epochs=2", "seed=range(0,2)") == (
        ["schedule.epochs=2"],
        {"bias_scale": [1, 2]},
        (0, 1),
    )
    assert (
        sweep_request("attention_bias", ["bias_scale=1,2"]).name == "attention_bias-by-bias_scale"
    )
    assert sweep_request("attention_bias", ["bias_scale=1"]).name == "attention_bias"


def test_what_is_typed_wins_over_the_file(path: str) -> None:
    assert shape(path) == (
        ["schedule.epochs=3"],
        {"bias_scale": [1, 2], "window_size": [5, 8]},
        (0, 1),
    )
    assert shape(path, "schedule.epochs=9", "bias_scale=3,4", "seed=5") == (
        ["schedule.epochs=9"],
        {"bias_scale": [3, 4], "window_size": [5, 8]},
        (5,),
    )
    assert shape(path, "bias_scale=3", "schedule.epochs=1,2", "bias=glob(e*)") == (
        ["bias_scale=3", "bias=earlier"],
        {"window_size": [5, 8], "schedule.epochs": [1, 2]},
        (0, 1),
    )


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["seed=two"], "seed=two: write a whole number from 0 to 2147483647"),
        (["seed=1,1.5"], "seed=1.5: write a whole number from 0 to 2147483647"),
        (["bias_scale=1", "bias_scale=2"], "'bias_scale' is given twice"),
        (
            ["bias_scale=1", "variant.bias.scale.start=2"],
            "'variant.bias.scale.start' is given twice",
        ),
        (
            ["variant.bias.window.bev=5"],
            "'variant.bias.window.bev': my sweep.yaml sets it by 'window_size': change that",
        ),
        (
            ["variant.bias.unit=score"],
            (
                "'variant.bias.unit': my sweep.yaml gives it values under zip or points: "
                "change them there"
            ),
        ),
        (["bias_scal=2"], "unknown key 'bias_scal': did you mean 'bias_scale'?"),
        (
            ["preset=glob(z*)"],
            (
                "preset=glob(z*): matches no preset (available: aqr_earlier, aqr_finetune, "
                "full_24e, paper_r50, paper_vov, quick, router_only, smoke)"
            ),
        ),
    ],
)
def test_what_cannot_be_typed_is_named(path: str, overrides: list[str], fault: str) -> None:
    if "bias_scale=1" in overrides and "variant.bias.scale.start=2" in overrides:
        path = "attention_bias"
    with pytest.raises(RequestError) as refused:
        sweep_request(path, overrides)
    assert str(refused.value) == fault


def test_a_short_name_and_its_one_key_are_the_same_axis(path: str) -> None:
    assert shape(path, "variant.bias.scale.start=3,4")[1] == {
        "variant.bias.scale.start": [3, 4],
        "window_size": [5, 8],
    }


def test_an_axis_cannot_be_typed_beside_explicit_points() -> None:
    with pytest.raises(RequestError) as refused:
        sweep_request("controls", ["schedule.epochs=1,2"])
    assert str(refused.value) == (
        "'schedule.epochs': sweeps/controls.yaml holds explicit points: give one value, "
        "or edit it there"
    )


def test_several_variants_stand_before_the_values() -> None:
    request = sweep_request("attention_bias", ["baseline", "attention_bias", "seed=0,1"])
    assert request.variants == ("attention_bias", "baseline")
    assert request.name == "attention_bias-baseline"
    assert request.seeds == (0, 1)
    named = sweep_request("baseline", ["attention_bias", "bias_scale=1,2"])
    assert named.name == "baseline-attention_bias-by-bias_scale"
    with pytest.raises(RequestError, match="override 'baselin' cannot be read: write it as key="):
        sweep_request("attention_bias", ["baselin", "seed=0"])
