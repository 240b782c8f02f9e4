"""From the typed model configuration to the dict that mmengine builds the detector from."""

from dataclasses import asdict
from typing import Any

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.config.schema.model import ModelConfig
from aqr_exp.config.schema.run import RunConfig
from aqr_exp.config.schema.schedule import ScheduleConfig
from aqr_exp.config.variant_spec import spec_of

POINT_FEATURES = 5
_SPARSE_CHANNELS = ((16, 16, 32), (32, 32, 64), (64, 64, 128), (128, 128))
_SPARSE_PADDINGS = ((0, 0, 1), (0, 0, 1), (0, 0, [0, 1, 1]), (0, 0))
_SPARSE_STRIDE = 8
_SMOOTH_NORM = {"type": "BN", "eps": 1e-3, "momentum": 0.01}


def detector_config(config: RunConfig | ModelConfig) -> dict[str, Any]:
    """The detector's configuration for mmdet3d's `MODELS.build`.

    Args:
        config: A run, or its model alone, which is the baseline on nuScenes.

    Returns:
        A new dict; nothing in it is shared with `config`.
    """
    model = config.model if isinstance(config, RunConfig) else config
    described = config.data.described if isinstance(config, RunConfig) else NUSCENES
    head = _head(model, len(described.classes))
    if isinstance(config, RunConfig):
        spec = spec_of(config.variant)
        if spec.module is not None:
            arguments = spec.module_arguments(config.variant, config)
            head["variant"] = {"path": spec.module, "arguments": arguments}
    return {
        "type": "CmtDetector",
        "data_preprocessor": {
            "type": "mmdet3d.CmtDataPreprocessor",
            "mean": model.image.mean,
            "std": model.image.std,
        },
        "grid_mask": model.image.grid_mask and model.reads_camera,
        **(_lidar_branch(model) if model.reads_lidar else {}),
        **(_image_branch(model) if model.reads_camera else {}),
        "pts_bbox_head": head,
        **(_of_schedule(config.schedule) if isinstance(config, RunConfig) else {}),
    }


def _of_schedule(schedule: ScheduleConfig) -> dict[str, Any]:
    return {"accumulate": schedule.accumulate, "single_head": schedule.amp_parts == "published"}


def _lidar_branch(model: ModelConfig) -> dict[str, Any]:
    lidar = model.lidar
    encoders = _pillars(model) if lidar.encoder == "pillars" else _sparse_voxels(model)
    return {
        "voxelisation": {
            "voxel_size_m": lidar.voxel_size_m,
            "point_cloud_range_m": model.point_cloud_range_m,
            "grid_size": lidar.grid_size,
            "max_points": lidar.max_points_per_voxel,
            "max_voxels_train": lidar.max_voxels_train,
            "max_voxels_test": lidar.max_voxels_test,
        },
        **encoders,
        "pts_backbone": {
            "type": "SECOND",
            "in_channels": encoders["canvas_shape"][0],
            "out_channels": list(lidar.backbone_channels),
            "layer_nums": list(lidar.backbone_layers),
            "layer_strides": list(lidar.backbone_strides),
            "norm_cfg": dict(_SMOOTH_NORM),
            "conv_cfg": {"type": "Conv2d", "bias": False},
        },
        "pts_neck": {
            "type": "SECONDFPN",
            "in_channels": list(lidar.backbone_channels),
            "out_channels": list(lidar.neck_channels),
            "upsample_strides": [int(s) if s >= 1 else s for s in lidar.neck_strides],
            "norm_cfg": dict(_SMOOTH_NORM),
            "upsample_cfg": {"type": "deconv", "bias": False},
            "use_conv_for_no_stride": True,
        },
    }


def _pillars(model: ModelConfig) -> dict[str, Any]:
    """The encoders, and the (channels, rows, columns) of their map."""
    lidar = model.lidar
    columns, rows, _ = lidar.grid_size
    return {
        "pts_voxel_encoder": {
            "type": "PillarEncoder",
            "out_channels": lidar.encoder_channels,
            "voxel_size": lidar.voxel_size_m,
            "point_cloud_range": model.point_cloud_range_m,
        },
        "pts_middle_encoder": {
            "type": "PointPillarsScatter",
            "in_channels": lidar.encoder_channels,
            "output_shape": [rows, columns],
        },
        "canvas_shape": (lidar.encoder_channels, rows, columns),
    }


def _sparse_voxels(model: ModelConfig) -> dict[str, Any]:
    """As `_pillars`; the map stacks what height is left."""
    channels = model.lidar.encoder_channels
    columns, rows, height = model.lidar.grid_size
    left = height + 1
    for padding in (1, 1, 0, 0):  # three stages and the output convolution, along z
        left = (left + 2 * padding - 3) // 2 + 1
    return {
        "pts_voxel_encoder": {"type": "HardSimpleVFE", "num_features": POINT_FEATURES},
        "pts_middle_encoder": {
            "type": "SparseEncoder",
            "in_channels": POINT_FEATURES,
            "sparse_shape": [height + 1, rows, columns],
            "output_channels": channels,
            "order": ("conv", "norm", "act"),
            "encoder_channels": _SPARSE_CHANNELS,
            "encoder_paddings": _SPARSE_PADDINGS,
            "block_type": "basicblock",
        },
        "canvas_shape": (channels * left, rows // _SPARSE_STRIDE, columns // _SPARSE_STRIDE),
    }


def _image_branch(model: ModelConfig) -> dict[str, Any]:
    image = model.image
    stages = tuple(image.out_stages)
    if image.backbone == "vovnet99":
        channels = [image.base_channels * (stage + 1) for stage in stages]
        backbone: dict[str, Any] = {
            "type": "VoVNet99", "out_stages": stages, "checkpointing": image.checkpointing,
        }  # fmt: skip
    else:
        expansion = 1 if image.depth < 50 else 4
        channels = [image.base_channels * expansion * 2**stage for stage in stages]
        backbone = {
            "type": "mmdet.ResNet",
            "depth": image.depth,
            "base_channels": image.base_channels,
            "num_stages": max(stages) + 1,
            "strides": (1, 2, 2, 2)[: max(stages) + 1],
            "dilations": (1, 1, 1, 1)[: max(stages) + 1],
            "out_indices": stages,
            "norm_cfg": {"type": "BN", "requires_grad": True},
            "with_cp": image.checkpointing,
            "style": "pytorch",
        }
    return {
        "img_backbone": backbone
        | {"frozen_stages": image.frozen_stages, "norm_eval": image.norm_eval},
        "img_neck": {
            "type": "ImageNeck",
            "in_channels": channels,
            "out_channels": model.head.width,
            "norm": image.neck_norm,
        },
    }


def _head(model: ModelConfig, classes: int) -> dict[str, Any]:
    head, noise = model.head, asdict(model.head.denoising)
    denoising_weight = noise.pop("weight")
    local = head.cross_attention_init == "local"
    return {
        "type": "CmtHead",
        "in_channels": sum(model.lidar.neck_channels) if model.reads_lidar else None,
        "camera": model.reads_camera,
        "queries": head.queries,
        "width": head.width,
        "depth_bins": head.depth_bins,
        "classes": classes,
        "point_cloud_range": model.point_cloud_range_m,
        # The true size of a BEV cell, which the published grid and range do not agree on.
        "bev_pitch_m": tuple(side * model.lidar.stride for side in model.lidar.voxel_size_m[:2]),
        "local_start": local,
        "dense_supervision": head.dense_supervision,
        "transformer": {
            "type": "CmtTransformer",
            "layers": head.layers,
            "width": head.width,
            "heads": head.heads,
            "ffn_channels": head.ffn_channels,
            "dropout": head.dropout,
            "share_dropout": head.attention_dropout,
            "projection_bias": head.projection_bias,
        },
        "task_head": {
            "type": "SeparateTaskHead",
            "width": head.width,
            "layers": head.layers,
            "branches": {
                "center": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2, "cls_logits": classes,
            },
            "hidden": head.task_channels,
            "kernel": head.task_kernel,
            "start": head.task_start,
            "start_at_reference": local,
        },
        "denoising": noise,
        "loss": {
            "class_cost": head.class_cost,
            "box_cost": head.box_cost,
            "class_loss": head.class_loss,
            "box_loss": head.box_loss,
            "code_weights": head.code_weights,
            "denoising": denoising_weight,
            "split": noise["split"],
        },
        "max_boxes": head.max_boxes,
        "post_center_range": head.post_center_range_m,
    }  # fmt: skip
