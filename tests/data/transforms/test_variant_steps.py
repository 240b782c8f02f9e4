# ruff: noqa: E501
"""A variant's own steps of the training pipeline: where they are, what they draw, what they may not do."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ideas_at_hand import forget_ideas, write_idea

from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.pipeline import dataset_config, evaluation_pipeline, train_pipeline
from aqr_exp.errors import RunFailedError

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "ideas"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, synth_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with the examples, and data at hand."""
    forget_ideas()
    shutil.copytree(EXAMPLES, tmp_path / "ideas")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "synth").symlink_to(synth_root)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AQR_EXP_PATH", raising=False)
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path / "data"))
    yield tmp_path
    forget_ideas()


def run_of(name: str, *typed: str) -> RunConfig:
    return load_run(name, ["preset=smoke", *typed])


def sample_of(config: RunConfig, index: int = 0, epoch: int = 0, *, training: bool = True) -> Any:
    from mmengine.registry import DATASETS

    from aqr_exp.data.dataset import SampleKey
    from aqr_exp.train.runner_config import register_plugins

    register_plugins()
    data = DATASETS.build(dataset_config(config, config.data.train_split, training=training))
    return data[SampleKey(index, epoch, index)]


def test_steps_come_after_augmentation_and_only_in_training() -> None:
    names = [step["type"] for step in train_pipeline(run_of("thinned_points"))]
    assert names[-4:] == ["ResizeCropFlipImages", "KeepInRange", "VariantSteps", "PackSample"]
    assert "VariantSteps" not in [s["type"] for s in evaluation_pipeline(run_of("thinned_points"))]


@pytest.mark.parametrize(
    ("name", "typed"),
    [("baseline", ()), ("modality_gain", ()), ("thinned_points", ("variant.most=0",))],
)
def test_a_variant_without_steps_has_the_pipeline_of_the_baseline(
    name: str, typed: tuple[str, ...]
) -> None:
    assert train_pipeline(run_of(name, *typed)) == train_pipeline(run_of("baseline"))


def test_a_sample_is_drawn_by_its_key_and_shifts_no_other_draw() -> None:
    plain, own = sample_of(run_of("baseline"), 1), sample_of(run_of("thinned_points"), 1)
    points = own["inputs"]["points"]
    assert 0.5 < len(points) / len(plain["inputs"]["points"]) < 1.0
    assert torch.equal(own["inputs"]["img"], plain["inputs"]["img"])
    boxes = [each["data_samples"].gt_instances_3d.bboxes_3d.tensor for each in (own, plain)]
    assert torch.equal(boxes[0].nan_to_num(), boxes[1].nan_to_num())
    again = sample_of(run_of("thinned_points"), 1)["inputs"]["points"]
    assert torch.equal(again, points)
    later = sample_of(run_of("thinned_points"), 1, epoch=1)["inputs"]["points"]
    assert not torch.equal(later, points)


def test_evaluation_sees_all_points() -> None:
    found = [sample_of(run_of(name), training=False) for name in ("thinned_points", "baseline")]
    assert torch.equal(*(each["inputs"]["points"] for each in found))


STEPS = '''"""Steps that are wrong."""
from dataclasses import dataclass

import torch

from aqr_exp.ideas import Idea, Settings


@dataclass(frozen=True, kw_only=True)
class Wrong(Settings):
    pass


def step(sample, rng):
    {line}
    return sample


class WrongModule(Idea):
    @staticmethod
    def train_transforms(settings):
        return {steps}
'''


@pytest.mark.parametrize(
    ("line", "steps", "message"),
    [
        ("return None", "[step]", "a step must return the sample, not None"),
        ("rng.nothing()", "[step]", "AttributeError: .* has no attribute 'nothing'"),
        ('sample["points"] = sample["points"].tensor', "[step]", r"points must be LiDARPoints of shape \[N, 5\], not an array of float32"),
        ('sample["points"].tensor[0, 2] = float("nan")', "[step]", "points, boxes and images must be finite"),
        ('sample["img"].pop()', "[step]", r"img must be 6 images of shape \[96, 256, 3\]"),
        ('sample["img"][0] = sample["img"][0][1:]', "[step]", "img must be 6 images of shape"),
        ('sample["gt_labels_3d"] = sample["gt_labels_3d"][1:]', "[step]", "gt_bboxes_3d must be LiDARInstance3DBoxes with as many gt_labels_3d"),
        ('sample["gt_labels_3d"][0] = 10', "[step]", "gt_labels_3d must be from 0 to 9"),
        ("pass", "step", "must return a list of functions, not function"),
        ("pass", "[step, 3]", "must return a list of functions, not list"),
        ("pass", "1 / 0", "ZeroDivisionError: division by zero"),
    ],
)  # fmt: skip
def test_a_wrong_step_is_one_line_with_file_and_line(line: str, steps: str, message: str) -> None:
    write_idea("wrong", STEPS.format(line=line, steps=steps))
    with pytest.raises(RunFailedError) as caught:
        sample_of(run_of("wrong"))
    assert re.fullmatch(rf"ideas/wrong.py:\d+: train_transforms: {message}.*", str(caught.value))


def test_a_wrong_step_in_a_loader_process_is_named_too(loaded: Callable[..., Any]) -> None:
    write_idea("wrong", STEPS.format(line="return None", steps="[step]"))
    with pytest.raises(RunFailedError) as caught:
        loaded(run_of("wrong", "launcher.loader_workers=1"))
    assert "ideas/wrong.py:14: train_transforms: a step must return" in str(caught.value)


@pytest.fixture
def loaded() -> Callable[..., Any]:
    """Loads a first batch as training does."""

    def first(config: RunConfig) -> Any:
        from mmengine.runner import Runner

        from aqr_exp.data.pipeline import dataloader_config
        from aqr_exp.train.runner_config import register_plugins

        register_plugins()
        split = config.data.train_split
        return next(
            iter(
                Runner.build_dataloader(
                    dataloader_config(config, split, training=True, batch_size=1)
                )
            )
        )

    return first
