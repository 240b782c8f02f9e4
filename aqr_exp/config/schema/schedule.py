"""The schedule: epochs, learning rates, batch size, and the stages it may be divided into."""

from dataclasses import dataclass
from typing import Annotated, Literal

from aqr_exp.config.schema.constraints import DefaultBefore, NotInFingerprint, Range, Table
from aqr_exp.config.schema.data import DroppedCloud, NarrowImages

AmpParts = Literal["all", "published"]
"""The parts that mixed precision computes in half precision.

`all`: everything but voxels, encodings, router, task head and losses. `published`: the image branch, the
neck of the LiDAR branch, and the core of the cross-attention; the rest of the head, its shared convolution
and the backbone of the LiDAR branch are in single precision.
"""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """A stage: fields that are set stand in place of those of `data.augment` that act in training.

    Attributes:
        epochs: How long the stage lasts.
        gt_sampling: False switches `data.gt_sampling` off for the stage.
    """

    epochs: Annotated[int, Range(1, 1000)]
    gt_sampling: bool | None = None
    resize: tuple[float, float] | None = None
    narrow_images: NarrowImages | None = None
    flip_image: bool | None = None
    rotate_deg: Annotated[float | None, Range(0.0, 180.0)] = None
    scale: tuple[float, float] | None = None
    translate_std_m: tuple[float, float, float] | None = None
    flip_bev: bool | None = None
    drop_camera: Annotated[float | None, Range(0.0, 1.0)] = None
    drop_lidar: Annotated[float | None, Range(0.0, 1.0)] = None
    dropped_cloud: DroppedCloud | None = None


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Optimiser and schedule (AdamW with the published cyclic rate and momentum).

    Attributes:
        epochs: Passes over the training split.
        batch_size: Samples a step, over all processes.
        accumulate: Parts that a step's samples are trained in, one after another, so that a smaller GPU
            holds them; their gradients add up to one step's.
        sync_bn: Where several processes train a run, batch norms take the statistics of all of them.
        norm_processes: The processes, where their batch norms take statistics of their own, which changes
            the numbers; None where they do not. Computed, not typed.
        learning_rate: The rate the cycle starts from.
        weight_decay: AdamW's decoupled weight decay.
        img_backbone_lr_mult: Multiplier on the image backbone's rate.
        img_backbone_decay_mult: Multiplier on the image backbone's weight decay.
        img_neck_lr_mult: Multiplier on the image neck's rate.
        lidar_lr_mult: Multiplier on the rate of the LiDAR branch up to the shared convolution.
        encoding_lr_mult: Multiplier on the rate of the coordinate encodings.
        lr_mult: Multipliers on the rates of modules, by their names in the detector; each stands in the
            place of what the settings above and the variant's say. Of two the longer name decides.
        peak_ratio: The cycle's highest rate over `learning_rate`.
        final_ratio: The cycle's last rate over `learning_rate`.
        warm_fraction: Share of the steps on which the rate rises.
        warm_steps: Number of the steps on which it rises, in place of that share; 0 is the share.
        momentum_ratio: AdamW's beta1 at the peak over beta1 at the start.
        grad_clip_norm: Gradients are scaled down to this L2 norm.
        amp: Mixed precision; CUDA only.
        amp_parts: The parts that mixed precision computes in half precision.
        validate_every_epochs: Epochs between evaluations during training; 0 never. They are
            curves: only the evaluation of the final weights is the metric of record.
        mean_of_last: So many of the last of those, the final one included, are averaged to further
            metrics (`mAP_last3`); 0 records none.
        ema_decay: Share of itself that an exponential moving average of the weights keeps each step; it
            is scored once, after training, as further metrics (`mAP_ema`). 0 averages nothing.
        log_every_steps: Steps between two lines of the history.
        keep_checkpoints: Newest checkpoints kept.
        cbgs: Class-balanced resampling of the training split (CBGS).
        stages: Parts of the run whose data are augmented differently, in order; their epochs add up
            to `epochs`. The cycles of rate and momentum span them all. None is one stage.
    """

    name: Annotated[str, NotInFingerprint()]
    epochs: Annotated[int, Range(1, 1000)]
    batch_size: Annotated[int, Range(1, 1024)]
    accumulate: Annotated[int, Range(1, 1024), DefaultBefore(1)]
    sync_bn: Annotated[bool, DefaultBefore(True)]
    learning_rate: Annotated[float, Range(1e-8, 1.0)]
    weight_decay: Annotated[float, Range(0.0, 1.0)]
    img_backbone_lr_mult: Annotated[float, Range(0.0, 10.0)]
    img_backbone_decay_mult: Annotated[float, Range(0.0, 100.0), DefaultBefore(1.0)]
    img_neck_lr_mult: Annotated[float, Range(0.0, 10.0)]
    lidar_lr_mult: Annotated[float, Range(0.0, 10.0)]
    encoding_lr_mult: Annotated[float, Range(0.0, 10.0)]
    lr_mult: Annotated[Table[float], Range(0.0, 100.0), DefaultBefore(Table())]
    peak_ratio: Annotated[float, Range(1.0, 100.0)]
    final_ratio: Annotated[float, Range(0.0, 1.0)]
    warm_fraction: Annotated[float, Range(0.0, 1.0)]
    warm_steps: Annotated[int, Range(0, 10_000_000), DefaultBefore(0)]
    momentum_ratio: Annotated[float, Range(0.1, 1.0)]
    grad_clip_norm: Annotated[float, Range(1e-3, 1e6)]
    amp: bool
    amp_parts: Annotated[AmpParts, DefaultBefore("all")]
    validate_every_epochs: Annotated[int, Range(0, 1000)]
    mean_of_last: Annotated[int, Range(0, 1000), DefaultBefore(0)]
    ema_decay: Annotated[float, Range(0.0, 0.999999), DefaultBefore(0.0)]
    log_every_steps: Annotated[int, Range(1, 100000), NotInFingerprint()]
    keep_checkpoints: Annotated[int, Range(1, 100), NotInFingerprint()]
    cbgs: bool
    stages: tuple[StageConfig, ...] | None = None
    norm_processes: int | None = None

    @property
    def evaluated_epochs(self) -> list[int]:
        """The epochs, from 1, after which it evaluates during training: the last one always."""
        every = self.validate_every_epochs
        return sorted({*range(every, self.epochs, every), self.epochs}) if every else []

    @property
    def averaged_epochs(self) -> list[int]:
        """Those of them whose evaluations are averaged."""
        return self.evaluated_epochs[-self.mean_of_last :] if self.mean_of_last else []
