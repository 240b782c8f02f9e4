"""The CMT head: encodings, transformer, task head, losses and decoding.

Letters: B samples, V views, Q learnable queries, P denoising slots (in training, first), C width,
L decoder layers, H and W rows and columns of a feature map.
"""

import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Float
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from aqr_exp.aqr import CameraMaps, Points
from aqr_exp.aqr.layout import TokenLayout
from aqr_exp.cmt import encodings
from aqr_exp.cmt.box_code import Detections, decode_sample, from_lidar_boxes, join_branches
from aqr_exp.cmt.denoising import DenoisingQueries, DenoisingSettings, make_denoising_queries
from aqr_exp.cmt.dense_supervision import DenseSupervision
from aqr_exp.cmt.encodings import encode_positions, map_tokens
from aqr_exp.cmt.hooks import Hooks
from aqr_exp.cmt.local_start import start_locally, start_reference_points
from aqr_exp.cmt.losses import LossWeights, denoising_losses, matched_losses
from aqr_exp.cmt.transformer import BiasForLayer
from aqr_exp.cmt.variant_module import (
    ForwardContext,
    Recentre,
    Targets,
    VariantModule,
    VariantRecord,
    usable_sensors,
)
from aqr_exp.files.own_code import call_own


def _embedding(inputs: int, hidden: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, width))


def _stacked(metas: Sequence[Mapping[str, Any]], name: str) -> Tensor | None:
    """One entry of the metas of all samples; None where they lack it."""
    return torch.stack([meta[name] for meta in metas]) if name in metas[0] else None


@MODELS.register_module()
class CmtHead(nn.Module):
    """Object queries read BEV and camera tokens, or those of one sensor, and become boxes.

    Args:
        in_channels: Channels of the BEV map; None for a head that reads cameras alone.
        point_cloud_range: (x, y, z, x, y, z) in metres.
        bev_pitch_m: (x, y) true size of a BEV cell in metres.
        denoising: Arguments of `DenoisingSettings`, but range and classes.
        loss: Arguments of `LossWeights`.
        post_center_range: Decoded centres outside are dropped, metres.
        local_start: Initialise so that attention begins near each query's own position.
        dense_supervision: Weight of the auxiliary supervision of the feature maps; 0 is without.
        variant: `path` of a `VariantModule` (`package.module:Class`) and its `arguments`; None is the
            baseline, whose parameters every variant shares.
        camera: False for a head without camera maps.
    """

    def __init__(
        self,
        *,
        in_channels: int | None,
        queries: int,
        width: int,
        depth_bins: int,
        classes: int,
        point_cloud_range: Sequence[float],
        bev_pitch_m: Sequence[float],
        transformer: Mapping[str, Any],
        task_head: Mapping[str, Any],
        denoising: Mapping[str, Any],
        loss: Mapping[str, Any],
        max_boxes: int,
        post_center_range: Sequence[float],
        local_start: bool = False,
        dense_supervision: float = 0.0,
        variant: Mapping[str, Any] | None = None,
        camera: bool = True,
    ) -> None:
        super().__init__()
        self.width = width
        self.depth_bins = depth_bins
        self.point_cloud_range = tuple(point_cloud_range)
        self.bev_pitch_m = (bev_pitch_m[0], bev_pitch_m[1])
        self.max_boxes = max_boxes
        self.post_center_range = tuple(post_center_range)
        area = self.point_cloud_range
        self.denoising = DenoisingSettings(**denoising, point_cloud_range=area, classes=classes)
        self.loss_weights = LossWeights(**loss)
        self.shared_conv = None
        if in_channels is not None:
            self.shared_conv = ConvModule(
                in_channels, width, 3, padding=1, norm_cfg={"type": "BN2d"}
            )
        self.transformer = MODELS.build(dict(transformer))
        self.layers = int(transformer["layers"])
        self.reference_points = nn.Embedding(queries, 3)
        nn.init.uniform_(self.reference_points.weight)
        self.bev_embedding = _embedding(2 * width, width, width)
        self.rv_embedding = _embedding(3 * depth_bins, 4 * width, width) if camera else None
        self.task_heads = nn.ModuleList([MODELS.build(dict(task_head))])
        self.dense_supervision = None
        if dense_supervision > 0.0:
            self.dense_supervision = DenseSupervision(width, classes, area, dense_supervision)
        if local_start and self.rv_embedding is not None:
            start_reference_points(self.reference_points.weight)
            start_locally(
                bev_embedding=self.bev_embedding,
                ray_embedding=self.rv_embedding,
                cross_attentions=self.transformer.cross_attentions,
                point_cloud_range=self.point_cloud_range,
            )
        # What a variant draws must not shift the draws of what it shares with the baseline.
        with torch.random.fork_rng():
            self.aqr: VariantModule | None = None
            if variant is not None:
                made = partial(pkgutil.resolve_name(variant["path"]), **variant["arguments"])
                self.aqr = call_own(made, "__init__")
        self.hooks = Hooks(self.aqr)
        self.transformer.attend_by("auto" if self.aqr is None else self.aqr.attention)

    def forward(
        self,
        bev: Float[Tensor, "batch channels rows columns"] | None,
        camera: CameraMaps | None,
        metas: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        """Detect.

        Args:
            bev: BEV map; None where the LiDAR is not read.
            camera: Camera maps, [B V, C, H, W]; None where no camera is read.
            metas: Of each sample: `lidar2img` (V x 4 x 4, after augmentation) and `pad_shape`; in
                training also `gt_bboxes_3d` and `gt_labels_3d`, from which denoising queries come.

        Returns:
            [L, B, Q, d] tensors: `center` (x, y) and `height` in metres, `dim`, `rot`, `vel`,
            `cls_logits` (`box_code` says what the box branches mean together). In training with
            ground truth also `dn_*`, [L, B, P, d], and `denoising`, the `DenoisingQueries`; with a
            variant also `aqr_weights`, [B, Q, 2].
        """
        denoising, hooks = self._denoising(metas), self.hooks
        if self.shared_conv is not None:
            bev = self.shared_conv(bev)
        hooks.begin(bev, camera)
        reference = self.reference_points.weight.expand(len(metas), -1, -1)
        if "reference_points" in hooks:
            (reference,) = hooks.tensors(
                "reference_points", [reference.shape], reference, bev, camera
            )
        if denoising is not None:
            reference = torch.cat((denoising.reference, reference), dim=1)
        device = self.reference_points.weight.device
        with torch.autocast(device.type, enabled=False):
            key_pos, query_pos = encode_positions(
                self.bev_embedding, self.rv_embedding, bev, camera, reference.float(), metas,
                width=self.width, depth_bins=self.depth_bins, point_cloud_range=self.point_cloud_range,
            )  # fmt: skip
        extras: dict[str, Any] = {}
        context = bias = score_scale = None
        if hooks.read_context and bev is not None and camera is not None:
            context = ForwardContext(
                tokens=cache(partial(map_tokens, bev, camera, len(metas))),
                key_pos=key_pos,
                query_pos=query_pos,
                points_m=encodings.denormalise_points(reference.detach(), self.point_cloud_range),
                lidar2img=encodings.projection_matrices(metas, device)[0],
                layout=self._layout(bev, camera, metas),
                first_query=0 if denoising is None else denoising.slots,
                mean_colour=_stacked(metas, "mean_colour"),
            )
            bev, camera = self._changed_maps(context, bev, camera)
            query_pos = self._changed_queries(context)
            bias, score_scale = self._score_terms(context, reference)
            if context.weights is not None:
                extras["aqr_weights"] = context.weights[:, context.first_query :]
        decoded = self.transformer(
            map_tokens(bev, camera, len(metas)), key_pos, query_pos,
            None if denoising is None else denoising.blocked, bias, score_scale,
        )  # fmt: skip
        if context is not None and "decoded" in hooks:
            decoded = self._changed_outputs(context, decoded)
        with torch.autocast(device.type, enabled=False):
            outputs = self._predict(decoded.float(), reference.float())
        if self.training and (self.dense_supervision is not None or "losses" in hooks):
            extras |= {"bev_map": bev, "camera_map": camera}
        if self.training and "losses" in hooks:
            extras["decoded"] = decoded[:, :, 0 if denoising is None else denoising.slots :]
        if denoising is None:
            return outputs | extras
        slots = denoising.slots
        split: dict[str, Any] = {name: value[:, :, slots:] for name, value in outputs.items()}
        split |= {f"dn_{name}": value[:, :, :slots] for name, value in outputs.items()}
        split["denoising"] = denoising
        return split | extras

    def _changed_maps(
        self, context: ForwardContext, bev: Tensor, camera: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The maps as the hooks change them; before that, the context gets its weights."""
        hooks = self.hooks
        if "query_weights" in hooks:
            with torch.autocast(bev.device.type, enabled=False):
                weights = hooks.call("query_weights", context)
            if weights is not None:
                hooks.check("query_weights", weights, (*context.points_m.shape[:2], 2))
                if self.aqr is not None and self.aqr.record is not None:
                    self.aqr.record.add_weights(weights, context.first_query)
            context.weights = weights
        if "features" in hooks:
            shapes = bev.shape, camera.shape
            bev, camera = hooks.tensors("features", shapes, context.learnable, bev, camera)
        return bev, camera

    def _changed_queries(self, context: ForwardContext) -> Tensor:
        if "queries" in self.hooks:
            first, seen = context.first_query, context.learnable
            (changed,) = self.hooks.tensors("queries", [seen.query_pos.shape], seen)
            seen.query_pos = changed
            context.query_pos = torch.cat((context.query_pos[:, :first], changed), dim=1)
        return context.query_pos

    def _score_terms(
        self, context: ForwardContext, reference: Points
    ) -> tuple[BiasForLayer | None, Tensor | None]:
        """The bias of the cross-attention's scores, and their factor, 1 for denoising queries."""
        hooks, bias, factor = self.hooks, None, None
        if "bias_for_layer" in hooks:
            bias = hooks.biases(context, self._recentre(reference.float()))
        if "score_scale" in hooks:
            shape = context.learnable.points_m.shape[:2]
            (factor,) = hooks.tensors("score_scale", [shape], context.learnable)
            factor = functional.pad(factor, (context.first_query, 0), value=1.0)
        return bias, factor

    def _changed_outputs(self, context: ForwardContext, decoded: Tensor) -> Tensor:
        first = context.first_query
        learnable = decoded[:, :, first:]
        (changed,) = self.hooks.tensors("decoded", [learnable.shape], context.learnable, learnable)
        return torch.cat((decoded[:, :, :first], changed), dim=2) if first else changed

    def _denoising(self, metas: Sequence[Mapping[str, Any]]) -> DenoisingQueries | None:
        if not self.training or "gt_bboxes_3d" not in metas[0]:
            return None
        queries = self.reference_points.num_embeddings
        boxes, labels = self._ground_truth(metas)
        step = metas[0].get("step_boxes")
        noise = metas[0].get("step_noise")
        return make_denoising_queries(boxes, labels, queries, self.denoising, step, noise)

    def _ground_truth(
        self, metas: Sequence[Mapping[str, Any]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Gravity-centred boxes of each sample, and their labels."""
        device = self.reference_points.weight.device
        boxes = [from_lidar_boxes(meta["gt_bboxes_3d"]).to(device) for meta in metas]
        return boxes, [meta["gt_labels_3d"].to(device) for meta in metas]

    def _layout(
        self, bev: Tensor, camera: Tensor, metas: Sequence[Mapping[str, Any]]
    ) -> TokenLayout:
        """The layout of the tokens; the pitch is the true one, whatever the encodings assume."""
        return TokenLayout(
            bev_rows=bev.shape[2],
            bev_columns=bev.shape[3],
            bev_origin_m=(self.point_cloud_range[0], self.point_cloud_range[1]),
            bev_pitch_m=self.bev_pitch_m,
            views=camera.shape[0] // bev.shape[0],
            camera_rows=camera.shape[2],
            camera_columns=camera.shape[3],
            image_size_px=encodings.padded_image_size(metas),
        )

    def _recentre(self, reference: Points) -> Recentre:
        """Predict the centres of the boxes from the output of one layer."""

        @torch.no_grad()
        def centres(layer: int, decoded: Tensor) -> Tensor:
            # The task head takes the outputs of all layers at once; only one of them is there yet.
            every = decoded.float().expand(self.layers, *decoded.shape)
            predicted = self._predict(every, reference)
            code = join_branches({name: value[layer] for name, value in predicted.items()})
            return code[..., [0, 1, 4]]

        return centres

    def _predict(
        self, decoded: Float[Tensor, "layers batch queries width"], reference: Points
    ) -> dict[str, Tensor]:
        """Task head, with centres and heights as offsets from the reference points, in metres."""
        outputs = self.task_heads[0](decoded)
        anchor = encodings.inverse_sigmoid(reference)
        place = torch.cat((outputs["center"], outputs["height"]), dim=-1) + anchor
        place = encodings.denormalise_points(place.sigmoid(), self.point_cloud_range)
        return outputs | {"center": place[..., :2], "height": place[..., 2:3]}

    def loss(
        self, predicted: Mapping[str, Any], metas: Sequence[Mapping[str, Any]]
    ) -> dict[str, Tensor]:
        """Losses of the outputs.

        Args:
            metas: With `gt_bboxes_3d` and `gt_labels_3d` of each sample; with `step_boxes`, the boxes
                of each sample of the step, where these samples are a part of it.

        Returns:
            Losses by name, float32, which add up to the step's; `dn_*` only where there are denoising
            queries.
        """
        boxes, labels = self._ground_truth(metas)
        step = metas[0].get("step_boxes")
        share = 1.0 if step is None else len(metas) / len(step)
        with torch.autocast(boxes[0].device.type, enabled=False):
            losses = matched_losses(
                predicted["cls_logits"], join_branches(predicted), labels, boxes,
                self.loss_weights, step,
            )  # fmt: skip
            if "denoising" in predicted:
                losses |= denoising_losses(
                    predicted["dn_cls_logits"], join_branches(predicted, "dn_"),
                    predicted["denoising"], self.loss_weights, step,
                )  # fmt: skip
            if self.dense_supervision is not None and "bev_map" in predicted:
                maps = predicted["bev_map"].float(), predicted["camera_map"].float()
                means = self.dense_supervision(*maps, boxes, labels, metas)
                losses |= {name: share * loss for name, loss in means.items()}
            if "losses" in self.hooks:
                targets = Targets(boxes=boxes, labels=labels, usable=usable_sensors(metas))
                means = self.hooks.losses(predicted, targets, taken=losses)
                losses |= {name: share * loss for name, loss in means.items()}
        self.hooks.check_finite()
        return losses

    def observe(self, record: VariantRecord | None) -> None:
        """Record what the variant does from the next forward pass on; None ends that."""
        if self.aqr is not None:
            self.aqr.record = record
        for attention in self.transformer.cross_attentions:
            attention.observer = None if record is None else record.attention.append

    def decode(self, predicted: Mapping[str, Any]) -> list[Detections]:
        """Boxes of each sample, from the last decoder layer."""
        self.hooks.check_finite()
        logits, codes = predicted["cls_logits"][-1], join_branches(predicted)[-1]
        return [
            decode_sample(*sample, self.max_boxes, self.post_center_range)
            for sample in zip(logits, codes, strict=True)
        ]
