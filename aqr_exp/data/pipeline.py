"""mmengine configuration of data sets and pipelines, by pure functions of the run's configuration."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

from aqr_exp.config.inputs import objects_folder, sweeps_folder
from aqr_exp.config.schema import RunConfig, VariantSettings
from aqr_exp.config.schema.model import ModelConfig
from aqr_exp.config.variant_spec import spec_of
from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.data.info_files import BoxRule
from aqr_exp.data.workers import loading_processes, trains_on_gpu
from aqr_exp.files.own_code import call_own, fail_in, kind_of

META_KEYS = (
    "sample_idx",
    "token",
    "timestamp",
    "lidar2img",
    "img_path",
    "img_shape",
    "pad_shape",
    "lidar2ego",
    "ego2global",
    "lidar_aug_matrix",
    "modal_dropout",
    "box_type_3d",
    "box_mode_3d",
)


def loading_steps(
    config: RunConfig, corruption: CorruptionCase | None = None, *, training: bool = False
) -> list[dict[str, Any]]:
    """Files to points, images and projections; the same in training and evaluation.

    But for images at half size: there the scale that a training draws has to be known.
    """
    lidar: dict[str, Any] = {
        "type": "LoadLidarSweeps",
        "sweeps": config.data.sweeps,
        "ego_points": config.data.ego_points,
    }
    described = config.data.described
    images: dict[str, Any] = {"type": "LoadImages", "cameras": described.cameras}
    pasted = training and config.data.gt_sampling is not None
    changed = corruption is not None and _changes_images(corruption)
    if config.data.half_decode and not pasted and not changed:  # both act on whole images
        augment = config.data.augment
        images["resize"] = augment.resize if training else (augment.test_resize,) * 2
    steps: list[dict[str, Any]] = [lidar, images]
    if described.point_range_m is not None:
        steps.append({"type": "KeepPoints", "range_m": described.point_range_m})
    if corruption is not None:
        corruption = replace(corruption, sensors=described.sensors)
        lidar["corruption"] = astuple(corruption)
        steps.append({"type": "CorruptSensor", **asdict(corruption)})
    return steps


def resize_step(config: RunConfig, *, training: bool) -> dict[str, Any]:
    """Stored images to the network's input; at random where `training`."""
    augment, image = config.data.augment, config.model.image
    return {
        "type": "ResizeCropFlipImages",
        "height_px": image.height_px,
        "width_px": image.width_px,
        "resize": augment.resize,
        "test_resize": augment.test_resize,
        "flip": augment.flip_image,
        "training": training,
        "narrow": augment.narrow_images,
    }


def _changes_images(corruption: CorruptionCase) -> bool:
    from aqr_exp.data.corruptions.effects import IMAGE_CORRUPTIONS  # which need OpenCV

    return corruption.corruption in IMAGE_CORRUPTIONS


def keep_in_range_step(config: RunConfig) -> dict[str, Any]:
    """Drop what is outside the model's range."""
    return {"type": "KeepInRange", "point_cloud_range_m": config.model.point_cloud_range_m}


def packing_step(*annotations: str) -> dict[str, Any]:
    """A sample to what is collated, with these annotations."""
    return {"type": "PackSample", "keys": ["points", *annotations], "meta_keys": META_KEYS}


def paste_steps(config: RunConfig) -> list[dict[str, Any]]:
    """Ground-truth sampling, where `data.gt_sampling` is set."""
    sampling = config.data.gt_sampling
    if sampling is None:
        return []
    root = Path(config.data.root).absolute()
    return [
        {
            "type": "PasteObjects",
            "folder": str(objects_folder(root, config.data.train_split)),
            "per_class": sampling.per_class,
            "min_points": sampling.min_points,
            "sweeps": config.data.sweeps,
            "mixup": sampling.mixup,
            "misfits": sampling.misfits,
        }
    ]


def variant_steps(settings: VariantSettings) -> Sequence[Callable[..., Any]]:
    """A variant's own steps of the training pipeline.

    Raises:
        RunFailedError: They are no functions; names file and line.
    """
    make = spec_of(settings).train_transforms
    steps: Any = call_own(make, "train_transforms", settings)
    if not isinstance(steps, tuple | list) or not all(map(callable, steps)):
        fail_in(make, "train_transforms", f"must return a list of functions, not {kind_of(steps)}")
    return steps


def augmentation_steps(config: RunConfig) -> list[dict[str, Any]]:
    """Files to an augmented sample."""
    augment, data = config.data.augment, config.data
    own = {"type": "VariantSteps", "settings": config.variant, "classes": len(data.described.names)}
    last = {
        "NeedBoxes": data.redraw_empty,
        "ZeroUnknownVelocities": data.unknown_velocity == "zero",
        "ShufflePoints": data.shuffle_points,  # After all other draws, which it leaves as they are.
    }
    return [
        {
            "type": "ModalDropout",
            "drop_camera": augment.drop_camera,
            "drop_lidar": augment.drop_lidar,
        },
        *loading_steps(config, training=True),
        *paste_steps(config),
        {"type": "DropCloud", "dropped_cloud": augment.dropped_cloud},
        {
            "type": "GlobalRotScaleTransFlip",
            "rotate_deg": augment.rotate_deg,
            "scale": augment.scale,
            "translate_std_m": augment.translate_std_m,
            "flip_bev": augment.flip_bev,
        },
        resize_step(config, training=True),
        keep_in_range_step(config),
        *({"type": name} for name, wanted in last.items() if wanted),
        *([own] if variant_steps(config.variant) else []),
    ]


def train_pipeline(config: RunConfig) -> list[dict[str, Any]]:
    """Loading, ground-truth sampling, modal dropout, scene and image augmentation, packing."""
    return [*augmentation_steps(config), packing_step("gt_bboxes_3d", "gt_labels_3d")]


def evaluation_pipeline(
    config: RunConfig, corruption: CorruptionCase | None = None
) -> list[dict[str, Any]]:
    """Loading and packing without augmentation."""
    return [
        *loading_steps(config, corruption),
        resize_step(config, training=False),
        keep_in_range_step(config),
        packing_step(),
    ]


def dataset_config(
    config: RunConfig,
    split: str,
    *,
    training: bool,
    corruption: CorruptionCase | None = None,
) -> dict[str, Any]:
    """A `KeyedNuScenesDataset` over `<root>/aqr_infos/<split>.pkl`."""
    root = Path(config.data.root).absolute()
    described = config.data.described
    pipeline = train_pipeline(config) if training else evaluation_pipeline(config, corruption)
    merged = sweeps_folder(root, split)
    # That its files are sound is seen where the data are compared with their record.
    _choose_files(pipeline, config.model, merged if (merged / "index.json").is_file() else None)
    corrupted: dict[str, Any] = {}
    if corruption is not None:
        corrupted["corruption"] = astuple(replace(corruption, sensors=described.sensors))
    return {
        "type": "KeyedNuScenesDataset",
        "seed": config.seed,
        "boxes": asdict(BoxRule.of(config.data)),
        "data_root": str(root),
        "ann_file": f"aqr_infos/{split}.pkl",
        "data_prefix": {
            "pts": f"samples/{described.lidar}",
            "sweeps": f"sweeps/{described.lidar}",
            **{camera: f"samples/{camera}" for camera in described.cameras},
        },
        "metainfo": {"classes": described.names},
        "modality": {"use_lidar": True, "use_camera": True},
        "pipeline": pipeline,
        "box_type_3d": "LiDAR",
        "test_mode": not training,
        "lazy_init": False,
        **corrupted,
    }


def _choose_files(pipeline: list[dict[str, Any]], model: ModelConfig, merged: Path | None) -> None:
    """Leave the files of a sensor closed that the detector does not use; read merged sweeps."""
    unread = {"LoadLidarSweeps": not model.reads_lidar, "LoadImages": not model.reads_camera}
    for step in pipeline:
        if unread.get(step["type"]):
            step["read"] = False
        if merged and step["type"] == "LoadLidarSweeps":
            step["merged"] = str(merged)


def dataloader_config(
    config: RunConfig,
    split: str,
    *,
    training: bool,
    batch_size: int,
    corruption: CorruptionCase | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """An mmengine dataloader over one split; `batch_size` is per process.

    `workers` takes the place of the launcher's.
    """
    launcher, on_gpu = config.launcher, trains_on_gpu(config.launcher)
    workers = loading_processes(launcher, on_gpu=on_gpu) if workers is None else workers
    return {
        "batch_size": batch_size,
        "num_workers": workers,
        # An epoch would wait for its first batch. Those of evaluations would be idle most of the time.
        "persistent_workers": on_gpu and training and workers > 0,
        "pin_memory": on_gpu,
        "drop_last": training,
        "sampler": {
            "type": "KeyedSampler",
            "shuffle": training,
            "seed": config.seed,
            "balanced": training and config.schedule.cbgs,
        },
        "collate_fn": {"type": "pseudo_collate"},
        "dataset": dataset_config(config, split, training=training, corruption=corruption),
    }
