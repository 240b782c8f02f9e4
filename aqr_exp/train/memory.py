"""Memory: of this process, as Linux reports it, and of a training step, estimated from shapes."""

import ctypes
import gc
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from aqr_exp.cmt.attention import MultiHeadAttention
from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.cmt.encodings import map_tokens
from aqr_exp.config.schema import ModelConfig, RunConfig
from aqr_exp.train.runner_config import register_plugins

if TYPE_CHECKING:
    from aqr_exp.cmt.detector import CmtDetector

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def forget_peak() -> bool:
    """Measure the peak from here; returns False where the system cannot."""
    try:
        _CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def resident_bytes(*, peak: bool = False) -> int | None:
    """Resident memory now, or its peak since the start or `forget_peak`; None if not reported."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    name = "VmHWM:" if peak else "VmRSS:"
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def give_back_free_memory() -> None:
    """Return memory that was freed, and is kept for later allocations, to the system."""
    gc.collect()
    with suppress(AttributeError, OSError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


_BOXES = 40
"""Boxes of a sample, for the number of denoising queries: nuScenes has about as many."""
_ADAM_COPIES = 4
"""Weights, gradients and AdamW's two moments, all of them float32."""


class _Kept:
    """Bytes that the backward pass will need, each storage once, the parameters left out."""

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        self._own = {parameter.untyped_storage()._cdata for parameter in parameters}  # noqa: SLF001
        self._seen: dict[int, tuple[Tensor, int]] = {}

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._own:  # noqa: SLF001
            # The tensor is held so that no other storage gets the same address.
            self._seen[storage._cdata] = (tensor, storage.nbytes())  # noqa: SLF001
        return tensor

    @property
    def total(self) -> int:
        return sum(size for _, size in self._seen.values())


def estimate(config: RunConfig) -> dict[str, float]:
    """Gigabytes (10^9 bytes) of one process's training step.

    Returns:
        `weights_gb` (with gradients, AdamW's moments and the average, if one is kept), `activations_gb`,
        and their sum `total_gb`.
    """
    from mmdet3d.registry import MODELS

    register_plugins()
    with FakeTensorMode(allow_non_fake_inputs=True):
        detector = MODELS.build(detector_config(config.model)).train()
        detector.single_head = config.schedule.amp_parts == "published"
        parameters = list(detector.parameters())
        kept = _Kept(parameters)
        saving = torch.autograd.graph.saved_tensors_hooks(kept.keep, lambda tensor: tensor)
        half = torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.schedule.amp)
        with saving, half:
            views = len(config.data.described.cameras)
            _forward(detector, config.model, config.samples_at_once, views)
        copies = _ADAM_COPIES + (config.schedule.ema_decay > 0)
        weights = sum(parameter.numel() for parameter in parameters) * 4 * copies
    sizes = {"weights_gb": weights / 1e9, "activations_gb": kept.total / 1e9}
    return sizes | {"total_gb": sum(sizes.values())}


def _forward(detector: "CmtDetector", model: ModelConfig, batch: int, views: int) -> None:
    """The forward pass, but for operations whose shapes follow the content of the data."""
    # The mask is applied at random, and random numbers have no content here.
    detector.grid_mask = None
    bev = camera = None
    if model.reads_lidar:
        canvas = torch.randn(batch, *detector.canvas_shape)
        (bev,) = detector.pts_neck(detector.in_precision(detector.pts_backbone, canvas))
    if model.reads_camera:
        images = torch.randn(batch, views, 3, model.image.height_px, model.image.width_px)
        camera = detector.extract_img_feat(images)
    head: Any = detector.pts_bbox_head
    detector.in_precision(partial(_forward_head, head, model, batch), bev, camera)


def _forward_head(
    head: Any, model: ModelConfig, batch: int, bev: Tensor | None, camera: Tensor | None
) -> None:
    # CUDA's fused kernel drops attention probabilities without holding them.
    for module in head.transformer.modules():
        if isinstance(module, MultiHeadAttention):
            module.dropout = 0.0
    if bev is not None:
        bev = head.shared_conv(bev)
    memory = map_tokens(bev, camera, batch)
    denoising = min(model.head.denoising.groups, model.head.queries // _BOXES) * _BOXES
    queries = model.head.queries + denoising
    encoding = torch.randn(memory.shape, requires_grad=True)
    query_encoding = torch.randn(batch, queries, model.head.width, requires_grad=True)
    blocked = torch.zeros(queries, queries, dtype=torch.bool)
    head.task_heads[0](head.transformer(memory, encoding, query_encoding, blocked).float())
