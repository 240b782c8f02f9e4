"""One stage of a schedule: how long it lasts, and what of the training data differs in it."""

from dataclasses import dataclass
from typing import Annotated

from aqr_exp.config.schema.constraints import Range


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What is not said here is as in `data`; every key of `data.augment` that acts in training is here.

    Attributes:
        epochs: How long the stage lasts.
        gt_sampling: False switches `data.gt_sampling` off for the stage.
        resize: In place of `data.augment.resize`.
        flip_image: In place of `data.augment.flip_image`.
        rotate_deg: In place of `data.augment.rotate_deg`.
        scale: In place of `data.augment.scale`.
        translate_std_m: In place of `data.augment.translate_std_m`.
        flip_bev: In place of `data.augment.flip_bev`.
        drop_camera: In place of `data.augment.drop_camera`.
        drop_lidar: In place of `data.augment.drop_lidar`.
    """

    epochs: Annotated[int, Range(1, 1000)]
    gt_sampling: bool | None = None
    resize: tuple[float, float] | None = None
    flip_image: bool | None = None
    rotate_deg: Annotated[float | None, Range(0.0, 180.0)] = None
    scale: tuple[float, float] | None = None
    translate_std_m: tuple[float, float, float] | None = None
    flip_bev: bool | None = None
    drop_camera: Annotated[float | None, Range(0.0, 1.0)] = None
    drop_lidar: Annotated[float | None, Range(0.0, 1.0)] = None
