"""Rules between fields, which types and ranges cannot express; a variant has its own."""

import math
from collections.abc import Iterator, Sequence
from functools import partial

from aqr_exp.config.idea_files import idea_fault
from aqr_exp.config.schema import ModelConfig, RunConfig, ScheduleConfig
from aqr_exp.config.schema.model import HeadConfig, ImageBranchConfig
from aqr_exp.config.short_names import innermost
from aqr_exp.config.stages import augment_rules, stage_places, stage_rules
from aqr_exp.config.variant_spec import spec_of
from aqr_exp.errors import Fault, RequestError

RESNET_DEPTHS = (18, 34, 50, 101, 152)
VOVNET_DEPTH = 99
VOVNET_BASE_CHANNELS = 256
CODE_WEIGHTS = 10


def check(config: RunConfig) -> None:
    """Refuse a configuration whose fields contradict each other.

    Raises:
        RequestError: One line for each broken rule.
    """
    if faults := broken_rules(config):
        raise RequestError(*faults)


def broken_rules(config: RunConfig) -> list[Fault]:
    """One fault for each rule the configuration breaks; empty when it keeps all."""
    model, data = config.model, config.data
    return [
        *_volume_rules(model),
        *_grid_rules(model),
        *_lidar_branch_rules(model),
        *_image_rules(model.image),
        *_head_rules(model.head),
        *_sensor_rules(config),
        *augment_rules(data.augment, "data.augment"),
        *stage_rules(config),
        *_description_rules(config),
        *_variant_rules(config),
        *_start_rules(config),
        *_run_rules(config),
    ]


def _variant_rules(config: RunConfig) -> list[Fault]:
    spec = spec_of(config.variant)
    try:
        return [*spec.rules(config.variant, config)]
    except Exception as error:
        if spec.origin is None:
            raise
        return [idea_fault(error, spec.origin)]


def _is_volume(values: Sequence[float]) -> bool:
    return len(values) == 6 and all(
        low < high for low, high in zip(values[:3], values[3:], strict=True)
    )


def _volume_rules(model: ModelConfig) -> Iterator[Fault]:
    volumes = {
        "model.point_cloud_range_m": model.point_cloud_range_m,
        "model.head.post_center_range_m": model.head.post_center_range_m,
    }
    for key, values in volumes.items():
        if not _is_volume(values):
            rule = "must be (x, y, z, x, y, z) with each low end below its high end"
            yield Fault(key, f"{list(values)}", rule)


def _grid_rules(model: ModelConfig) -> Iterator[Fault]:
    lidar, extent = model.lidar, model.point_cloud_range_m
    grid = partial(Fault, "model.lidar.grid_size", f"{list(lidar.grid_size)}")
    if any(cells < 1 for cells in lidar.grid_size):
        yield grid("must be at least 1 along each axis")
    if any(cells % lidar.stride for cells in lidar.grid_size[:2]):
        rule = f"must be divisible by model.lidar.stride={lidar.stride} along x and y"
        yield grid(rule, about=("model.lidar.stride",))
    if any(size <= 0 for size in lidar.voxel_size_m):
        yield Fault("model.lidar.voxel_size_m", f"{list(lidar.voxel_size_m)}", "must be positive")
        return
    if lidar.published_grid or not _is_volume(extent):
        return
    for axis in range(3):
        exact = (extent[axis + 3] - extent[axis]) / lidar.voxel_size_m[axis]
        if not math.isclose(exact, lidar.grid_size[axis], abs_tol=1e-4):
            yield grid(
                f"range / voxel size is {exact:g} along {'xyz'[axis]}, not {lidar.grid_size[axis]}",
                hint=" (model.lidar.published_grid=true names the one published exception)",
                about=("model.point_cloud_range_m", "model.lidar.voxel_size_m"),
            )


def _lidar_branch_rules(model: ModelConfig) -> Iterator[Fault]:
    lidar = model.lidar
    stages = len(lidar.backbone_channels)
    backbone = ("backbone_channels", "backbone_layers", "backbone_strides")
    sound = True
    for name in (*backbone, "neck_channels", "neck_strides"):
        values = getattr(lidar, name)
        if len(values) != stages or not values:
            sound = False
            main = "model.lidar.backbone_channels"
            rule = f"must have {stages} entries, one a stage of {main}"
            rule = rule if stages else "must not be empty"
            yield Fault(f"model.lidar.{name}", f"{list(values)}", rule, about=(main,))
        low = 0 if name == "backbone_layers" else 1
        if any(value < low if name != "neck_strides" else value <= 0 for value in values):
            sound = False
            word = "positive" if low else "zero or more"
            yield Fault(f"model.lidar.{name}", f"{list(values)}", f"every entry must be {word}")
    if sound:
        yield from _stride_rules(model)


def _stride_rules(model: ModelConfig) -> Iterator[Fault]:
    """Every neck level must come out at one stride: the BEV map's."""
    lidar = model.lidar
    # The sparse encoder itself reduces the voxel grid by 8 before the backbone sees it.
    reached = 8.0 if lidar.encoder == "sparse_voxels" else 1.0
    for stage, (down, up) in enumerate(
        zip(lidar.backbone_strides, lidar.neck_strides, strict=True)
    ):
        reached *= down
        if not math.isclose(reached / up, lidar.stride):
            yield Fault(
                "model.lidar.stride",
                f"{lidar.stride}",
                f"stage {stage} comes out at stride {reached / up:g} (strides "
                f"{list(lidar.backbone_strides)}, upsampling {list(lidar.neck_strides)})",
                about=("model.lidar.backbone_strides", "model.lidar.neck_strides"),
            )


def _image_rules(image: ImageBranchConfig) -> Iterator[Fault]:
    for key, size in (("height_px", image.height_px), ("width_px", image.width_px)):
        if size % image.stride:
            rule = f"must be divisible by model.image.stride={image.stride}"
            yield Fault(f"model.image.{key}", f"{size}", rule, about=("model.image.stride",))
    if image.backbone == "vovnet99":
        for key, value, only in (
            ("depth", image.depth, VOVNET_DEPTH),
            ("base_channels", image.base_channels, VOVNET_BASE_CHANNELS),
        ):
            if value != only:
                rule = f"must be {only}: model.image.backbone=vovnet99"
                yield Fault(f"model.image.{key}", f"{value}", rule, about=("model.image.backbone",))
    elif image.depth not in RESNET_DEPTHS:
        depths = ", ".join(map(str, RESNET_DEPTHS))
        yield Fault("model.image.depth", f"{image.depth}", f"must be one of {depths}")
    stages = image.out_stages
    if not stages or any(not 0 <= stage <= 3 for stage in stages):
        yield Fault("model.image.out_stages", f"{list(stages)}", "must be stages from 0 to 3")
    elif list(stages) != sorted(set(stages)):
        yield Fault("model.image.out_stages", f"{list(stages)}", "must rise")
    elif 4 * 2 ** stages[0] != image.stride:
        finest = f"stage {stages[0]} comes out at stride {4 * 2 ** stages[0]}"
        rule = f"the finest stage of out_stages, {finest}"
        about = ("model.image.out_stages",)
        yield Fault("model.image.stride", f"{image.stride}", rule, about=about)
    if any(value <= 0 for value in image.std):
        yield Fault("model.image.std", f"{list(image.std)}", "must be positive")


def _head_rules(head: HeadConfig) -> Iterator[Fault]:
    if head.width % head.heads:
        rule = f"must be divisible by model.head.heads={head.heads}"
        yield Fault("model.head.width", f"{head.width}", rule, about=("model.head.heads",))
    if head.width % 2:
        rule = "must be even (sines and cosines of two axes)"
        yield Fault("model.head.width", f"{head.width}", rule)
    if head.task_kernel % 2 == 0:
        yield Fault("model.head.task_kernel", f"{head.task_kernel}", "must be odd")
    if len(head.code_weights) != CODE_WEIGHTS:
        rule = f"must have {CODE_WEIGHTS} entries, one a box code entry"
        yield Fault("model.head.code_weights", f"{list(head.code_weights)}", rule)
    if any(weight < 0 for weight in head.code_weights):
        yield Fault("model.head.code_weights", f"{list(head.code_weights)}", "must not be negative")


def _description_rules(config: RunConfig) -> Iterator[Fault]:
    """What depends on the classes of the data."""
    sampling, names = config.data.gt_sampling, config.data.described.names
    if sampling is not None and len(sampling.per_class) != len(names):
        rule = f"must have {len(names)} entries, one a class"
        yield Fault("data.gt_sampling.per_class", f"{list(sampling.per_class)}", rule)
    if config.data.description is not None and config.evaluator == "official":
        rule = "must be aqr: nuScenes' own evaluator knows its ten classes alone"
        yield Fault("evaluator", "official", rule, about=("data.root",))


def _sensor_rules(config: RunConfig) -> Iterator[Fault]:
    """A model of one sensor has nothing that weighs, drops or supervises two."""
    model, sensors = config.model, config.model.sensors
    if sensors == "both":
        return
    one = f"model.sensors={sensors} reads one sensor"
    about = ("model.sensors",)
    if spec_of(config.variant).both_sensors:
        rule = f"variant {config.variant.name}: weighs two sensors, and {one}"
        yield Fault(rule=rule, about=about)
    for name in ("drop_camera", "drop_lidar"):
        places = {"data.augment": config.data.augment} | stage_places(config)
        for where, place in places.items():
            if value := getattr(place, name):
                yield Fault(f"{where}.{name}", f"{value:g}", f"must be 0: {one}", about=about)
    if model.head.dense_supervision:
        key, weight = "model.head.dense_supervision", f"{model.head.dense_supervision:g}"
        yield Fault(key, weight, f"must be 0: {one}", about=about)
    if model.head.cross_attention_init != "xavier":
        kind = model.head.cross_attention_init
        rule = f"must be xavier: {one}"
        yield Fault("model.head.cross_attention_init", kind, rule, about=about)


def _start_rules(config: RunConfig) -> Iterator[Fault]:
    start = config.start
    if start is None:
        return
    for name, does, of_all in (
        ("freeze", "freezes what", "freeze"),
        ("parts", "parts of what", "take"),
        ("rename", "renames what", ""),
        ("ignore", "ignores some of what", "ignore"),
    ):
        values = getattr(start, name)
        shown = f"{dict(values) if isinstance(values, dict) else list(values)}"
        if values and not start.load_from:
            rule = f"{does} start.load_from loads: set it too"
            yield Fault(f"start.{name}", shown, rule, about=("start.load_from",))
        if of_all and not all(values):
            yield Fault(f"start.{name}", shown, f"an empty beginning would {of_all} everything")


SMALL_RATE = 0.1
"""Up to this share of the learning rate a backbone is fine-tuned, not trained."""


def needs_trained_backbone(config: RunConfig) -> bool:
    """The image backbone has fixed batch statistics and hardly learns, and would begin at random."""
    start, rate = config.start, _backbone_rate(config.schedule)
    if not (config.model.reads_camera and config.model.image.norm_eval and rate <= SMALL_RATE):
        return False
    if start is None or not start.load_from:
        return True
    return bool(start.parts) and not any(IMAGE_BACKBONE.startswith(part) for part in start.parts)


IMAGE_BACKBONE = "img_backbone"
"""The detector's name of its image backbone."""


def _backbone_rate(schedule: ScheduleConfig) -> float:
    rates = {IMAGE_BACKBONE: schedule.img_backbone_lr_mult} | schedule.lr_mult
    return rates[innermost(IMAGE_BACKBONE, rates) or IMAGE_BACKBONE]


def check_beginning(config: RunConfig) -> None:
    """Refuse to begin with a random image backbone where the recipe rests on a trained one.

    Raises:
        RequestError: `start.random` does not ask for it.
    """
    if needs_trained_backbone(config) and not (config.start and config.start.random):
        raise RequestError(
            Fault(
                "start.load_from",
                None,
                "the image backbone would begin at random, with fixed batch norms and a rate of x "
                f"{_backbone_rate(config.schedule):g}",
                " (start.parts=[img_backbone] takes it from a file, start.random=true insists)",
            )
        )


def _process_rules(config: RunConfig) -> Iterator[Fault]:
    """A step is shared out evenly, and batch norms apart are those of as many processes as before."""
    schedule, launcher = config.schedule, config.launcher
    count, parts, about = launcher.gpus_per_run, schedule.accumulate, ("schedule.batch_size",)
    fault = partial(Fault, "launcher.gpus_per_run", f"{count}", about=about)
    if not schedule.batch_size % parts and schedule.batch_size // parts % count:
        taken = f", in {parts} parts" if parts > 1 else ""
        yield fault(
            f"must divide schedule.batch_size={schedule.batch_size}{taken}: a step's samples"
        )
    if count > 1 and launcher.name == "debug":
        yield fault("must be 1: launcher=debug trains in the launcher's own process")
    if count == 1 and not schedule.sync_bn:
        rule = "needs launcher.gpus_per_run above 1"
        yield Fault("schedule.sync_bn", "false", rule, about=("launcher.gpus_per_run",))
    if schedule.norm_processes != norm_processes(config):
        rule = f"must be {schedule.norm_processes}: its batch norms are those of as many processes"
        yield fault(rule, " (schedule.sync_bn=false)")


def norm_processes(config: RunConfig) -> int | None:
    """The processes whose batch norms take statistics of their own; None where they do not."""
    return None if config.schedule.sync_bn else config.launcher.gpus_per_run


def _run_rules(config: RunConfig) -> Iterator[Fault]:
    schedule, every = config.schedule, config.schedule.validate_every_epochs
    if every > schedule.epochs:
        rule = f"must be at most schedule.epochs={schedule.epochs}, or 0 for never"
        about = ("schedule.epochs",)
        yield Fault("schedule.validate_every_epochs", f"{every}", rule, about=about)
    if schedule.mean_of_last > (most := len(schedule.evaluated_epochs)):
        rule = f"must be at most {most}, the evaluations of schedule.validate_every_epochs={every}"
        about = ("schedule.validate_every_epochs",)
        yield Fault("schedule.mean_of_last", f"{schedule.mean_of_last}", rule, about=about)
    if schedule.batch_size % schedule.accumulate:
        rule = f"must divide schedule.batch_size={schedule.batch_size}, the samples of a step"
        about = ("schedule.batch_size",)
        yield Fault("schedule.accumulate", f"{schedule.accumulate}", rule, about=about)
    yield from _process_rules(config)
    if config.schedule.amp and config.launcher.device == "cpu":
        rule = "mixed precision needs CUDA, and launcher.device=cpu"
        yield Fault("schedule.amp", "true", rule, about=("launcher.device",))
    slurm = config.launcher.slurm
    if (slurm is not None) != (config.launcher.name == "slurm"):
        about = ("launcher.name",)
        yield Fault(
            "launcher.slurm", None, "belongs to launcher=slurm, and to no other", about=about
        )
    if slurm is not None and 2 * slurm.save_s > 60 * slurm.time_min:
        rule = f"must be at most half of launcher.slurm.time_min={slurm.time_min}, {30 * slurm.time_min}"
        about = ("launcher.slurm.time_min",)
        yield Fault("launcher.slurm.save_s", f"{slurm.save_s}", rule, about=about)
    for key in ("name", "root", "version", "train_split", "val_split"):
        if not getattr(config.data, key):
            yield Fault(f"data.{key}", "''", "must not be empty")
    for key in ("version", "train_split", "val_split"):
        if any(mark in getattr(config.data, key) for mark in "/\\\0"):
            yield Fault(f"data.{key}", f"{getattr(config.data, key)!r}", "must be a plain name")
