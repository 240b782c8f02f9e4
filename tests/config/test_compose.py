import re
import shlex
import shutil
from pathlib import Path

import pytest
from composed import compose_run

from aqr_exp.config.compose import group_options, shipped_folder
from aqr_exp.config.load import load_run
from aqr_exp.errors import RequestError
from aqr_exp.sweep.values import read_values


def fault_of(variant: str, *overrides: str) -> str:
    with pytest.raises(RequestError) as caught:
        compose_run(variant, overrides)
    return str(caught.value)


def test_overrides_and_groups_reach_the_result() -> None:
    composed = compose_run("baseline", ["schedule=standard", "model.head.layers=3", "seed=7"])
    assert composed["schedule"]["name"] == "standard"
    assert composed["schedule"]["epochs"] == 24
    assert composed["model"]["head"]["layers"] == 3
    assert composed["seed"] == 7


def test_an_override_wins_over_the_preset() -> None:
    composed = compose_run("baseline", ["model=cmt_r50_800x320", "preset=quick"])
    assert composed["model"]["name"] == "cmt_r50_800x320"


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["schedul.epochs=3"], "unknown key 'schedul.epochs': did you mean 'schedule.epochs'?"),
        (["epochs=3"], "unknown key 'epochs': did you mean 'schedule.epochs'?"),
        (["schedule.epoch=3"], "unknown key 'schedule.epoch': did you mean 'schedule.epochs'?"),
        (["schedul=quick"], "unknown key 'schedul': did you mean 'schedule'?"),
        (["zzz=1"], "unknown key 'zzz'"),
        (
            ["schedule=smok"],
            (
                "unknown schedule 'smok': did you mean 'smoke'? (available: finetune, full_24e, "
                "published, published_vov, quick, router_only, smoke, standard)"
            ),
        ),
        (
            ["model=cmt_base"],
            (
                "unknown model 'cmt_base': did you mean 'cmt_camera'? (available: cmt_camera, "
                "cmt_lidar, cmt_r50_800x320, cmt_tiny, cmt_vov_1600x640)"
            ),
        ),
        (
            ["schedule"],
            "override 'schedule' cannot be read: write it as key=value, such as schedule=...",
        ),
        (["seed", "3"], "override 'seed 3' cannot be read: write it as key=value, such as seed=3"),
        (["=3"], "override '=3' cannot be read: write it as key=value"),
        (["a;b=1"], "unknown key 'a;b'"),
        (
            ["model.head=3"],
            "'model.head' is a group of keys: set one of them, such as 'model.head.queries'",
        ),
        (["seed=1", "seed=2"], "'seed' is given twice"),
        (
            ["seed=1,2"],
            "override 'seed=1,2' names several values: a run takes one (`aqr-exp sweep` takes them)",
        ),
        (
            ["seed=range(3)"],
            "override 'seed=range(3)' names several values: a run takes one (`aqr-exp sweep` takes them)",
        ),
        (["data.fingerprint=ab"], "'data.fingerprint' cannot be set: it is read from the data"),
        (
            ["variant.name=attention_bias"],
            "'variant.name' cannot be set: the variant is named first, before the overrides",
        ),
        (
            ["variant.bias.scale.start=3"],
            (
                "variant.bias.scale.start: variant 'baseline' has no bias "
                "(variants that have: attention_bias)"
            ),
        ),
        (
            ["variant.router.heads=3"],
            (
                "variant.router.heads: variant 'baseline' has no router "
                "(variants that have: attention_bias, renderer_modulator)"
            ),
        ),
        (
            ["bias=aggressive"],
            (
                "bias=aggressive: variant 'baseline' has no bias "
                "(variants that have: attention_bias)"
            ),
        ),
        (
            ["bias=agressive"],
            (
                "unknown bias 'agressive': did you mean 'aggressive'? (available: aggressive, "
                "conservative, earlier, standard, ultra_conservative)"
            ),
        ),
        (
            ["weight_activation=tanh"],
            "unknown key 'weight_activation': did you mean 'variant.router.activation'?",
        ),
        (["window_base=cmt_tiny"], "unknown key 'window_base': did you mean 'window_size'?"),
        (
            ["variant=baseline"],
            (
                "override 'variant=baseline' cannot be used: "
                "name the variant first, before the overrides"
            ),
        ),
    ],
)
def test_a_wrong_override_is_named_in_one_line(overrides: list[str], fault: str) -> None:
    assert fault_of("baseline", *overrides) == fault


@pytest.mark.parametrize(
    "override",
    ["+seed=1", "++seed=1", "+new=1", "~seed", "~schedule", "model@other=cmt_tiny", "+model@a=b"],
)
def test_keys_are_never_added_removed_or_moved(override: str) -> None:
    assert fault_of("baseline", override) == (
        f"override '{override}' cannot be used: keys are neither added nor removed, only changed"
    )


def test_an_unknown_variant_is_named_with_the_nearest() -> None:
    assert fault_of("baselin") == (
        "unknown variant 'baselin': did you mean 'baseline'? "
        "(available: attention_bias, baseline, renderer_modulator)"
    )


def test_all_faults_are_reported_together() -> None:
    lines = fault_of("baselin", "schedul.epochs=3", "schedule=smok", "+x=1").splitlines()
    assert [line.split("'")[1] for line in lines] == ["baselin", "schedul.epochs", "smok", "+x=1"]


def test_interpolations_that_lead_nowhere_are_one_line() -> None:
    fault = fault_of("baseline", "data.root=${no.such.key}")
    assert fault.startswith("the configuration cannot be composed: ")
    assert "no.such.key" in fault
    assert "\n" not in fault


def test_works_from_a_folder_with_a_hostile_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = compose_run("baseline")
    folder = tmp_path / "a 'b' \"c\"; echo"
    shutil.copytree(shipped_folder("conf"), folder)
    used = []
    monkeypatch.setattr(
        "aqr_exp.config.composition.shipped_folder", lambda name: used.append(name) or folder
    )
    assert compose_run("baseline") == expected
    assert "conf" in used


def test_works_from_any_folder_and_makes_the_data_folder_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AQR_EXP_DATA", raising=False)
    assert load_run("baseline").data.root == str(tmp_path / "data" / "synth")
    monkeypatch.setenv("AQR_EXP_DATA", "else where")
    assert load_run("baseline").data.root == str(tmp_path / "else where" / "synth")


@pytest.mark.broad
def test_every_option_of_every_group_composes_and_converts() -> None:
    seen = 0
    groups = group_options()
    for group, options in groups.items():
        for option in options:
            if group == "variant":
                assert load_run(option).variant.name == option
            elif group == "bias":
                load_run("attention_bias", [f"bias={option}"])
            elif group == "schedule" and option in {"full_24e", "published", "published_vov"}:
                load_run("baseline", [f"schedule={option}", "gt_sampling=cmt"])
                with pytest.raises(RequestError, match=r"there is no data\.gt_sampling"):
                    load_run("baseline", [f"schedule={option}"])
            elif option in {"aqr_finetune", "router_only"} and group == "preset":
                with pytest.raises(
                    RequestError, match=r"freezes what start\.load_from loads: set it"
                ):
                    load_run("baseline", [f"{group}={option}"])
            elif (group, option) == ("launcher", "slurm"):
                with pytest.raises(
                    RequestError, match=r"^launcher\.slurm\.time_min=None: must be a"
                ):
                    load_run("baseline", ["launcher=slurm"])
                load_run("baseline", ["launcher=slurm", "launcher.slurm.time_min=30"])
            else:
                load_run("baseline", [f"{group}={option}"])
            seen += 1
    assert seen >= 15
    assert set(groups) == {
        "bias",
        "data",
        "gt_sampling",
        "launcher",
        "model",
        "preset",
        "schedule",
        "variant",
    }


@pytest.mark.parametrize("variant", group_options()["variant"])
@pytest.mark.parametrize("model", group_options()["model"])
def test_every_variant_fits_every_model(variant: str, model: str) -> None:
    if variant != "baseline" and model in {"cmt_camera", "cmt_lidar"}:
        with pytest.raises(RequestError) as caught:
            load_run(variant, [f"model={model}"])
        one = f"model.sensors={model.removeprefix('cmt_')} reads one sensor"
        assert str(caught.value) == f"variant {variant}: weighs two sensors, and {one}"
    else:
        assert load_run(variant, [f"model={model}"]).model.name == model


def test_every_yaml_is_an_option_or_a_base() -> None:
    folder = shipped_folder("conf")
    options = group_options()
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml"))
    assert len(files) >= 9
    for name in files:
        group, _, file = name.rpartition("/")
        stem = file.removesuffix(".yaml")
        if group in {"augment_base", "nuscenes_augment_base", "renderer_base", "window_base"}:
            assert stem in options["model"]  # else no model would ever read it
        else:
            assert name == "config.yaml" or stem.endswith("_base") or stem in options[group]


@pytest.mark.parametrize(
    "value",
    [
        "a=b", "epoch=1-step=2.pth", "x#1", "#1", "[a", "a]", "a(1)", "{a", "a}b",
        "donn\u00e9es/\u6570\u636e",
        "it's", "'open", '"open', "a;b", "a&b", "a!b", "c:/x", "a b", "a\\", "a\\'b", "`a`", "a=b=c",
        "<a>", "a\nb",
    ],
)  # fmt: skip
def test_a_path_is_taken_as_it_is_typed(value: str, tmp_path: Path) -> None:
    typed = f"data.root={tmp_path}/{value}"
    assert load_run("baseline", [typed]).data.root == f"{tmp_path}/{value}"
    ((text, found),) = read_values("data.root", f"{tmp_path}/{value}", group_options())
    assert found == f"{tmp_path}/{value}"
    assert load_run("baseline", [f"data.root={text}"]).data.root == found


def test_a_path_begins_at_home_where_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_run("baseline", ["data.root=~/nu scenes"]).data.root == f"{tmp_path}/nu scenes"
    checkpoint = tmp_path / "epoch=1-step=2.pth"
    checkpoint.write_bytes(b"weights")
    start = load_run("baseline", ["start.load_from=~/epoch=1-step=2.pth"]).start
    assert start is not None
    assert start.load_from == str(checkpoint)


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        (
            "data.root=/a,b",
            """names several values: a run takes one (in quotes: 'data.root="/a,b"')""",
        ),
        (
            "data.root=a=1,b",
            """names several values: a run takes one (in quotes: 'data.root="a=1,b"')""",
        ),
        ("data.root=[a]", """data.root=['a']: must be text (in quotes: 'data.root="[a]"')"""),
        ("data.root=5", """data.root=5: must be text (in quotes: 'data.root="5"')"""),
        ("data.root=true", """data.root=True: must be text (in quotes: 'data.root="true"')"""),
        ("schedule.epochs=3#", "schedule.epochs='3#': must be a whole number from 1 to 1000"),
        ("schedule.epochs=~3", "schedule.epochs='~3': must be a whole number from 1 to 1000"),
        ("schedule=sm#ke", "unknown schedule 'sm#ke': did you mean 'smoke'? (available: "),
    ],
)
def test_what_reads_as_something_else_is_shown_in_quotes(typed: str, fault: str) -> None:
    with pytest.raises(RequestError) as refused:
        load_run("baseline", [typed])
    assert fault in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    for word in re.findall(r"quotes: (.*)\)$", str(refused.value)):
        root = load_run("baseline", shlex.split(word)).data.root
        assert root == str(Path(typed.removeprefix("data.root=")).absolute())
