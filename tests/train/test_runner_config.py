import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.optim.scheduler import CosineAnnealingLR, CosineAnnealingMomentum

from aqr_exp.config.load import load_run
from aqr_exp.config.variant_spec import spec_of
from aqr_exp.train.runner_config import (
    ENCODINGS,
    LIDAR_MODULES,
    VARIANT_MODULE,
    cycle_config,
    optimizer_config,
    runner_config,
    steps_per_epoch,
)


@pytest.fixture(scope="module")
def config():
    return load_run("baseline", ["schedule.epochs=3", "schedule.batch_size=4"])


def test_incomplete_batches_are_left_out():
    assert steps_per_epoch(samples=11, batch_size=4) == 2
    with pytest.raises(ValueError, match="has 3 samples, fewer than one batch of 4"):
        steps_per_epoch(samples=3, batch_size=4)


def _curve(schedule, steps):
    """Learning rate and beta1 of every step, from mmengine's own schedulers."""
    weight, slow = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    groups = [{"params": [weight]}, {"params": [slow], "lr": 0.01 * schedule.learning_rate}]
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate)
    kinds = {
        "CosineAnnealingLR": CosineAnnealingLR,
        "CosineAnnealingMomentum": CosineAnnealingMomentum,
    }
    schedulers = [
        kinds[piece.pop("type")](OptimWrapper(optimizer), **piece)
        for piece in cycle_config(schedule, steps)
    ]
    rates, betas = [], []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        betas.append(optimizer.param_groups[0]["betas"][0])
        # A group with a multiplier keeps it through the whole cycle.
        assert optimizer.param_groups[1]["lr"] == pytest.approx(0.01 * rates[-1], rel=1e-6)
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return np.array(rates), np.array(betas)


def test_the_cycle_rises_to_its_peak_and_falls_to_its_end(config):
    schedule = dataclasses.replace(
        config.schedule,
        learning_rate=1e-4,
        peak_ratio=6.0,
        final_ratio=1e-4,
        warm_fraction=0.4,
        momentum_ratio=0.895,
    )
    rates, betas = _curve(schedule, steps=201)
    assert rates[0] == pytest.approx(1e-4)
    assert rates[80] == pytest.approx(6e-4, rel=1e-6)
    assert rates[40] == pytest.approx(3.5e-4, rel=1e-6)  # half way up a cosine: the mean
    assert rates[-1] == pytest.approx(1e-8, rel=1e-3)
    assert rates.argmax() == 80
    assert betas[0] == pytest.approx(0.9)
    assert betas[80] == pytest.approx(0.9 * 0.895, rel=1e-6)
    assert betas[-1] == pytest.approx(0.9, rel=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_a_cycle(config, steps):
    rates, _ = _curve(config.schedule, steps)
    assert np.isfinite(rates).all()


def test_learning_rate_groups_are_named_by_module(config):
    schedule = dataclasses.replace(
        config.schedule,
        img_backbone_lr_mult=0.01,
        img_neck_lr_mult=0.1,
        lidar_lr_mult=2.0,
        encoding_lr_mult=0.5,
        amp=True,
    )
    settings = optimizer_config(schedule, config.variant)
    multipliers = {
        name: group["lr_mult"] for name, group in settings["paramwise_cfg"]["custom_keys"].items()
    }
    assert multipliers.pop("img_backbone") == 0.01
    assert multipliers.pop("img_neck") == 0.1
    assert {multipliers.pop(name) for name in ENCODINGS} == {0.5}
    assert multipliers == dict.fromkeys(LIDAR_MODULES, 2.0)
    assert settings["type"] == "AmpOptimWrapper"


class _Detector(torch.nn.Module):
    """Parameters where a variant has them, and one of the detector's own."""

    def __init__(self):
        super().__init__()
        self.pts_bbox_head = torch.nn.Module()
        self.pts_bbox_head.query = torch.nn.Parameter(torch.zeros(1))
        self.pts_bbox_head.aqr = torch.nn.Module()
        self.pts_bbox_head.aqr.router = torch.nn.Linear(2, 2)
        self.pts_bbox_head.aqr.bias = torch.nn.Module()
        self.pts_bbox_head.aqr.bias.scale = torch.nn.Linear(1, 1)


@pytest.mark.parametrize(
    ("variant", "overrides", "router", "scale"),
    [
        ("baseline", [], (1e-4, 0.1), (1e-4, 0.1)),
        ("renderer_modulator", ["variant.router.lr_mult=3"], (3e-4, 0.1), (1e-4, 0.1)),
        (
            "attention_bias",
            ["variant.router.lr_mult=2.0", "variant.bias.scale.lr_mult=0.1"],
            (2e-4, 0.1),
            (1e-5, 0.0),
        ),
    ],
)
def test_router_and_scale_have_rates_of_their_own(variant, overrides, router, scale):
    typed = ["schedule.learning_rate=1e-4", "schedule.weight_decay=0.1", *overrides]
    config = load_run(variant, typed)
    model = _Detector()
    wrapper = build_optim_wrapper(model, optimizer_config(config.schedule, config.variant))
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in wrapper.param_groups
        for parameter in group["params"]
    }
    head = model.pts_bbox_head
    assert found[id(head.query)] == pytest.approx((1e-4, 0.1))
    for part, expected in ((head.aqr.router, router), (head.aqr.bias.scale, scale)):
        for parameter in part.parameters():
            assert found[id(parameter)] == pytest.approx(expected)


def test_evaluation_during_training_never_overwrites_the_record(config, tmp_path):
    curves = dataclasses.replace(
        config, schedule=dataclasses.replace(config.schedule, validate_every_epochs=2)
    )
    settings = runner_config(curves, work_dir=tmp_path, predictions_dir=tmp_path, train_samples=8)
    assert settings["train_cfg"]["val_interval"] == 2
    record, curve = (settings[key]["result_path"] for key in ("test_evaluator", "val_evaluator"))
    assert record != curve
    without = runner_config(config, work_dir=tmp_path, predictions_dir=tmp_path, train_samples=8)
    assert "val_cfg" not in without


def test_every_group_with_a_rate_of_its_own_is_in_the_model():
    from mmdet3d.registry import MODELS

    from aqr_exp.cmt.detector import register_modules
    from aqr_exp.cmt.detector_config import detector_config

    register_modules()
    config = load_run("attention_bias")
    detector = MODELS.build(detector_config(config))
    rates = {
        f"{VARIANT_MODULE}.{name}"
        for name in spec_of(config.variant).learning_rates(config.variant)
    }
    names = [name for name, _ in detector.named_parameters()]
    detectors = {*LIDAR_MODULES, *ENCODINGS, "img_backbone", "img_neck"}
    groups = {*detectors, *rates} - {"pts_middle_encoder"}  # has no weights
    assert groups == {group for group in groups if any(group in name for name in names)}


STARTS = """
import sys
from pathlib import Path
from mmengine.evaluator import Evaluator
from aqr_exp.config.load import load_run
from mmengine.registry import VISUALIZERS
from aqr_exp.train.runner_config import register_plugins, runner_config
register_plugins()
here = Path()
plan = runner_config(load_run("baseline"), work_dir=here, predictions_dir=here, train_samples=8)
evaluator = Evaluator([plan["test_evaluator"]])
print(type(evaluator.metrics[0]).__name__)
VISUALIZERS.build({**plan["visualizer"], "name": "one"})
parts = {f"mmdet3d.{name}" for name in ("evaluation", "visualization")}
print(*sorted({"sklearn", "seaborn", *parts} & {*sys.modules}))
import gc, sklearn
print(gc.get_freeze_count() > 100_000)
"""


def test_a_training_starts_without_what_it_never_uses():
    """Each takes a second or more to load; what is installed can be imported by others all the same."""
    done = subprocess.run([sys.executable, "-c", STARTS], capture_output=True, text=True)
    assert done.stdout.splitlines()[-3:] == ["NuScenesResultMetric", "", "True"], done.stderr
