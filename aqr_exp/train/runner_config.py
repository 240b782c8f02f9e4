"""The configuration of mmengine's Runner, and the registration of our classes in its registries."""

import gc
import importlib
import math
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.config.schema import RunConfig, ScheduleConfig, VariantSettings
from aqr_exp.config.short_names import innermost
from aqr_exp.config.stages import peak_step, stages_of
from aqr_exp.config.variant_spec import spec_of
from aqr_exp.data.pipeline import dataloader_config
from aqr_exp.files.own_code import call_own, fail_in

PLUGIN_MODULES = (
    "aqr_exp.cmt.detector",
    "aqr_exp.data.dataset",
    "aqr_exp.data.transforms.geometry",
    "aqr_exp.data.transforms.pasting",
    "aqr_exp.data.transforms.sensors",
    "aqr_exp.data.transforms.variant_steps",
    "mmdet3d.models",
)


def register_plugins() -> None:
    """Register every class that a run's configuration names; only a call has that effect."""
    from mmengine.registry import init_default_scope

    _load_plugins()
    init_default_scope("mmdet3d")


@cache
def _load_plugins() -> None:
    # mmdet would take them for its trackers where they are installed, and load for seconds.
    absent = {"seaborn", "sklearn"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        for module in PLUGIN_MODULES:
            importlib.import_module(module)
    finally:
        for name in absent:
            del sys.modules[name]
    # mmengine collects garbage with each data set; it need not look at all that was loaded.
    gc.freeze()


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Training steps of an epoch; an incomplete last batch is left out.

    Raises:
        ValueError: The split is smaller than one batch.
    """
    if samples < batch_size:
        raise ValueError(
            f"the training split has {samples} samples, fewer than one batch of {batch_size}"
        )
    return samples // batch_size


LIDAR_MODULES = (
    "pts_voxel_encoder",
    "pts_middle_encoder",
    "pts_backbone",
    "pts_neck",
    "pts_bbox_head.shared_conv",
    "pts_bbox_head.dense_supervision",
)
ENCODINGS = ("pts_bbox_head.bev_embedding", "pts_bbox_head.rv_embedding")
VARIANT_MODULE = "pts_bbox_head.aqr"


def named_groups(schedule: ScheduleConfig, variant: VariantSettings) -> dict[str, dict[str, Any]]:
    """Options of the optimiser by module, as the settings of single parts and the variant have them."""
    return {
        "img_backbone": {
            "lr_mult": schedule.img_backbone_lr_mult,
            "decay_mult": schedule.img_backbone_decay_mult,
        },
        "img_neck": {"lr_mult": schedule.img_neck_lr_mult},
        **{name: {"lr_mult": schedule.encoding_lr_mult} for name in ENCODINGS},
        **{name: {"lr_mult": schedule.lidar_lr_mult} for name in LIDAR_MODULES},
        **{f"{VARIANT_MODULE}.{name}": options for name, options in _own_rates(variant).items()},
    }


def _own_rates(variant: VariantSettings) -> Mapping[str, dict[str, float]]:
    """The options that a variant has for its own modules.

    Raises:
        RunFailedError: They are something else; names file and line.
    """
    rates = spec_of(variant).learning_rates
    given: Any = call_own(rates, "learning_rates", variant)
    groups = list(given.items()) if isinstance(given, Mapping) else [("", None)]
    for name, options in groups:
        known = isinstance(options, Mapping) and {*options} <= {"lr_mult", "decay_mult"}
        if not known or not all(0.0 <= number < math.inf for number in (options or {}).values()):
            rule = f"{name!r} must have lr_mult or decay_mult, numbers from 0"
            fail_in(rates, "learning_rates", rule if given else "must return a dict")
    return dict(groups)


def parameter_groups(
    schedule: ScheduleConfig, variant: VariantSettings
) -> dict[str, dict[str, Any]]:
    """Entries of mmengine's `custom_keys`, of which the longest in a parameter's name decides.

    The modules of `schedule.lr_mult` take the place of named settings at and below them, but for the
    decay. Their keys end in a dot, so that `layers.1` is no part of `layers.10.weight`.
    """
    named, own = named_groups(schedule, variant), schedule.lr_mult
    groups = {
        name: options | ({} if (rule := innermost(name, own)) is None else {"lr_mult": own[rule]})
        for name, options in named.items()
    }
    for module, multiplier in own.items():
        above = innermost(module, named)
        inherited = {} if above is None else named[above]
        groups[f"{module}."] = {**inherited, "lr_mult": multiplier}
    return groups


def optimizer_config(schedule: ScheduleConfig, variant: VariantSettings) -> dict[str, Any]:
    """The optimiser wrapper: AdamW with a rate and a decay for each group of parameters."""
    return {
        "type": "AmpOptimWrapper" if schedule.amp else "OptimWrapper",
        "optimizer": {
            "type": "AdamW",
            "lr": schedule.learning_rate,
            "weight_decay": schedule.weight_decay,
        },
        "paramwise_cfg": {"custom_keys": parameter_groups(schedule, variant)},
        "clip_grad": {"max_norm": schedule.grad_clip_norm, "norm_type": 2},
    }


def cycle_config(schedule: ScheduleConfig, steps: int) -> list[dict[str, Any]]:
    """The cyclic learning rate and momentum as two cosine pieces each.

    Returns:
        mmengine parameter schedulers: the rate rises to `peak_ratio` over the first `warm_fraction` of
        the steps and falls to `final_ratio`; AdamW's beta1 moves the other way.
    """
    peak = peak_step(schedule, steps)
    return [
        # A piece reaches its target on its last step, where the next one starts from it. The target is
        # a ratio, since every group of parameters has a rate of its own.
        {
            "type": kind,
            "begin": begin,
            "end": last + 1,
            "T_max": max(1, last - begin),
            "eta_min_ratio": target,
            "by_epoch": False,
        }
        for kind, at_peak, at_end in (
            ("CosineAnnealingLR", schedule.peak_ratio, schedule.final_ratio),
            ("CosineAnnealingMomentum", schedule.momentum_ratio, 1.0),
        )
        for begin, last, target in ((0, peak, at_peak), (peak, steps - 1, at_end))
    ]


def evaluator_config(
    config: RunConfig, split: str, result_path: Path, records_path: Path | None = None
) -> dict[str, Any]:
    """The nuScenes metric over one split; without `records_path` no match records are kept."""
    from aqr_exp.evaluate.metric import NuScenesResultMetric

    return {
        "type": NuScenesResultMetric,  # to look its name up would load every other metric
        "root": str(Path(config.data.root).absolute()),
        "version": config.data.version,
        "split": split,
        "result_path": str(result_path),
        "evaluator": config.evaluator,
        "records_path": None if records_path is None else str(records_path),
    }


def runner_config(
    config: RunConfig,
    *,
    work_dir: Path,
    predictions_dir: Path,
    records_path: Path | None = None,
    train_samples: int,
) -> dict[str, Any]:
    """The configuration of a run's mmengine Runner.

    Args:
        work_dir: Folder of the Runner's own log.
        records_path: File of the match records of the final evaluation; None keeps none.
        train_samples: Samples of a training epoch.
    """
    from mmengine.visualization import Visualizer

    schedule, split = config.schedule, config.data.val_split
    steps = schedule.epochs * steps_per_epoch(train_samples, schedule.batch_size)
    stages = stages_of(config)
    evaluation = dataloader_config(config, split, training=False, batch_size=config.samples_at_once)
    runner: dict[str, Any] = {
        "work_dir": str(work_dir),
        "experiment_name": "train",
        "default_scope": "mmdet3d",
        "default_hooks": {"checkpoint": None, "logger": {"type": "LoggerHook", "interval": 50}},
        "env_cfg": {"mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0}},
        "visualizer": {"type": Visualizer, "vis_backends": None},  # as the metric
        "log_level": "INFO",
        "launcher": "none",
        "model": detector_config(config),
        "train_dataloader": dataloader_config(
            stages[0].config if stages else config,
            config.data.train_split,
            training=True,
            batch_size=config.rank_batch_size,
        ),
        "train_cfg": {"by_epoch": True, "max_epochs": schedule.epochs},
        "optim_wrapper": optimizer_config(schedule, config.variant),
        "param_scheduler": cycle_config(schedule, steps),
        "test_dataloader": evaluation,
        "test_evaluator": evaluator_config(
            config, split, predictions_dir / f"{split}.json", records_path
        ),
        "test_cfg": {},
        "randomness": {"seed": config.seed},
    }
    if schedule.validate_every_epochs:
        runner["train_cfg"]["val_interval"] = schedule.validate_every_epochs
        during = evaluator_config(config, split, predictions_dir / f"{split}.during.json")
        runner |= {"val_dataloader": evaluation, "val_evaluator": during, "val_cfg": {}}
    return runner
