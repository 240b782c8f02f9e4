"""From the typed model configuration to the dict that mmengine builds the detector from."""

from typing import Any

from aqr_exp.config.schema.model import (
    ImageBranchConfig,
    ModelConfig,
)
from aqr_exp.config.schema.run import RunConfig
from aqr_exp.config.variant_spec import spec_of

CLASSES = 10
POINT_FEATURES = 5
_SPARSE_CHANNELS = ((16, 16, 32), (32, 32, 64), (64, 64, 128), (128, 128))
_SPARSE_PADDINGS = ((0, 0, 1), (0, 0, 1), (0, 0, [0, 1, 1]), (0, 0))
_SPARSE_STRIDE = 8
_SMOOTH_NORM = {"type": "BN", "eps": 1e-3, "momentum": 0.01}


def detector_config(config: RunConfig | ModelConfig) -> dict[str, Any]:
    """The detector's configuration for mmdet3d's `MODELS.build`.

    Args:
        config: A run, or its model alone, which is the baseline.

    Returns:
        A new dict; nothing in it is shared with `config`.
    """
    model = config.model if isinstance(config, RunConfig) else config
    head = _head(model)
    if isinstance(config, RunConfig):
        spec = spec_of(config.variant)
        if spec.module is not None:
            arguments = spec.module_arguments(config.variant, config)
            head["variant"] = {"path": spec.module, "arguments": arguments}
    return {
        "type": "CmtDetector",
        "data_preprocessor": {"type": "mmdet3d.CmtDataPreprocessor"},
        "grid_mask": model.image.grid_mask and model.reads_camera,
        **(_lidar_branch(model) if model.reads_lidar else {}),
        **(_image_branch(model) if model.reads_camera else {}),
        "pts_bbox_head": head,
    }


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
        "canvas_shape": _canvas_shape(model),
        "pts_backbone": {
            "type": "SECOND",
            "in_channels": _canvas_shape(model)[0],
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
    lidar = model.lidar
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
            "output_shape": [lidar.grid_size[1], lidar.grid_size[0]],
        },
    }


def _sparse_voxels(model: ModelConfig) -> dict[str, Any]:
    lidar = model.lidar
    return {
        "pts_voxel_encoder": {"type": "HardSimpleVFE", "num_features": POINT_FEATURES},
        "pts_middle_encoder": {
            "type": "SparseEncoder",
            "in_channels": POINT_FEATURES,
            "sparse_shape": [lidar.grid_size[2] + 1, lidar.grid_size[1], lidar.grid_size[0]],
            "output_channels": lidar.encoder_channels,
            "order": ("conv", "norm", "act"),
            "encoder_channels": _SPARSE_CHANNELS,
            "encoder_paddings": _SPARSE_PADDINGS,
            "block_type": "basicblock",
        },
    }


def _canvas_shape(model: ModelConfig) -> tuple[int, int, int]:
    """(channels, rows, columns) of the encoder's map: the sparse encoder stacks what height is left."""
    lidar = model.lidar
    columns, rows, height = lidar.grid_size
    if lidar.encoder == "pillars":
        return lidar.encoder_channels, rows, columns
    height += 1
    for padding in (1, 1, 0, 0):  # three stages and the output convolution, along z
        height = (height + 2 * padding - 3) // 2 + 1
    return lidar.encoder_channels * height, rows // _SPARSE_STRIDE, columns // _SPARSE_STRIDE


def _image_branch(model: ModelConfig) -> dict[str, Any]:
    image = model.image
    vovnet = image.backbone == "vovnet99"
    backbone, channels = _vovnet(image) if vovnet else _resnet(image)
    return {
        "img_backbone": backbone,
        "img_neck": {
            "type": "ImageNeck",
            "in_channels": channels,
            "out_channels": model.head.width,
            "norm": image.neck_norm,
        },
    }


def _vovnet(image: ImageBranchConfig) -> tuple[dict[str, Any], list[int]]:
    """The backbone, and the channels of its maps."""
    backbone = {
        "type": "VoVNet99",
        "out_stages": tuple(image.out_stages),
        "frozen_stages": image.frozen_stages,
        "norm_eval": image.norm_eval,
        "checkpointing": image.checkpointing,
    }
    return backbone, [image.base_channels * (stage + 1) for stage in image.out_stages]


def _resnet(image: ImageBranchConfig) -> tuple[dict[str, Any], list[int]]:
    """The backbone, and the channels of its maps."""
    expansion = 1 if image.depth < 50 else 4
    channels = [image.base_channels * expansion * 2**stage for stage in image.out_stages]
    backbone = {
        "type": "mmdet.ResNet",
        "depth": image.depth,
        "base_channels": image.base_channels,
        "num_stages": max(image.out_stages) + 1,
        "strides": (1, 2, 2, 2)[: max(image.out_stages) + 1],
        "dilations": (1, 1, 1, 1)[: max(image.out_stages) + 1],
        "out_indices": tuple(image.out_stages),
        "frozen_stages": image.frozen_stages,
        "norm_cfg": {"type": "BN", "requires_grad": True},
        "norm_eval": image.norm_eval,
        "with_cp": image.checkpointing,
        "style": "pytorch",
    }
    return backbone, channels


def _head(model: ModelConfig) -> dict[str, Any]:
    head, denoising = model.head, model.head.denoising
    local = head.cross_attention_init == "local"
    return {
        "type": "CmtHead",
        "in_channels": sum(model.lidar.neck_channels) if model.reads_lidar else None,
        "camera": model.reads_camera,
        "queries": head.queries,
        "width": head.width,
        "depth_bins": head.depth_bins,
        "classes": CLASSES,
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
        },
        "task_head": {
            "type": "SeparateTaskHead",
            "width": head.width,
            "layers": head.layers,
            "branches": {
                "center": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2, "cls_logits": CLASSES,
            },
            "hidden": head.task_channels,
            "kernel": head.task_kernel,
            "start_at_reference": local,
        },
        "denoising": {
            "groups": denoising.groups,
            "noise_scale": denoising.noise_scale,
            "noise_trans_m": denoising.noise_trans_m,
            "split": denoising.split,
        },
        "loss": {
            "class_cost": head.class_cost,
            "box_cost": head.box_cost,
            "class_loss": head.class_loss,
            "box_loss": head.box_loss,
            "code_weights": head.code_weights,
            "denoising": denoising.weight,
            "split": denoising.split,
        },
        "max_boxes": head.max_boxes,
        "post_center_range": head.post_center_range_m,
    }  # fmt: skip
