"""Samples of a split as the model or an observer sees them, and the conditions of their scenes."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from mmengine.dataset import pseudo_collate
from numpy.typing import NDArray

from aqr_exp.analyze.scene_figure import Frame
from aqr_exp.aqr.layout import TokenLayout
from aqr_exp.config.inputs import info_path
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.data.dataset import SampleKey
from aqr_exp.data.nuscenes_tables import Sample, Scene, Tables
from aqr_exp.data.pipeline import (
    augmentation_steps,
    dataset_config,
    keep_in_range_step,
    loading_steps,
    resize_step,
)
from aqr_exp.errors import Fault, RequestError, cut
from aqr_exp.evaluate.records import is_under
from aqr_exp.files.suggest import did_you_mean, some
from aqr_exp.train.runner_config import register_plugins
from aqr_exp.variants.windows import bev_map, camera_map

CONDITIONS = ("clear", "night", "rain", "night and rain")


@dataclass(frozen=True, kw_only=True)
class SceneCondition:
    """A sample's scene, by its token, and the scene's condition, one of `CONDITIONS`."""

    scene: str
    condition: str


def condition_of(description: str) -> str:
    """Condition that a nuScenes scene description names, by the evaluation's rule."""
    night, rain = is_under("night", description), is_under("rain", description)
    if night and rain:
        return "night and rain"
    return "night" if night else "rain" if rain else "clear"


def read_scene_conditions(root: Path, version: str) -> dict[str, SceneCondition]:
    """Scene of each sample token, read from the tables; empty where there are none.

    Raises:
        AqrExpError: A table is damaged.
    """
    tables = Tables(root, version)
    if not tables.path("scene").is_file() or not tables.path("sample").is_file():
        return {}
    conditions = {row.token: condition_of(row.description) for row in tables.rows("scene", Scene)}
    return {
        row.token: SceneCondition(
            scene=row.scene_token, condition=tables.lookup("scene", conditions, row.scene_token)
        )
        for row in tables.rows("sample", Sample)
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotatedSample:
    """One sample, augmented or not.

    Attributes:
        token: Its nuScenes token.
        scene: Its drawing data: token layout, points, images in the stored resolution, matrices, boxes.
        boxes: [G, 9] ground truth (gravity centre, l, w, h, yaw, vx, vy), LiDAR frame, metres.
        labels: [G] their classes.
        classes: Names of all classes.
        pasted: Objects that ground-truth sampling added; some may lie outside the model's range.
        dropped: The sensor that modal dropout took away, `camera` or `lidar`.
    """

    token: str
    scene: Frame
    boxes: Float[NDArray[Any], "boxes 9"]
    labels: Int[NDArray[Any], " boxes"]
    classes: Sequence[str] = NUSCENES.names
    pasted: int = 0
    dropped: str | None = None

    @property
    def names(self) -> list[str]:
        """Class names of the boxes."""
        return [self.classes[label] for label in self.labels]


def token_layout(config: RunConfig) -> TokenLayout:
    """Places of the tokens in the model's feature maps."""
    model = config.model
    bev, camera = bev_map(model), camera_map(model)
    return TokenLayout(
        bev_rows=bev.rows,
        bev_columns=bev.columns,
        bev_origin_m=(model.point_cloud_range_m[0], model.point_cloud_range_m[1]),
        bev_pitch_m=(bev.pitch[1], bev.pitch[0]),
        views=len(config.data.described.cameras),
        camera_rows=camera.rows,
        camera_columns=camera.columns,
        image_size_px=(model.image.height_px, model.image.width_px),
    )


class SampleReader:
    """The samples of one split, clean or corrupted.

    Raises:
        RequestError: There are no info files of the split.
    """

    def __init__(
        self, config: RunConfig, split: str, corruption: CorruptionCase | None = None
    ) -> None:
        from mmdet3d.registry import DATASETS

        infos = info_path(Path(config.data.root), split)
        if not infos.is_file():
            there = sorted(path.stem for path in infos.parent.glob("*.pkl"))
            rule = f"there are no info files of the split '{cut(split)}'"
            hint = f"{did_you_mean(split, there)} (there: {some(there)})"
            raise RequestError(Fault(rule=rule, hint=hint))
        register_plugins()
        self.config = config
        self.split = split
        self.layout = token_layout(config)
        settings = dataset_config(config, split, training=False, corruption=corruption)
        self.model_input = DATASETS.build(settings)
        # With ground truth, unpacked, and at the resolution the images are stored in.
        pipeline = [
            *loading_steps(config, corruption),
            resize_step(_at_full_size(config), training=False),
            keep_in_range_step(config),
        ]
        self.pictures = DATASETS.build({**settings, "pipeline": pipeline, "test_mode": False})

    def __len__(self) -> int:
        return len(self.model_input)

    def batch(self, index: int) -> dict[str, Any]:
        """One sample as the detector takes it at evaluation."""
        return dict(pseudo_collate([self.model_input[self._key(index)]]))

    def sample(self, index: int) -> AnnotatedSample:
        """One sample to look at."""
        seen = self.pictures[self._key(index)]
        model_input = self.model_input[self._key(index)]["data_samples"]
        return self._sample(seen, np.asarray(model_input.lidar2img))

    def augmented(self, index: int, epoch: int) -> AnnotatedSample:
        """One sample as in training, in a zero-based epoch; each epoch draws another augmentation."""
        from mmdet3d.registry import DATASETS

        settings = dataset_config(self.config, self.split, training=True)
        training = DATASETS.build({**settings, "pipeline": augmentation_steps(self.config)})
        seen = training[self._key(index)._replace(epoch=epoch)]
        return self._sample(seen, np.asarray(seen["lidar2img"]))

    def _sample(
        self, seen: dict[str, Any], lidar2img: Float[NDArray[Any], "views 4 4"]
    ) -> AnnotatedSample:
        boxes = seen["gt_bboxes_3d"]
        centred = boxes.tensor.numpy().astype(np.float64)
        centred[:, :3] = boxes.gravity_center.numpy()
        dropped = seen.get("modal_dropout")
        return AnnotatedSample(
            token=str(seen["token"]),
            scene=Frame(
                layout=self.layout,
                points_m=np.asarray(seen["points"].tensor[:, :3]),
                images=[np.ascontiguousarray(i[..., ::-1]).astype(np.uint8) for i in seen["img"]],
                lidar2img=lidar2img,
                boxes_m=centred[:, :7],
                view_names=self.config.data.described.cameras,
            ),
            boxes=centred,
            labels=np.asarray(seen["gt_labels_3d"]),
            classes=self.config.data.described.names,
            pasted=int(seen.get("pasted", 0)),
            dropped=None if dropped is None else dropped.value,
        )

    def check(self, index: int) -> None:
        """Refuse a sample that does not exist.

        Raises:
            RequestError: Says which there are.
        """
        if not 0 <= index < len(self):
            raise RequestError(
                f"sample {index}: the split '{self.split}' has samples 0 to {len(self) - 1}"
            )

    def _key(self, index: int) -> SampleKey:
        self.check(index)
        return SampleKey(index, 0, 0)


def _at_full_size(config: RunConfig) -> RunConfig:
    """The same crop of the images at their stored resolution."""
    image, resize = config.model.image, config.data.augment.test_resize
    if resize >= 1.0:
        return config
    larger = dataclasses.replace(
        image,
        height_px=round(image.height_px / resize),
        width_px=round(image.width_px / resize),
    )
    model = dataclasses.replace(config.model, image=larger)
    augment = dataclasses.replace(config.data.augment, test_resize=1.0)
    data = dataclasses.replace(config.data, augment=augment)
    return dataclasses.replace(config, model=model, data=data)
