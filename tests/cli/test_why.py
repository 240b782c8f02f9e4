import json
from pathlib import Path

import pytest
from made_up_runs import as_older

from aqr_exp.cli.main import main
from aqr_exp.config.identity import run_name, to_yaml
from aqr_exp.config.inputs import with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.launch.record import build_record
from aqr_exp.store.store import Store

Out = pytest.CaptureFixture[str]


def name_of(variant: str, *overrides: str) -> str:
    return run_name(with_data_identity(load_run(variant, overrides)))


def test_a_default_that_is_spelled_out_is_the_same_run(data: Path, capsys: Out) -> None:
    assert main(["why", "attention_bias bias_scale=2.5", "attention_bias"]) == 0
    assert capsys.readouterr().out == f"the same run: {name_of('attention_bias')}\nno key differs\n"


def test_what_differs_is_named_by_what_it_means(data: Path, capsys: Out) -> None:
    one = "attention_bias launcher.threads=2 launcher.loader_workers=0"
    other = "attention_bias bias_scale=3 window_size=5 seed=2"
    assert main(["why", one, other]) == 0
    ours = name_of("attention_bias")
    theirs = name_of("attention_bias", "bias_scale=3", "window_size=5", "seed=2")
    assert capsys.readouterr().out.splitlines() == [
        f"different runs, by 3 keys: {ours} and {theirs}",
        "can change the numbers:",
        "  variant.bias.window.bev: 8.0 | 5.0",
        "  variant.bias.window.camera: 3.0 | 5.0",
        "  variant.bias.scale.start: 2.5 | 3.0",
        "the replicate, beside the identity:",
        "  seed: 0 | 2",
        "can change last digits, which training amplifies, and is not in the identity:",
        "  launcher.threads: 2 | 1",
        "cannot change the numbers, and is not in the identity:",
        "  launcher.loader_workers: 0 | auto",
    ]


def test_a_scale_of_zero_is_no_baseline(data: Path, capsys: Out) -> None:
    typed = "attention_bias bias_scale=0 learnable_scale=false"
    assert main(["why", "baseline", typed]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("different runs, by 3 keys: baseline-")
    assert lines[2:] == [
        "  variant.name: baseline | attention_bias",
        "  variant.router: absent | present (14 keys)",
        "  variant.bias: absent | present (9 keys)",
    ]


@pytest.fixture
def run(store: Store, data: Path) -> str:
    config = with_data_identity(load_run("baseline", ["seed=3"]))
    folder = store.folder(run_name(config))
    folder.create(to_yaml(config), build_record(config, overrides=["seed=3"], argv=[]))
    return folder.name


def test_a_run_is_compared_with_what_would_be_typed(run: str, capsys: Out) -> None:
    assert main(["why", run[:-1], "baseline schedule.log_every_steps=7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "verdict": "replicates",
        "a": run,
        "b": name_of("baseline"),
        "differences": [
            {"key": "seed", "a": 3, "b": 0, "bearing": "replicate"},
            {"key": "schedule.log_every_steps", "a": 10, "b": 7, "bearing": "neutral"},
        ],
    }
    assert main(["why", run, "baseline seed=4"]) == 0
    assert capsys.readouterr().out.startswith("replicates of one point, by their seeds: baseline-")


def test_a_run_of_another_version_is_still_explained(run: str, store: Store, capsys: Out) -> None:
    # Which wrote no checksum either.
    with as_older(store.folder(run), checksums=False).spec_path.open("a") as file:
        file.write("gone: 1\n")
    assert main(["why", run, "baseline seed=3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("different runs, by 1 key: ")
    assert lines[2] == "  gone: 1 | absent"


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ("attention_bais bias_scale=1", "unknown variant 'attention_bais': did you mean "),
        ("baseline bias_scale=1", "bias_scale: variant 'baseline' has no bias"),
        ("nothing-s0", "unknown run 'nothing-s0'"),
        ("basline", "unknown run or variant 'basline': did you mean 'baseline'?"),
        ("'baseline", '"\'baseline" cannot be read: No closing quotation'),
    ],
)
def test_what_is_no_run_is_named(data: Path, capsys: Out, asked: str, fault: str) -> None:
    assert main(["why", asked, "baseline"]) == 2
    assert capsys.readouterr().err.startswith(f"aqr-exp: {fault}")
