"""The data set, and the augmentation of its samples."""

from dataclasses import dataclass
from typing import Annotated, Literal

from aqr_exp.config.schema.constraints import DefaultBefore, NotInFingerprint, Range
from aqr_exp.config.schema.description import NUSCENES, DataDescription

NarrowImages = Literal["anywhere", "left"]
"""Place of an image narrower than the input: drawn (the middle at evaluation), or left."""

DroppedCloud = Literal["empty", "origin"]
"""A LiDAR that delivers nothing: no points, or all of them with every column 0."""

CountedPoints = Literal["all", "lidar"]
"""Points that let a box be trained on: those of LiDAR and radar, or of the LiDAR alone."""

CountedBoxes = Literal["trained", "annotated"]
"""Boxes by which class-balanced resampling knows a sample's classes."""

UnknownVelocity = Literal["ignore", "zero"]
"""A velocity that the annotations do not know: no part of the loss, or learned as standing still."""

Misfits = Literal["drop", "warp"]
"""An object whose picture another car's camera would show off its place: left out, or warped into it."""


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Training augmentation, the same for every variant.

    Attributes:
        resize: Lowest and highest image scale, relative to the stored image.
        narrow_images: Where an image lies that is scaled to less than the input's width.
        test_resize: Image scale at evaluation.
        flip_image: Mirror each sample's images with probability one half.
        rotate_deg: Global rotation about the LiDAR's z axis is uniform in +- this.
        scale: Lowest and highest global scale.
        translate_std_m: Standard deviation of the global shift (x, y, z).
        flip_bev: Mirror the scene along x and along y, each with probability one half.
        drop_camera: Probability that every image of a sample is blanked (modal dropout).
        drop_lidar: Probability that every point of a sample is dropped (modal dropout).
        dropped_cloud: What is left of a cloud then.
    """

    resize: tuple[float, float]
    narrow_images: Annotated[NarrowImages, DefaultBefore("anywhere")]
    test_resize: Annotated[float, Range(0.01, 4.0)]
    flip_image: bool
    rotate_deg: Annotated[float, Range(0.0, 180.0)]
    scale: tuple[float, float]
    translate_std_m: tuple[float, float, float]
    flip_bev: bool
    drop_camera: Annotated[float, Range(0.0, 1.0)]
    drop_lidar: Annotated[float, Range(0.0, 1.0)]
    dropped_cloud: Annotated[DroppedCloud, DefaultBefore("empty")]


@dataclass(frozen=True, kw_only=True)
class GtSamplingConfig:
    """Ground-truth sampling: objects of other training samples are pasted in, points and images.

    Attributes:
        per_class: Each class is filled up to so many objects a sample, in the order of the labels.
        min_points: Only objects with so many LiDAR points, of the sweeps in use, are pasted.
        mixup: Share of a pasted picture in what the image shows then; 1 covers it.
        misfits: What becomes of objects that this sample's cameras see otherwise.
    """

    per_class: Annotated[tuple[int, ...], Range(0, 100)]
    min_points: Annotated[int, Range(1, 1000)]
    mixup: Annotated[float, Range(0.0, 1.0), DefaultBefore(1.0)]
    misfits: Annotated[Misfits, DefaultBefore("drop")]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A nuScenes-format data set and its splits.

    Attributes:
        root: Folder that holds `<version>/`, `samples/` and `sweeps/`.
        version: nuScenes version folder, such as `v1.0-trainval`.
        train_split: Split trained on.
        val_split: Split evaluated on.
        sweeps: Earlier LiDAR sweeps merged into each keyframe.
        ego_points: Keep the points of the vehicle itself in those sweeps.
        shuffle_points: Train on points in a drawn order, so that a full voxel grid loses any of them;
            in the order of the files it loses those of pasted objects and of the oldest sweep.
        min_box_points: Training boxes with fewer points are left out.
        box_points: Which points count there.
        balance_by: What class-balanced resampling (`schedule.cbgs`) counts.
        redraw_empty: Train on another sample, drawn evenly, where augmentation leaves no box.
        unknown_velocity: What is learned of a velocity that is unknown.
        half_decode: Decode images at half size where they are scaled to that or less, and nothing is
            pasted into them; the pixels are others.
        fingerprint: Identity of the data's content; filled in from the info files, not typed.
        gt_sampling: Ground-truth sampling; None is without and not in the identity.
        description: Its classes and sensors; filled in from the data's `dataset.yaml`, not typed. None
            is nuScenes and not in the identity.
    """

    name: Annotated[str, NotInFingerprint()]
    root: Annotated[str, NotInFingerprint()]
    version: str
    train_split: str
    val_split: str
    sweeps: Annotated[int, Range(0, 20)]
    ego_points: Annotated[bool, DefaultBefore(False)]
    shuffle_points: Annotated[bool, DefaultBefore(False)]
    min_box_points: Annotated[int, Range(0, 100)]
    box_points: Annotated[CountedPoints, DefaultBefore("all")]
    balance_by: Annotated[CountedBoxes, DefaultBefore("trained")]
    redraw_empty: Annotated[bool, DefaultBefore(False)]
    unknown_velocity: Annotated[UnknownVelocity, DefaultBefore("ignore")]
    half_decode: Annotated[bool, DefaultBefore(False)]
    fingerprint: str
    augment: AugmentConfig
    gt_sampling: GtSamplingConfig | None = None
    description: DataDescription | None = None

    @property
    def described(self) -> DataDescription:
        """The classes and sensors."""
        return self.description or NUSCENES
