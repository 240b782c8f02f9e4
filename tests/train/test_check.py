"""`aqr-exp check`: shipped examples pass, and each kind of wrong idea is named."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ideas_at_hand import forget_ideas, write_idea

from aqr_exp.cli.main import main
from aqr_exp.config.load import load_run
from aqr_exp.train.check import CHECKS, Subject, found, off_settings
from aqr_exp.train.runner_config import register_plugins
from aqr_exp.train.session import set_up_torch

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "ideas"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, synth_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with the examples, and data at hand."""
    forget_ideas()
    threads = torch.get_num_threads()
    folder = tmp_path / "it's here"
    shutil.copytree(EXAMPLES, folder / "ideas")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "synth").symlink_to(synth_root)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AQR_EXP_PATH", raising=False)
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path / "data"))
    yield folder
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=False)
    forget_ideas()


SMALL = ("model.head.queries=60", "model.head.layers=2")


def check(capsys: pytest.CaptureFixture[str], *typed: str) -> tuple[int, dict[str, dict]]:
    """The exit code of a check, and its findings by name."""
    code = main(["check", *typed, *SMALL, "--json"])
    return code, {each["check"]: each for each in json.loads(capsys.readouterr().out)}


def test_there_are_five_examples_of_sixty_lines_at_most() -> None:
    assert NAMES == [
        "layer_consistency", "modality_gain", "queries_at_peaks", "query_temperature",
        "thinned_points",
    ]  # fmt: skip
    assert all(len(path.read_text().splitlines()) <= 60 for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_an_example_passes(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aqr_exp.train.check.ROUNDS", 1)  # of steps that are timed
    code, findings = check(capsys, name)
    assert {
        each: finding["detail"] for each, finding in findings.items() if not finding["ok"]
    } == {}
    assert code == 0
    assert len(findings) == 12
    more = findings["cost beside the baseline"]["figures"]["parameters"]
    assert more == {"modality_gain": 2, "query_temperature": 129}.get(name, 0)


WRONG = '''"""An idea that is wrong."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import nn

from aqr_exp.ideas import Idea, Range, Settings


@dataclass(frozen=True, kw_only=True)
class Wrong(Settings):
    start: Annotated[float, Range(0.0, 4.0)] = 1.0


class WrongModule(Idea):
    off = {"variant.start": 0.0}

    def __init__(self, settings, run):
        super().__init__(settings, run)
        self.gain = nn.Parameter(torch.full((2,), settings.start))
        self.kept = 0.0
        self.boxes = None

'''
STASH = """
    def features(self, context, bev, camera):
        return bev * self.gain[0] + self.kept, camera * self.gain[1]

    def losses(self, outputs, targets):
        self.kept += float(targets.boxes[0][:, :2].mean())
        return {}
"""
BLEND = """
    def queries(self, context):
        return context.query_pos * self.gain[0] + context.memory.mean() * self.gain[1]
"""
UNUSED = """
    def features(self, context, bev, camera):
        return bev * self.gain[0].detach(), camera
"""
PEEKS = """
    def query_weights(self, context):
        shared = context.query_pos.mean(dim=1, keepdim=True)[..., :2]
        return (context.query_pos[..., :2] + shared) * self.gain

    def features(self, context, bev, camera):
        return bev * (1 + context.weights.mean()), camera
"""
GLOBAL_DRAWS = """
    def features(self, context, bev, camera):
        return bev * self.gain[0], camera * self.gain[1]

    @staticmethod
    def train_transforms(settings):
        def jitter(sample, rng):
            sample["points"].tensor[:, 2] += float(np.random.rand())
            return sample
        return [jitter]
"""
NAN = """
    def features(self, context, bev, camera):
        return bev * self.gain[0] / 0, camera * self.gain[1]
"""
EVERY = "every parameter gets a finite gradient"


@pytest.mark.parametrize(
    ("text", "name", "detail"),
    [
        (UNUSED, EVERY, "no gradient within 3 steps: gain"),
        (UNUSED, "two training processes", "RuntimeError: Expected to have finished reduction.*"),
        (STASH, "its state is stored as a whole", "of the loaded model, evaluation's .* differs.*"),
        (STASH, "a resumed step is the unbroken one", "of the resumed step, .* differs by .*"),
        (BLEND, "samples do not depend on each other", r"\w+ of a sample depends on the other .*"),
        (PEEKS, "no ground truth through denoising queries", "center of learnable queries depends.*"),
        (GLOBAL_DRAWS, "two data-loading processes", "sample 0: points differs by .*"),
        (NAN, EVERY, r"ideas/wrong.py:\d+: features: gave numbers that are not finite"),
    ],
    ids=["unused", "unused by two", "stash", "stash resumed", "batch", "denoising", "draws", "nan"],
)  # fmt: skip
def test_what_is_wrong_is_named(text: str, name: str, detail: str) -> None:
    write_idea("wrong", WRONG + text)
    register_plugins()
    set_up_torch(1)
    finding = found(
        name, lambda: CHECKS[name](Subject(load_run("wrong", ["preset=smoke", *SMALL])))
    )
    assert finding.ok is False
    assert re.fullmatch(detail, finding.detail), finding.detail


def test_what_does_not_switch_it_off_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """And it exits with 1, and what passes is said to pass."""
    write_idea("wrong", WRONG + UNUSED)
    code, findings = check(capsys, "wrong")
    assert code == 1
    off = findings["off, it is the baseline to the bit"]
    assert off["ok"] is False
    assert re.fullmatch(r"evaluation's \w+ differs by \S+", off["detail"])
    assert findings[EVERY]["detail"] == "no gradient within 3 steps: gain"
    assert findings["its state is stored as a whole"]["ok"] is True


def test_an_idea_that_cannot_be_built_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    file = write_idea("wrong", WRONG.replace("full((2,)", "full((-2,)") + UNUSED)
    line = (
        file.read_text()
        .splitlines()
        .index("        self.gain = nn.Parameter(torch.full((-2,), settings.start))")
        + 1
    )
    assert main(["check", "wrong"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"aqr-exp: .*ideas/wrong.py:{line}: __init__: RuntimeError: .*\n", err), (
        err
    )


def test_a_variant_without_off_and_the_baseline_are_not_checked_for_it() -> None:
    write_idea("plain", WRONG.replace('off = {"variant.start": 0.0}', "") + UNUSED)
    assert [off_settings(load_run(name)) for name in ("plain", "baseline")] == [None, []]
    assert off_settings(load_run("modality_gain")) == ["variant.start=1.0"]
