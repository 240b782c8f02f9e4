"""Ground-truth sampling as a pipeline step: points, pictures and boxes of other samples' objects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import LiDARInstance3DBoxes, LiDARPoints

from aqr_exp.data.classes import Modality
from aqr_exp.data.geometry import POINT_FEATURES, inside_boxes
from aqr_exp.data.gt_database.paste import (
    FARTHEST_PX,
    landing_error_px,
    paint,
    sample_objects,
    without_collisions,
)
from aqr_exp.data.gt_database.store import GtDatabase, GtObject, Patch


@TRANSFORMS.register_module()
class PasteObjects(BaseTransform):
    """Fill a training sample up with objects of others, at their places in their own samples.

    A pasted object overlaps no box from above (objects of other categories and without points
    included). The points that were inside its box go, its own come. In every view its patch is moved to
    where this sample's camera sees the box, and painted in the order of depth with what is there.

    Args:
        per_class: Each class is filled up to so many objects.
        min_points: Only objects with so many points are pasted.
        mixup: Share of a patch in the pixels that it covers.
        misfits: `drop` leaves objects out whose pictures fit this sample's cameras to no pixel; `warp`
            fits them.
    """

    def __init__(
        self,
        folder: str,
        per_class: Sequence[int],
        min_points: int,
        sweeps: int,
        mixup: float = 1.0,
        misfits: str = "drop",
    ) -> None:
        self.folder = Path(folder)
        self.per_class = tuple(per_class)
        self.min_points = min_points
        self.sweeps = sweeps
        self.mixup = mixup
        self.misfits = misfits
        self._store: GtDatabase | None = None
        self._pools: list[np.ndarray] = []

    def __getstate__(self) -> dict[str, Any]:
        """Without the open store: every worker maps the files itself."""
        return {**self.__dict__, "_store": None, "_pools": []}

    def _open(self) -> GtDatabase:
        if self._store is None:
            self._store = GtDatabase(self.folder)
            self._pools = self._store.pools(sweeps=self.sweeps, min_points=self.min_points)
        return self._store

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add to `points`, `img`, `gt_bboxes_3d` and `gt_labels_3d`; count the objects in `pasted`."""
        chosen = self._choose(results)
        results["pasted"] = len(chosen)
        if chosen:
            boxes = np.stack([item.box for item in chosen])
            _add_points(results, boxes, chosen)
            if results.get("modal_dropout") is not Modality.CAMERA:  # the images are black
                _add_pictures(results, chosen, self.mixup)
            _add_boxes(results, boxes, chosen)
        return results

    def _choose(self, results: dict[str, Any]) -> list[GtObject]:
        store = self._open()
        present = np.bincount(results["gt_labels_3d"], minlength=len(self.per_class))
        places = sample_objects(self._pools, self.per_class, present, results["paste_rng"])
        kept = without_collisions(
            places, lambda i: store.objects[i]["box"], annotated_boxes(results)
        )
        objects = [store.read(place, sweeps=self.sweeps) for place in kept]
        matrices = results["lidar2img"]
        return [item for item in objects if self.misfits == "warp" or _fits(item, matrices)]


def _fits(item: GtObject, matrices: np.ndarray) -> bool:
    """True if every patch of an object shows its corners within a pixel of the box's."""
    return all(
        landing_error_px(patch, item.box, matrices[patch.view]) <= FARTHEST_PX
        for patch in item.patches
    )


def annotated_boxes(results: dict[str, Any]) -> np.ndarray:
    """[G, 7] every annotated box of a sample, trained on or not."""
    boxes = [instance["bbox_3d"] for instance in results["instances"]]
    return np.array(boxes, dtype=np.float64).reshape(-1, 7)


def _add_points(results: dict[str, Any], boxes: np.ndarray, chosen: Sequence[GtObject]) -> None:
    points = results["points"].tensor.numpy()
    taken = inside_boxes(points[:, :3], boxes[:, :7]).any(axis=0)
    fresh = [item.points[:, :POINT_FEATURES] for item in chosen]
    merged = np.concatenate([points[~taken], *fresh])
    results["points"] = LiDARPoints(merged, points_dim=POINT_FEATURES)


def _add_pictures(results: dict[str, Any], chosen: Sequence[GtObject], mixup: float) -> None:
    there: list[tuple[np.ndarray, Patch | None]] = [(box, None) for box in annotated_boxes(results)]
    for view, matrix in enumerate(results["lidar2img"]):
        shown = [
            (item.box[:7], patch) for item in chosen for patch in item.patches if patch.view == view
        ]
        if shown:
            boxes, patches = zip(*there, *shown, strict=True)
            image = results["img"][view]
            results["img"][view] = paint(image, np.stack(boxes), patches, matrix, mixup)


def _add_boxes(results: dict[str, Any], boxes: np.ndarray, chosen: Sequence[GtObject]) -> None:
    fresh = LiDARInstance3DBoxes(
        torch.as_tensor(boxes, dtype=torch.float32), box_dim=9, origin=(0.5, 0.5, 0.5)
    )
    results["gt_bboxes_3d"] = LiDARInstance3DBoxes.cat([results["gt_bboxes_3d"], fresh])
    labels = np.array([item.label for item in chosen], dtype=np.int64)
    results["gt_labels_3d"] = np.concatenate([results["gt_labels_3d"], labels])
