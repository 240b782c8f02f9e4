"""The one loader, held against Hydra itself and against identities written down before it."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from composed import compose_run
from hydra import compose, initialize_config_dir
from made_up_data import write_identity
from omegaconf import OmegaConf

from aqr_exp.config import composition as composer
from aqr_exp.config import rules
from aqr_exp.config.compose import Override, shipped_folder
from aqr_exp.config.composition import Composition
from aqr_exp.config.convert import convert
from aqr_exp.config.identity import canonical, fingerprint, run_name
from aqr_exp.config.inputs import with_data_identity
from aqr_exp.config.load import ConfigLoader, load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import Fault, RequestError
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.plan import plan_sweep
from aqr_exp.sweep.trials import TrialPlanner

GOLDEN = json.loads(Path(__file__).with_name("golden_fingerprints.json").read_text())


def override(key: str, text: str, value: object) -> Override:
    return Override(key=key, text=text, value=value)


def faults_of(call: Callable[[], object]) -> tuple[Fault, ...]:
    try:
        call()
    except RequestError as error:
        return error.faults
    return ()


LOADER = ConfigLoader(with_data=False)


# As Hydra is told: full keys, and the group of a part where the part is.
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["variant=attention_bias"],
        ["variant=renderer_modulator", "seed=3", "evaluator=official"],
        ["variant=attention_bias", "bias@variant=aggressive", "variant.bias.scale.start=2"],
        ["variant=attention_bias", "variant.bias.window.bev=5", "variant.bias.window.camera=5"],
        ["variant=attention_bias", "variant.bias.scale.anneal=[[0,1,3],[2,0.5,4]]"],
        ["variant=attention_bias", "variant.router.ffn_channels=${model.head.width}"],
        ["variant=attention_bias", "model.head.ffn_channels=64"],
        ["variant=attention_bias", "model.head.ffn_channels=64", "variant.router.ffn_channels=32"],
        ["variant=attention_bias", "model=cmt_vov_1600x640", "data=nuscenes"],
        ["variant=attention_bias", "model=cmt_vov_1600x640", "model.head.ffn_channels=512"],
        ["variant=renderer_modulator", "model=cmt_r50_800x320", "preset=full_24e"],
        ["preset=smoke", "schedule.epochs=3"],
        ["preset=aqr_finetune", "start.freeze=[img_backbone,a]"],
        ["preset=paper_vov"],
        ["preset=smoke", "schedule=standard", "model=cmt_camera", "data=nuscenes_mini"],
        ["gt_sampling=cmt", "data.gt_sampling.min_points=3"],
        ["gt_sampling=cmt", "schedule.stages=[{epochs:3},{epochs:1,drop_camera:0}]"],
        ["schedule.epochs=null"],
        ["data.root=elsewhere", "data.augment.drop_camera=-0.0", "schedule.learning_rate=1e-4"],
        ["data.root=here/${data.name}", "launcher.threads=1"],
        ["data.root='\\${data.name}'"],
        ["data.version='v 1.0'", "schedule.amp=true"],
        ["seed=x", "model.head.width=63", "data.augment.resize=[1]"],
    ],
    ids=lambda overrides: " ".join(overrides) or "none",
)
def test_a_configuration_is_what_hydra_composes(overrides: list[str]) -> None:
    with initialize_config_dir(str(shipped_folder("conf").resolve()), version_base="1.3"):
        expected = OmegaConf.to_container(compose("config", overrides), resolve=True)
    variant = "baseline"
    if overrides and overrides[0].startswith("variant="):
        variant, overrides = overrides[0].partition("=")[2], overrides[1:]
    typed = [text.replace("bias@variant=", "bias=") for text in overrides]
    found = compose_run(variant, typed)
    assert found == expected
    assert repr(found) == repr(expected)  # 1 == 1.0, and the identity knows them apart
    assert faults_of(lambda: load_run(variant, typed)) == faults_of(
        lambda: rules.check(convert(RunConfig, expected))
    )


@pytest.mark.broad
def test_the_identities_of_shipped_variants_and_presets_are_those_written_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AQR_EXP_DATA", raising=False)
    assert len(GOLDEN["runs"]) > 150
    found = {}
    for request in GOLDEN["runs"]:
        variant, *typed = request.split(" ")
        found[request] = fingerprint(load_run(variant, typed))
    assert found == GOLDEN["runs"]


@pytest.mark.broad
def test_the_runs_of_shipped_sweeps_are_those_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path))
    write_identity(tmp_path / "synth")
    for words, names in GOLDEN["sweeps"].items():
        name, *typed = words.split(" ")
        request = sweep_request(name, typed)
        searched = request.search is not None
        plan = TrialPlanner(request).check_space() if searched else plan_sweep(request)
        assert [run.name for run in plan.runs] == names, words


def test_an_identity_is_the_hash_of_the_whole_canonical_text() -> None:
    loaded = LOADER.load("attention_bias", [override("bias_scale", "3", 3)])
    text = json.dumps(canonical(loaded.config), sort_keys=True, separators=(",", ":"))
    assert loaded.fingerprint == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert loaded.name_of(4) == f"attention_bias-{loaded.fingerprint}-s4"
    assert loaded.name_of(loaded.config.seed) == run_name(loaded.config)
    assert loaded.fingerprint == fingerprint(loaded.config)


def test_runs_of_one_loader_leave_one_another_alone() -> None:
    before = LOADER.load("attention_bias", [])
    LOADER.load("attention_bias", [override("bias_scale", "3", 3)])
    follows = LOADER.load("attention_bias", [override("model.head.ffn_channels", "64", 64)])
    assert follows.config.variant.router.ffn_channels == 64
    assert LOADER.load("attention_bias", []) == before
    assert before.config == load_run("attention_bias")


def test_hydra_composes_once_a_set_of_group_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    composer._composed.cache_clear()
    loader = ConfigLoader(with_data=False)
    for preset in ("quick", "smoke"):
        for scale in (1, 2, 3):
            chosen = override("preset", preset, preset)
            loader.load("attention_bias", [override("bias_scale", str(scale), scale), chosen])
    load_run("attention_bias", ["preset=smoke", "bias_scale=4"])
    assert composer._composed.cache_info().misses == 2


def test_the_environment_is_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        monkeypatch.setenv("AQR_EXP_DATA", f"/{name}")
        assert load_run("baseline").data.root == f"/{name}/synth"


def test_a_chain_of_references_is_followed_and_anything_further_is_left_to_omegaconf() -> None:
    chain = Composition(
        OmegaConf.create(
            {"a": "${b.c}", "b": {"c": "${d}"}, "d": 1, "e": "${oc.env:AQR_EXP_NONE,home}"}
        )
    )
    assert chain.plain
    assert chain.resolved == {"a": 1, "b": {"c": 1}, "d": 1, "e": "home"}
    assert chain.mapping({"d": 2}) == {"a": 2, "b": {"c": 2}, "d": 2, "e": "home"}
    assert chain.mapping({"b.c": 3}) == {"a": 3, "b": {"c": 3}, "d": 1, "e": "home"}
    # What a run changes is its own, and what it does not change is shared.
    assert chain.resolved == {"a": 1, "b": {"c": 1}, "d": 1, "e": "home"}
    assert chain.mapping({"e": "x"})["b"] is chain.resolved["b"]
    further = Composition(OmegaConf.create({"a": {"b": 1}, "c": "${a}", "d": "x${a.b}"}))
    assert not further.plain
    assert further.mapping({"a.b": 2}) == {"a": {"b": 2}, "c": {"b": 2}, "d": "x2"}


def test_the_data_are_identified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path))
    path = write_identity(tmp_path / "synth")
    loader = ConfigLoader(with_data=True)
    first = loader.load("baseline", [])
    assert first.config == with_data_identity(load_run("baseline"))
    path.unlink()
    assert loader.load("baseline", [override("schedule.epochs", "2", 2)]).config.data == (
        first.config.data
    )
    with pytest.raises(RequestError, match=r"no data set there: make it with"):
        ConfigLoader(with_data=True).load("baseline", [])


def test_a_checkpoint_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    loader = ConfigLoader(with_data=False)
    start = override("start.load_from", f"'{path}'", os.fspath(path))
    first = loader.load("baseline", [start])
    assert first.config.start.sha256 == hashlib.sha256(b"weights").hexdigest()
    path.unlink()
    epochs = override("schedule.epochs", "2", 2)
    assert loader.load("baseline", [start, epochs]).config.start == first.config.start


def test_a_key_is_given_once() -> None:
    twice = [override("bias_scale", "1", 1), override("variant.bias.scale.start", "2", 2)]
    with pytest.raises(RequestError, match=r"'variant.bias.scale.start' is given twice"):
        LOADER.load("attention_bias", twice)


def test_an_unknown_variant_is_named_whoever_asks() -> None:
    with pytest.raises(RequestError, match=r"unknown variant 'baselin': did you mean 'baseline'"):
        LOADER.load("baselin", [])


def test_a_value_that_another_key_takes_over_is_refused_once():
    with pytest.raises(RequestError) as refused:
        load_run("attention_bias", ["model.head.ffn_channels=5"])
    (fault,) = refused.value.faults
    assert str(fault) == "model.head.ffn_channels=5: must be a whole number from 8 to 65536"
