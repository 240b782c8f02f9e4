"""A trained run, opened to look inside: its model, and what its arm does with a sample."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aqr_exp.aqr.bias import LocalBias
from aqr_exp.cmt.arm_record import ArmRecord
from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.config.identity import from_spec
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import RequestError
from aqr_exp.results.run_folder import RunFolder
from aqr_exp.train.checkpoint import load_newest
from aqr_exp.train.plugins import register_plugins


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedRun:
    """A run with its newest weights.

    Attributes:
        folder: Its folder.
        config: What it was.
        detector: In evaluation mode, on the CPU.
    """

    folder: RunFolder
    config: RunConfig
    detector: nn.Module

    @property
    def references_m(self) -> Tensor:
        """[Q, 3] reference points of the learnable queries, LiDAR frame, metres."""
        from aqr_exp.cmt.encodings import denormalise_points

        head: Any = self.detector.pts_bbox_head
        points: Tensor = head.reference_points.weight.detach()
        return denormalise_points(points, head.point_cloud_range)

    @torch.no_grad()
    def observe(self, batch: Mapping[str, Any]) -> ArmRecord:
        """What the arm does with one batch.

        Args:
            batch: As `Samples.batch` gives it.
        """
        head: Any = self.detector.pts_bbox_head
        record = ArmRecord()
        head.aqr.record = record
        for attention in head.transformer.cross_attentions:
            attention.attn.observer = record.see_attention
        try:
            self.detector.test_step(dict(batch))  # type: ignore[operator]
        finally:
            head.aqr.record = None
            for attention in head.transformer.cross_attentions:
                attention.attn.observer = None
        return record


def open_run(folder: RunFolder) -> TrainedRun:
    """Build a run's detector and load its newest intact checkpoint.

    Args:
        folder: The run's folder.

    Raises:
        RequestError: The variant has no weights to look at, or there is no checkpoint.
    """
    config = from_spec(folder.read_spec())
    if config.variant.router is None:
        raise RequestError(
            f"{folder.name}: variant '{config.variant.name.value}' has no modality weights "
            "(variants that have: renderer_modulator, attention_bias)"
        )
    state = load_newest(folder.checkpoints_dir)
    if state is None:
        raise RequestError(f"{folder.name}: {folder.checkpoints_dir} holds no checkpoint")
    from mmdet3d.registry import MODELS
    from mmengine.registry import init_default_scope

    register_plugins()
    init_default_scope("mmdet3d")
    detector = MODELS.build(detector_config(config))
    detector.load_state_dict(state["model"])
    return TrainedRun(folder=folder, config=config, detector=detector.eval())


def last_local_bias(record: ArmRecord) -> LocalBias | None:
    """The bias of the last decoder layer; None without one, or where it is not one of windows."""
    if not record.biases:
        return None
    bias = record.biases[-1]
    return bias if isinstance(bias, LocalBias) else None
