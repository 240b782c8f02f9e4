"""The data set, and the augmentation of its samples."""

from dataclasses import dataclass
from typing import Annotated

from aqr_exp.config.schema.constraints import NotInFingerprint, Range


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Training augmentation, the same for every variant.

    Attributes:
        resize: Lowest and highest image scale, relative to the stored image.
        test_resize: Image scale at evaluation.
        flip_image: Mirror each sample's images with probability one half.
        rotate_deg: Global rotation about the LiDAR's z axis is uniform in +- this.
        scale: Lowest and highest global scale.
        translate_std_m: Standard deviation of the global shift (x, y, z).
        flip_bev: Mirror the scene along x and along y, each with probability one half.
        drop_camera: Probability that every image of a sample is blanked (modal dropout).
        drop_lidar: Probability that every point of a sample is dropped (modal dropout).
    """

    resize: tuple[float, float]
    test_resize: Annotated[float, Range(0.01, 4.0)]
    flip_image: bool
    rotate_deg: Annotated[float, Range(0.0, 180.0)]
    scale: tuple[float, float]
    translate_std_m: tuple[float, float, float]
    flip_bev: bool
    drop_camera: Annotated[float, Range(0.0, 1.0)]
    drop_lidar: Annotated[float, Range(0.0, 1.0)]


@dataclass(frozen=True, kw_only=True)
class GtSamplingConfig:
    """Ground-truth sampling: objects of other training samples are pasted in, points and images.

    Attributes:
        per_class: Each class is filled up to so many objects a sample, in the order of the labels.
        min_points: Only objects with so many LiDAR points, of the sweeps in use, are pasted.
    """

    per_class: Annotated[tuple[int, ...], Range(0, 100)]
    min_points: Annotated[int, Range(1, 1000)]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A nuScenes-format data set and its splits.

    Attributes:
        root: Folder that holds `<version>/`, `samples/` and `sweeps/`.
        version: nuScenes version folder, such as `v1.0-trainval`.
        train_split: Split trained on.
        val_split: Split evaluated on.
        sweeps: Earlier LiDAR sweeps merged into each keyframe.
        min_box_points: Training boxes with fewer LiDAR and radar points are left out.
        fingerprint: Identity of the data's content; filled in from the info files, not typed.
        gt_sampling: Ground-truth sampling; None is without and not in the identity.
    """

    name: Annotated[str, NotInFingerprint()]
    root: Annotated[str, NotInFingerprint()]
    version: str
    train_split: str
    val_split: str
    sweeps: Annotated[int, Range(0, 20)]
    min_box_points: Annotated[int, Range(0, 100)]
    fingerprint: str
    augment: AugmentConfig
    gt_sampling: GtSamplingConfig | None = None
