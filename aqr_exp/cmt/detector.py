"""The CMT detector, its data preprocessor and the grid mask of its images.

Importing this module registers every CMT module with mmdet3d's `MODELS`.

Letters: B samples, V views, N points, H and W image height and width (pixels).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from mmdet3d.models.detectors import Base3DDetector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from torch import Tensor, nn

# Imported for what they register with `MODELS`.
from aqr_exp.cmt import head, image_branch, task_head, transformer  # noqa: F401
from aqr_exp.cmt.box_code import to_lidar_boxes
from aqr_exp.cmt.lidar_branch import POINT_FEATURES, Voxelisation
from aqr_exp.cmt.ranks import (
    SyncedBatchNorm,
    ranks,
    step_samples,
    sum_gradients,
    summed_losses,
)


@MODELS.register_module()
class CmtDataPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device, stacks its images to [B, V, 3, H, W] and normalises them there.

    Args:
        mean: Of each channel (B, G, R), which is subtracted; None, with `std`, of images that arrive
            normalised.
        std: What the rest is divided by.
    """

    def __init__(
        self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        super().__init__(non_blocking=True)  # from pinned memory, without waiting
        for name, values in (("mean", mean), ("std", std)):
            numbers = None if values is None else torch.tensor(values, dtype=torch.float32)
            self.register_buffer(name, numbers, persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:  # noqa: ARG002
        """Prepare one collated batch: `inputs` with `points` and `imgs`, float32, and `data_samples`.

        Args:
            data: `inputs` with `points` (a list of [N, 5] tensors) and `imgs` or `img` (a list of
                [V, 3, H, W] tensors, or one [B, V, 3, H, W], bytes or floats); and `data_samples`.
        """
        data = self.cast_data(data)
        inputs = data["inputs"]
        images = inputs["imgs"] if "imgs" in inputs else inputs["img"]
        if self.mean is not None:
            images = self._normalised(images)
        elif not isinstance(images, torch.Tensor):
            images = torch.stack(list(images))
        points = [sample.float() for sample in inputs["points"]]
        return {
            "inputs": {"points": points, "imgs": images.float()},
            "data_samples": data.get("data_samples"),
        }

    def _normalised(self, images: Sequence[Tensor] | Tensor) -> Tensor:
        """Float32 [B, V, 3, H, W] in the order of the pixels, as convolutions want them."""
        images = [image.movedim(-3, -1) for image in images]
        if len({image.dtype for image in images}) > 1:
            images = [image.float() for image in images]
        pixels = torch.stack(images)
        width = pixels.shape[-2]
        # A row at once: a loop over three channels would cost more than the arithmetic.
        rows = pixels.flatten(-2).to(torch.float32)
        rows = rows.sub_(self.mean.repeat(width)).mul_((1.0 / self.std).repeat(width))
        return rows.unflatten(-1, (width, 3)).movedim(-1, -3)


def grid_mask(
    rows: int, columns: int, period: int, row_phase: int, column_phase: int
) -> Float[Tensor, "rows columns"]:
    """One where the image stays: bars of half a period, horizontal or vertical; zero between."""
    bar = min(max(int(period * 0.5 + 0.5), 1), period - 1)
    row_bar = (torch.arange(rows) + row_phase) % period < bar
    column_bar = (torch.arange(columns) + column_phase) % period < bar
    return (row_bar[:, None] | column_bar[None, :]).float()


class GridMask(nn.Module):
    """With a probability, multiplies all images of a batch by one random grid; training only."""

    def __init__(self, probability: float = 0.7) -> None:
        super().__init__()
        self.probability = probability

    def forward(
        self, images: Float[Tensor, "images channels rows columns"]
    ) -> Float[Tensor, "images channels rows columns"]:
        """Mask the images; all draws come from torch's CPU generator."""
        if not self.training or float(torch.rand(())) > self.probability:
            return images
        rows, columns = images.shape[-2:]
        period = int(torch.randint(2, rows, ()))
        row_phase, column_phase = (int(phase) for phase in torch.randint(period, (2,)))
        return images * grid_mask(rows, columns, period, row_phase, column_phase).to(images)


_META_KEYS = ("lidar2img", "pad_shape")
_TRAIN_META_KEYS = ("modal_dropout", "step_boxes", "step_noise")


def step_parts(data: Mapping[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """This process's collated samples of a step in so many parts.

    They know the boxes of the whole step as `step_boxes` and, where other processes have samples of it
    too, the seed of its noise and the places of the part's samples in it as `step_noise`.
    """
    samples = data["data_samples"]
    boxes = tuple(len(sample.gt_instances_3d.labels_3d) for sample in samples)
    step = step_samples(boxes)
    size = -(-len(samples) // count)
    for first in range(0, len(samples), size):
        part = slice(first, first + size)
        known: dict[str, Any] = {"step_boxes": boxes}
        if step is not None:
            known = {"step_boxes": step.boxes, "step_noise": (step.seed, step.places[part])}
        for sample in samples[part]:
            sample.set_metainfo(known)
        inputs = {name: values[part] for name, values in data["inputs"].items()}
        yield {"inputs": inputs, "data_samples": samples[part]}


@MODELS.register_module()
class CmtDetector(Base3DDetector):
    """CMT (Yan et al., arXiv 2301.01283).

    Args:
        voxelisation: Arguments of `Voxelisation`; None, with all that concerns points, for a detector
            that reads cameras alone.
        pts_middle_encoder: From voxel features to a BEV map.
        canvas_shape: (channels, rows, columns) of that map; it is zero where no sample has a point.
        img_backbone: Image backbone; None, with the neck, for a detector that reads the LiDAR alone.
        accumulate: Parts that the samples of a training step are taken in.
        single_head: Under autocast, keep the LiDAR backbone and the head in single precision, but for
            the core of the cross-attention.
    """

    def __init__(
        self,
        *,
        pts_bbox_head: Mapping[str, Any],
        grid_mask: bool,
        voxelisation: Mapping[str, Any] | None = None,
        pts_voxel_encoder: Mapping[str, Any] | None = None,
        pts_middle_encoder: Mapping[str, Any] | None = None,
        canvas_shape: Sequence[int] = (),
        pts_backbone: Mapping[str, Any] | None = None,
        pts_neck: Mapping[str, Any] | None = None,
        img_backbone: Mapping[str, Any] | None = None,
        img_neck: Mapping[str, Any] | None = None,
        data_preprocessor: Mapping[str, Any] | None = None,
        accumulate: int = 1,
        single_head: bool = False,
    ) -> None:
        super().__init__(
            data_preprocessor=dict(data_preprocessor or {"type": "mmdet3d.CmtDataPreprocessor"})
        )
        self.reads_lidar = voxelisation is not None
        self.reads_cameras = img_backbone is not None
        if voxelisation is not None:
            self.pts_voxel_layer = Voxelisation(**voxelisation)
            self.pts_voxel_encoder = MODELS.build(pts_voxel_encoder)
            self.pts_middle_encoder = MODELS.build(pts_middle_encoder)
            self.canvas_shape = tuple(canvas_shape)
            self.pts_backbone = MODELS.build(pts_backbone)
            self.pts_neck = MODELS.build(pts_neck)
        if img_backbone is not None:
            self.img_backbone = MODELS.build(img_backbone)
            self.img_neck = MODELS.build(img_neck)
        self.pts_bbox_head = MODELS.build(dict(pts_bbox_head))
        self.grid_mask = GridMask() if grid_mask else None
        self.accumulate = accumulate
        self.single_head = single_head

    def train_step(self, data: dict[str, Any], optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Make one step of the optimiser, its samples in parts whose losses add up to the step's.

        The parts are trained one after another, and at a time in as many processes as the training has.
        mmengine's own accumulation counts iterations from the start of a process and steps where they
        equal the run's, which is wrong for a run that is resumed, and gives all parts one weight.

        Returns:
            The losses of the step by name.
        """
        if self.accumulate == ranks() == 1:
            found: dict[str, Tensor] = super().train_step(data, optim_wrapper)
            return found
        logs: dict[str, Tensor] = {}
        for part in step_parts(data, self.accumulate):
            with optim_wrapper.optim_context(self):
                losses = self(**self.data_preprocessor(part, True), mode="loss")
                loss, named = self.parse_losses(losses)
            optim_wrapper.backward(loss)
            logs |= {name: value.detach() + logs.get(name, 0.0) for name, value in named.items()}
        sum_gradients(self)
        optim_wrapper.step()
        optim_wrapper.zero_grad()
        return summed_losses(logs)

    def extract_pts_feat(self, points: Sequence[Float[Tensor, "_ 5"]]) -> Tensor:
        """BEV map, [B, channels, rows (y), columns (x)].

        Args:
            points: [N, 5] (x, y, z in metres, intensity, time in seconds) of each sample; N may be 0.
        """
        with torch.autocast(points[0].device.type, enabled=False):
            voxels = self.pts_voxel_layer(points)
            if len(voxels.points):
                features = self.pts_voxel_encoder(
                    voxels.features, voxels.points, voxels.coordinates
                )
                canvas = self.pts_middle_encoder(features, voxels.coordinates, len(points))
            else:
                canvas = self._empty_canvas(len(points))
        # Channels last: the CPU's convolutions run faster, and maps become tokens without a copy.
        canvas = canvas.contiguous(memory_format=torch.channels_last)
        (bev,) = self.pts_neck(self.in_precision(self.pts_backbone, canvas))
        return bev

    def in_precision(self, part: Callable[..., Any], *maps: Tensor | None) -> Any:
        """Call the LiDAR backbone or the head with the precision that `single_head` gives them."""
        device = self.pts_bbox_head.reference_points.weight.device.type
        if not (self.single_head and torch.is_autocast_enabled(device)):
            return part(*maps)
        for attention in self.pts_bbox_head.transformer.cross_attentions:
            attention.core_dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            found = part(*(None if one is None else one.float() for one in maps))
        for attention in self.pts_bbox_head.transformer.cross_attentions:
            attention.core_dtype = None
        return found

    def _empty_canvas(self, batch: int) -> Tensor:
        """The encoders' map of clouds without points: zeros, which their parameters still reach."""
        canvas = next(self.pts_backbone.parameters()).new_zeros(batch, *self.canvas_shape)
        encoders = (self.pts_voxel_encoder, self.pts_middle_encoder)
        norms = [
            module
            for encoder in encoders
            for module in encoder.modules()
            if isinstance(module, SyncedBatchNorm)
        ]
        if self.training and norms and ranks() > 1:
            # Other ranks may have points, and their norms wait for those of this one.
            for norm in norms:
                norm.idle = True
            layer = self.pts_voxel_layer
            points = canvas.new_zeros(1, layer.max_points, POINT_FEATURES)
            place = torch.zeros(1, 4, dtype=torch.long, device=canvas.device)
            features = self.pts_voxel_encoder(points, place.new_ones(1), place)
            canvas = canvas + 0.0 * self.pts_middle_encoder(features, place, batch)
            for norm in norms:
                norm.idle = False
            return canvas
        return canvas + sum(0.0 * p.sum() for module in encoders for p in module.parameters())

    def extract_img_feat(self, images: Float[Tensor, "batch views 3 height width"]) -> Tensor:
        """Camera maps, [B V, channels, rows, columns]."""
        flat = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        if self.grid_mask is not None:
            flat = self.grid_mask(flat)
        return self.img_neck(self.img_backbone(flat))

    def extract_feat(self, batch_inputs: Mapping[str, Any]) -> tuple[Tensor | None, Tensor | None]:
        """BEV and camera maps of a batch, None for a sensor that is not read; see `loss`."""
        return (
            self.extract_pts_feat(batch_inputs["points"]) if self.reads_lidar else None,
            self.extract_img_feat(batch_inputs["imgs"]) if self.reads_cameras else None,
        )

    def head_outputs(
        self, inputs: Mapping[str, Any], metas: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Raw outputs of the head, for the metas of each sample; see `loss`."""
        if self.pts_bbox_head.aqr is not None and self.pts_bbox_head.aqr.reads_colour:
            # In the order of the channels: that of a sum decides on its last digits.
            colours = inputs["imgs"].contiguous().mean(dim=(1, 3, 4))
            metas = [{**meta, "mean_colour": c} for meta, c in zip(metas, colours, strict=True)]
        outputs: dict[str, Any] = self.in_precision(
            lambda *maps: self.pts_bbox_head(*maps, metas), *self.extract_feat(inputs)
        )
        return outputs

    def loss(
        self,
        batch_inputs_dict: Mapping[str, Any],
        batch_data_samples: list[Det3DDataSample],
        **_: Any,
    ) -> dict[str, Tensor]:
        """Losses of a batch by name; their sum is trained.

        Args:
            batch_inputs_dict: `points`, a list of [N, 5]; `imgs`, [B, V, 3, H, W].
            batch_data_samples: With `lidar2img`, `pad_shape` and `gt_instances_3d`.
        """
        metas = [
            self._meta(sample)
            | {
                "gt_bboxes_3d": sample.gt_instances_3d.bboxes_3d,
                "gt_labels_3d": sample.gt_instances_3d.labels_3d,
            }
            | {key: sample.metainfo[key] for key in _TRAIN_META_KEYS if key in sample.metainfo}
            for sample in batch_data_samples
        ]
        return self.pts_bbox_head.loss(self.head_outputs(batch_inputs_dict, metas), metas)

    def predict(
        self,
        batch_inputs_dict: Mapping[str, Any],
        batch_data_samples: list[Det3DDataSample],
        **_: Any,
    ) -> list[Det3DDataSample]:
        """Give samples `pred_instances_3d`: `bboxes_3d`, `scores_3d` (float32, descending), `labels_3d`.

        Args:
            batch_data_samples: With `lidar2img`, `pad_shape` and `box_type_3d`.
        """
        metas = [self._meta(sample) for sample in batch_data_samples]
        detections = self.pts_bbox_head.decode(self.head_outputs(batch_inputs_dict, metas))
        for sample, found in zip(batch_data_samples, detections, strict=True):
            sample.pred_instances_3d = InstanceData(
                bboxes_3d=to_lidar_boxes(found.boxes, sample.metainfo["box_type_3d"]),
                scores_3d=found.scores,
                labels_3d=found.labels,
            )
        return batch_data_samples

    def _forward(
        self,
        batch_inputs_dict: Mapping[str, Any],
        batch_data_samples: list[Det3DDataSample] | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """The head's raw outputs."""
        metas = [self._meta(sample) for sample in batch_data_samples or ()]
        return self.head_outputs(batch_inputs_dict, metas)

    @staticmethod
    def _meta(sample: Det3DDataSample) -> dict[str, Any]:
        missing = [key for key in _META_KEYS if key not in sample.metainfo]
        if missing:
            raise KeyError(f"a data sample lacks {', '.join(missing)} in its metainfo")
        return {key: sample.metainfo[key] for key in _META_KEYS}


def register_modules() -> None:
    """Register CMT's modules, as importing this module did, and the stock ones they are built from."""
    import mmdet3d.models  # noqa: F401
