"""Candidates that a shell gets at TAB, asked for as the shells' scripts ask."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aqr_exp.cli.main import main
from aqr_exp.store.store import Store

Offered = Callable[..., list[str]]
RUNS = ("baseline-0123456789ab-s0", "baseline-0123456789ab-s1", "baseline-ffffffffffff-s0")


@pytest.fixture
def offered(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Offered:
    """Completes the last of some words; bash splits a word at `=`, as the words here are."""

    def complete(*words: str) -> list[str]:
        monkeypatch.setenv("_AQR_EXP_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["aqr-exp", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        assert main([]) == 0
        told = capsys.readouterr()
        assert told.err == ""
        return told.out.split()

    return complete


PRESETS = [
    "aqr_earlier", "aqr_finetune", "full_24e", "paper_r50", "paper_vov", "quick", "router_only", "smoke",
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["conf"], ["config", "confirm"]),
        (["plot", "s"], ["sweep", "scale"]),
        (["--sh"], ["--show-completion"]),
        (["table", "--s"], ["--sweep", "--sort", "--strict"]),
        (["table", "--by", "c"], ["class", "condition", "cost"]),
        (["run", "base"], ["baseline"]),
        (["run", "baseline", "pre"], [f"preset={name}" for name in PRESETS]),
        (["run", "baseline", "seed", "=", "1", "dat"], ["data=", "data.name=", "data.root="]),
        (["run", "baseline", "schedule.epochs"], ["schedule.epochs=", "schedule.epochs=4"]),
        (["run", "baseline", "schedule.amp", "="], ["true", "false"]),
        (["run", "baseline", "schedule.amp", "=", "t"], ["true"]),
        (["run", "baseline", "data", "="], ["depot", "nuscenes", "nuscenes_mini", "synth"]),
        (["run", "baseline", "launcher.device", "="], ["auto", "cpu", "cuda"]),
        (["run", "baseline", "variant."], []),
        (["run", "unknown", "schedule.epochs"], ["schedule.epochs="]),
        (["sweep", "bias_scale"], ["bias_scale", "bias_scale_x_window_size"]),
        (["sweep", "baseline", "model", "=", "cmt_tiny,cmt_r"], ["cmt_tiny,cmt_r50_800x320"]),
        (["eval", "x", "--failures", "beams@4,beams@1"], ["beams@4,beams@16"]),
    ],
)
def test_commands_options_and_overrides(
    offered: Offered, words: list[str], expected: list[str]
) -> None:
    assert offered(*words)[: max(3, len(expected))] == expected


def test_a_variant_has_its_own_groups_aliases_and_parts(offered: Offered) -> None:
    assert offered("config", "attention_bias", "bias") == ["bias=", "bias_scale="]
    assert offered("config", "baseline", "bias") == []
    assert "conservative" in offered("run", "attention_bias", "bias", "=")
    assert offered("run", "attention_bias", "learnable_scale", "=") == ["true", "false"]
    parts = offered("run", "renderer_modulator", "variant.")
    assert parts
    assert not any(key.startswith("variant.bias.") for key in parts)


@pytest.fixture
def stored(store: Store) -> Store:
    for name in RUNS:
        (store.runs_dir / name).mkdir(parents=True)
    sweep = store.sweep("mine")
    sweep.path.mkdir(parents=True)
    sweep.plan_path.write_text("{}")
    return store


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["show", "baseline-0"], list(RUNS[:2])),
        (["cost", RUNS[0], "baseline-f"], [RUNS[2]]),
        (["compare", "baseline-0"], ["baseline-0123456789ab", *RUNS[:2]]),
        (["compare", "x", "baseline-f"], ["baseline-ffffffffffff", RUNS[2]]),
        (["why", "b"], ["baseline", *RUNS]),
        (["watch", ""], ["mine"]),
        (["table", "--sweep", ""], ["mine"]),
        (["cancel", "m"], ["mine"]),
        (["resume", "baseline-f"], [RUNS[2]]),
        (["sweep", "mi"], ["mine"]),
        (["plot", "scale", "--of", "mine,baseline-f"], [f"mine,{RUNS[2]}"]),
    ],
)
def test_stored_runs_and_sweeps(
    stored: Store, offered: Offered, words: list[str], expected: list[str]
) -> None:
    assert offered(*words) == expected


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_keep_a_word_whole(
    shell: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_AQR_EXP_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "aqr-exp run baseline data=nus")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "data=nuscenes_mini" in out
    assert "data=synth" not in out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_shown(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert main(["--show-completion", shell]) == 0
    assert f"_AQR_EXP_COMPLETE=complete_{shell}" in capsys.readouterr().out


def test_a_fault_while_completing_is_silent(
    offered: Offered, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("aqr_exp.cli.completion.run_names", lambda: 1 / 0)
    monkeypatch.setenv("_AQR_EXP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "aqr-exp\ncancel\nx")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert main([]) == 1
    assert capsys.readouterr().err == ""


HEAVY = ("torch", "mmengine", "mmcv", "mmdet3d", "matplotlib", "optuna", "pandas", "scipy")
PROBE = """
import sys
from aqr_exp.cli.main import main
main([])
sys.stderr.write(",".join(name for name in sys.argv[1:] if name in sys.modules))
"""


@pytest.mark.parametrize(
    "words",
    [
        "aqr-exp run baseline schedule.epochs",
        "aqr-exp sweep ",
        "aqr-exp analyze bias ",
        "aqr-exp eval x --failures ",
    ],
)
def test_nothing_heavy_is_loaded(place: Path, words: str) -> None:
    split = words.split(" ")
    shell = {"_AQR_EXP_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(split)}
    result = subprocess.run(
        [sys.executable, "-c", PROBE, *HEAVY],
        env=os.environ | shell | {"COMP_CWORD": str(len(split) - 1)},
        capture_output=True,
        text=True,
    )
    assert result.stderr == ""
    assert result.returncode == 0
