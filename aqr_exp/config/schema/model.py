"""The detector: LiDAR branch, image branch and the CMT head."""

from dataclasses import dataclass
from typing import Annotated, Literal

from aqr_exp.config.schema.constraints import DefaultBefore, NotInFingerprint, Range

Sensors = Literal["both", "lidar", "camera"]
"""The sensors a detector reads; one that is not read has no branch and no tokens."""

LidarEncoder = Literal["pillars", "sparse_voxels"]
"""The way points become a BEV map: pillars train on a CPU, the sparse encoder needs CUDA."""

ImageBackbone = Literal["resnet", "vovnet99"]
"""The way images become maps: a ResNet of any depth, or VoVNetV2-99."""

CrossAttentionInit = Literal["xavier", "local"]
"""The initialisation of the decoder's cross-attention.

`xavier` is the published start. `local` makes the encodings place codes and gives queries and keys
one shared projection, so that attention begins near each query's own position in BEV and in the
images, and boxes begin at their reference points: for models that train for minutes.
"""


TaskStart = Literal["torch", "kaiming"]
"""The initialisation of the task head.

`torch` is the published start: torch's default for both convolutions. `kaiming` draws them larger and
begins all scores at 0.1. Under `cross_attention_init: local` offsets begin near zero with either.
"""


@dataclass(frozen=True, kw_only=True)
class LidarBranchConfig:
    """From points to BEV features.

    Attributes:
        voxel_size_m: Voxel size (x, y, z).
        grid_size: Voxels along (x, y, z).
        published_grid: The named exception to range / voxel = grid (the published r50 setting).
        stride: Voxels per BEV cell along x and y.
        max_points_per_voxel: Points kept in a voxel.
        max_voxels_train: Voxels kept in training.
        max_voxels_test: Voxels kept at evaluation.
        encoder_channels: Channels of the encoder's output map.
        backbone_channels: Channels of SECOND's stages.
        backbone_layers: Convolutions of each stage after its first.
        backbone_strides: Stride of each stage.
        neck_channels: SECONDFPN's channels for each stage.
        neck_strides: SECONDFPN's upsampling for each stage.
    """

    encoder: LidarEncoder
    voxel_size_m: tuple[float, float, float]
    grid_size: tuple[int, int, int]
    published_grid: bool
    stride: Annotated[int, Range(1, 64)]
    max_points_per_voxel: Annotated[int, Range(1, 1000)]
    max_voxels_train: Annotated[int, Range(1, 10_000_000)]
    max_voxels_test: Annotated[int, Range(1, 10_000_000)]
    encoder_channels: Annotated[int, Range(1, 4096)]
    backbone_channels: tuple[int, ...]
    backbone_layers: tuple[int, ...]
    backbone_strides: tuple[int, ...]
    neck_channels: tuple[int, ...]
    neck_strides: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ImageBranchConfig:
    """From six images to camera features.

    Attributes:
        height_px: Height of the network's input.
        width_px: Width of the network's input.
        backbone: The family; VoVNet-99 has one depth and one width.
        depth: ResNet depth; 99 of VoVNet-99.
        base_channels: Channels of ResNet's first stage; 256 of VoVNet-99.
        out_stages: Stages (0-based) the neck reads.
        stride: Pixels per camera token.
        frozen_stages: Stages that are not trained; -1 trains all.
        norm_eval: Keep batch statistics fixed while training.
        neck_norm: Batch norm on the camera tokens; without, as published, their size is free.
        checkpointing: Recompute activations to save memory.
        grid_mask: Hide a grid of the images while training.
        mean: Channel means (B, G, R), 0 to 255.
        std: Channel standard deviations (B, G, R).
    """

    height_px: Annotated[int, Range(32, 4096)]
    width_px: Annotated[int, Range(32, 8192)]
    backbone: Annotated[ImageBackbone, DefaultBefore("resnet")]
    depth: Annotated[int, Range(18, 152)]
    base_channels: Annotated[int, Range(4, 256)]
    out_stages: tuple[int, ...]
    stride: Annotated[int, Range(4, 64)]
    frozen_stages: Annotated[int, Range(-1, 4)]
    norm_eval: bool
    neck_norm: bool
    checkpointing: bool
    grid_mask: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class DenoisingConfig:
    """Query denoising.

    Attributes:
        groups: At most this many noised copies of the ground truth.
        noise_scale: Shift of a centre, in half box sizes; 0 switches the noise off.
        noise_trans_m: Added to the half size before scaling.
        split: Noise beyond this norm is labelled background.
        weight: Weight of the denoising losses.
    """

    groups: Annotated[int, Range(1, 100)]
    noise_scale: Annotated[float, Range(0.0, 10.0)]
    noise_trans_m: Annotated[float, Range(0.0, 10.0)]
    split: Annotated[float, Range(0.0, 10.0)]
    weight: Annotated[float, Range(0.0, 100.0)]


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """The CMT head.

    Attributes:
        queries: Learnable reference points.
        width: Width of queries and keys.
        heads: Attention heads.
        layers: Decoder layers, all supervised.
        ffn_channels: Hidden width of the feed-forward blocks.
        dropout: Dropout on attention outputs.
        attention_dropout: Dropout on attention probabilities, in the self-attention alone.
        projection_bias: Biases in the projections of the cross-attention, as published.
        depth_bins: Depths along each camera ray in the camera encoding.
        dense_supervision: Weight of auxiliary losses on the feature maps themselves, for models that
            train for minutes; 0, as published, is without.
        task_channels: Hidden channels of each task head's layers, per decoder layer.
        task_start: The initialisation of the task head.
        task_kernel: Neighbouring queries that a task head's convolutions see: 1, but 3 in the
            published LiDAR model, where the order of queries therefore matters.
        class_cost: Hungarian weight of the focal class cost.
        box_cost: Hungarian weight of the L1 box cost.
        class_loss: Weight of the focal loss.
        box_loss: Weight of the L1 loss.
        code_weights: Weights of the ten box code entries.
        max_boxes: Boxes decoded per sample.
        post_center_range_m: Decoded centres outside (x, y, z, x, y, z) are dropped.
    """

    queries: Annotated[int, Range(1, 100_000)]
    width: Annotated[int, Range(8, 4096)]
    heads: Annotated[int, Range(1, 128)]
    layers: Annotated[int, Range(1, 24)]
    ffn_channels: Annotated[int, Range(8, 65536)]
    dropout: Annotated[float, Range(0.0, 0.9)]
    attention_dropout: Annotated[float, Range(0.0, 0.9), DefaultBefore(0.0)]
    projection_bias: Annotated[bool, DefaultBefore(False)]
    depth_bins: Annotated[int, Range(1, 1024)]
    cross_attention_init: CrossAttentionInit
    dense_supervision: Annotated[float, Range(0.0, 100.0)]
    task_channels: Annotated[int, Range(1, 4096)]
    task_start: Annotated[TaskStart, DefaultBefore("kaiming")]
    task_kernel: Annotated[int, Range(1, 9), DefaultBefore(1)]
    class_cost: Annotated[float, Range(0.0, 100.0)]
    box_cost: Annotated[float, Range(0.0, 100.0)]
    class_loss: Annotated[float, Range(0.0, 100.0)]
    box_loss: Annotated[float, Range(0.0, 100.0)]
    code_weights: tuple[float, ...]
    max_boxes: Annotated[int, Range(1, 500)]
    post_center_range_m: tuple[float, ...]
    denoising: DenoisingConfig


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A CMT detector.

    Attributes:
        point_cloud_range_m: (x, y, z, x, y, z) in the LiDAR frame.
        sensors: Which are read; the branch of another is not built, whatever its keys below say.
    """

    name: Annotated[str, NotInFingerprint()]
    point_cloud_range_m: tuple[float, ...]
    sensors: Annotated[Sensors, DefaultBefore("both")]
    lidar: LidarBranchConfig
    image: ImageBranchConfig
    head: HeadConfig

    @property
    def reads_lidar(self) -> bool:
        """The LiDAR is read."""
        return self.sensors != "camera"

    @property
    def reads_camera(self) -> bool:
        """The cameras are read."""
        return self.sensors != "lidar"
