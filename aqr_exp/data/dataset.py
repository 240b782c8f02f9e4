"""The training data set: mmdet3d's own nuScenes reader, keyed for exact repeatability."""

from typing import Any

import numpy as np
from mmdet3d.datasets import NuScenesDataset
from mmdet3d.registry import DATASETS
from mmdet3d.structures import LiDARInstance3DBoxes

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.data.epoch_length import trained_on
from aqr_exp.data.failures.case import FailureCase
from aqr_exp.data.failures.frames import (
    FRAME_FAILURES,
    previous_keyframes,
    stale_data,
    with_stale_files,
)
from aqr_exp.data.sampling import SampleKey, augmentation_rng, paste_rng


@DATASETS.register_module()
class KeyedNuScenesDataset(NuScenesDataset):
    """mmdet3d's nuScenes data set with two differences.

    Samples are asked for by `SampleKey` and carry their own random generator (`results["rng"]`), and an
    unknown ground-truth velocity stays NaN for the loss to mask, where the stock class writes zero and
    so teaches that the object stands still.

    Args:
        seed: The run's seed.
        min_box_points: Training boxes with fewer LiDAR and radar points are left out.
        failure: Name and severity of the sensor failure that samples are read under; one in time
            takes a sensor's files from another keyframe.
        **kwargs: As the stock class takes them.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        min_box_points: int = 1,
        failure: tuple[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.seed = seed
        self.min_box_points = min_box_points
        self.in_time: FailureCase | None = None
        if failure is not None and failure[0] in FRAME_FAILURES:
            self.in_time = FailureCase(failure=failure[0], severity=failure[1])
        super().__init__(filter_empty_gt=False, with_velocity=True, **kwargs)
        self._previous: list[int | None] = []
        if self.in_time is not None:
            self._previous = previous_keyframes([self._info(index) for index in range(len(self))])

    def _info(self, sample: int) -> dict[str, Any]:
        info: dict[str, Any] = self.get_data_info(sample)
        return info

    def _failed(self, sample: int) -> dict[str, Any]:
        """One sample's info, with the files a failure in time puts in the place of its own."""
        info = self._info(sample)
        if self.in_time is None:
            return info
        stale = stale_data(self.in_time, sample, info["token"], self._previous)
        return with_stale_files(info, stale, self._info(stale.sample)) if stale else info

    def parse_ann_info(self, info: dict[str, Any]) -> dict[str, Any]:
        """Boxes [N, 9] (LiDAR frame, metres, m/s) and labels of one sample.

        Args:
            info: One entry of the info file's data list.

        Returns:
            `gt_bboxes_3d` (bottom-centre LiDAR boxes with velocity, NaN where unknown) and
            `gt_labels_3d` (int64).
        """
        # Files state their own label order: mmdet3d's converter uses another one than CMT.
        names = {label: name for name, label in self.metainfo["categories"].items()}
        kept = trained_on(info["instances"], names, self.min_box_points)
        boxes = np.array(
            [[*instance["bbox_3d"], *instance["velocity"]] for instance in kept], dtype=np.float32
        ).reshape(-1, 9)
        return {
            "gt_bboxes_3d": LiDARInstance3DBoxes(boxes, box_dim=9, origin=(0.5, 0.5, 0.5)),
            "gt_labels_3d": np.array(
                [CLASS_NAMES.index(names[instance["bbox_label_3d"]]) for instance in kept],
                dtype=np.int64,
            ),
        }

    def samples_by_class(self) -> list[np.ndarray]:
        """For each class in label order, the samples with a box of it that is trained on."""
        holds = np.zeros((len(self), len(CLASS_NAMES)), dtype=bool)
        for sample in range(len(self)):
            labels = self.parse_ann_info(self.get_data_info(sample))["gt_labels_3d"]
            holds[sample, labels] = True
        return [np.flatnonzero(column) for column in holds.T]

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        """One sample, augmented as its key says.

        Args:
            key: From a `KeyedSampler`.

        Returns:
            What the pipeline packs: `inputs` and `data_samples`.
        """
        results = self._failed(key.sample)
        results["box_type_3d"] = self.box_type_3d
        results["box_mode_3d"] = self.box_mode_3d
        results["rng"] = augmentation_rng(self.seed, key)
        results["paste_rng"] = paste_rng(self.seed, key)
        if not self.test_mode:
            results.update(results["ann_info"])
        return self.pipeline(results)
