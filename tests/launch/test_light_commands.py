"""Commands that need no training extra, in a process in which that extra is not installed."""

import subprocess
import sys
from pathlib import Path

import pytest
from made_up_data import write_identity
from made_up_runs import MadeUpStore

LIGHT = """
import sys
from importlib.machinery import PathFinder

ABSENT = {"torch", "torchvision", "mmengine", "mmcv", "mmdet", "mmdet3d", "nuscenes", "pyquaternion",
          "numba", "cv2", "PIL", "spconv"}


class LightPathFinder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else PathFinder.find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = LightPathFinder
from aqr_exp.cli.main import main
code = main(sys.argv[1:])
assert not ABSENT & set(sys.modules)
sys.exit(code)
"""
MISSING = "training needs torch, mmengine, mmcv, mmdet, mmdet3d, nuscenes-devkit: make setup"


@pytest.mark.parametrize(
    ("arguments", "code", "shown", "said"),
    [
        (["run", "baseline", "--dry-run"], 2, "epochs: 4, steps an epoch: 5", MISSING),
        (["run", "baseline", "--dry-run", "--json"], 2, '"steps": 20', MISSING),
        (["run", "baseline"], 2, "", MISSING),
        (["config", "baseline"], 0, "learning_rate", ""),
        (["sweep", "smoke", "--dry-run"], 0, "bias_scale=2.5", ""),
        (["sweep", "smoke"], 2, "", MISSING),
        (["list"], 0, "", "no runs"),
        (["analyze", "windows", "attention_bias"], 2, "", "aqr-exp: this needs the package "),
        (["table"], 0, "", "no completed runs"),
        (["doctor"], 1, "torch: MISSING, for tensors and training: make setup", ""),
    ],
)
def test_what_is_missing_is_said_in_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    shown: str,
    said: str,
) -> None:
    write_identity(tmp_path / "data" / "synth")
    for name in ("AQR_EXP_DATA", "AQR_EXP_RESULTS", "AQR_EXP_TRAIN_COMMAND"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == code, done.stderr
    assert shown in done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_trained_run_s_bias_needs_the_extra_and_says_so(tmp_path: Path) -> None:
    write_identity(tmp_path / "data" / "synth")
    MadeUpStore(tmp_path / "results").add("attention_bias", [], 0, mAP=0.3)
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, "analyze", "bias", "attention_bias"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("aqr-exp: this needs the package ")
    assert line.endswith(": `aqr-exp doctor` says what installs it")
