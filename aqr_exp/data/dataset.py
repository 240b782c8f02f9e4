"""Order and random draws of the samples: functions of (seed, epoch, position) alone.

Nothing about the order or the augmentation lives in a worker's or a process's random state, so it does
not depend on the number of loader workers and a resumed run draws what an unbroken one would have drawn.
"""

from collections.abc import Iterator, Mapping, Sequence, Sized
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmdet3d.datasets import NuScenesDataset
from mmdet3d.registry import DATASETS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.data.corruptions.effects import (
    FRAME_CORRUPTIONS,
    POSES,
    displaced_cameras,
    previous_keyframes,
    stale_data,
    with_stale_files,
)
from aqr_exp.data.info_files import BoxRule, draws_of, read_info_file
from aqr_exp.errors import Fault, RequestError


class SampleKey(NamedTuple):
    """Request of a sampler to a data set.

    Attributes:
        sample: Position in the info file.
        epoch: Epoch the sample is drawn for.
        draw: Position in the epoch's order; distinguishes repeated draws of one sample.
    """

    sample: int
    epoch: int
    draw: int


def epoch_order(samples: int, *, seed: int, epoch: int, shuffle: bool) -> np.ndarray:
    """Integer array [samples]: the order of a zero-based epoch; 0, 1, 2, ... without `shuffle`."""
    if not shuffle:
        return np.arange(samples)
    return np.random.default_rng((seed, epoch)).permutation(samples)


def balanced_order(by_class: Sequence[np.ndarray], *, seed: int, epoch: int) -> np.ndarray:
    """Class-balanced resampling (CBGS, Zhu et al., arXiv 1908.09492): integer array [`draws_of`].

    Every class that occurs gives the same number of draws: the sum over the classes of the samples that
    hold one, shared out evenly, each drawn with replacement from the class's samples.
    """
    present = [samples for samples in by_class if len(samples)]
    if not present:
        return np.empty(0, dtype=np.int64)
    rng = np.random.default_rng((seed, epoch, 1))
    share = draws_of([len(samples) for samples in by_class]) // len(present)
    drawn = [samples[rng.integers(len(samples), size=share)] for samples in present]
    return rng.permutation(np.concatenate(drawn))


def paste_rng(seed: int, key: SampleKey) -> np.random.Generator:
    """Generator for ground-truth sampling: its own, so that pasting changes no other draw."""
    return np.random.default_rng((seed, 2, key.epoch, key.draw, key.sample))


def others(seed: int, key: SampleKey, samples: int) -> Iterator[SampleKey]:
    """The requests in the place of one whose sample cannot be used: any of the samples, one by one."""
    rng = np.random.default_rng((seed, 3, key.epoch, key.draw, key.sample))
    return (key._replace(sample=int(rng.integers(samples))) for _ in range(MOST_REDRAWS))


MOST_REDRAWS = 1000
"""Samples without a box, one after another, that no data set has which can be trained on."""


def augmentation_rng(seed: int, key: SampleKey) -> np.random.Generator:
    """Generator for the augmentation of one drawn sample."""
    return np.random.default_rng((seed, 1, key.epoch, key.draw, key.sample))


@DATA_SAMPLERS.register_module()
class KeyedSampler(Sampler[SampleKey]):
    """Yields `SampleKey`s of this process's share of an epoch.

    In training what is left over of a multiple of the processes is not drawn, so that all take the same
    number of steps, which is that of one process; at evaluation every sample is drawn once.

    Args:
        shuffle: True for a random order.
        balanced: Class-balanced resampling; needs shuffling and a data set with `samples_by_class`.
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, seed: int = 0, balanced: bool = False
    ) -> None:
        if balanced and not shuffle:
            raise ValueError("balanced=True needs shuffle=True: it draws samples at random")
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = seed
        self.by_class: list[np.ndarray] | None = (
            dataset.samples_by_class() if balanced else None  # type: ignore[attr-defined]
        )
        self.epoch = 0
        self.done = 0
        self.rank, self.world_size = get_dist_info()

    def set_epoch(self, epoch: int) -> None:
        """Start the next iteration at the beginning of an epoch."""
        self.epoch = epoch
        self.done = 0

    def leave_out(self, samples: int) -> None:
        """Skip the first samples of this process's share in the next iteration."""
        self.done = samples

    def _order(self) -> np.ndarray:
        if self.by_class is not None:
            order = balanced_order(self.by_class, seed=self.seed, epoch=self.epoch)
        else:
            order = epoch_order(
                len(self.dataset), seed=self.seed, epoch=self.epoch, shuffle=self.shuffle
            )
        return order[: len(order) // self.world_size * self.world_size] if self.shuffle else order

    def __iter__(self) -> Iterator[SampleKey]:
        order = self._order()
        first = self.rank + self.done * self.world_size
        for draw in range(first, len(order), self.world_size):
            yield SampleKey(sample=int(order[draw]), epoch=self.epoch, draw=draw)

    def __len__(self) -> int:
        return len(range(self.rank, len(self._order()), self.world_size))


@DATASETS.register_module()
class KeyedNuScenesDataset(NuScenesDataset):
    """mmdet3d's nuScenes data set with three differences.

    Its info file is read without executing anything in it. Samples are requested by `SampleKey` and carry
    their own random generator (`results["rng"]`). An unknown ground-truth velocity stays NaN, where the
    stock class writes zero.

    Args:
        boxes: The fields of the `BoxRule`.
        corruption: Name and severity of the sensor corruption that samples are read under; one in
            time takes a sensor's files from another keyframe.
        **kwargs: As the stock class takes them.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        boxes: Mapping[str, Any] | None = None,
        corruption: tuple[Any, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        self.seed = seed
        self.boxes = BoxRule(**boxes or {})
        self.in_time: CorruptionCase | None = None
        if corruption is not None and corruption[0] in FRAME_CORRUPTIONS:
            self.in_time = CorruptionCase(*corruption)
        # The stock class takes nuScenes' classes alone.
        self.METAINFO = {**NuScenesDataset.METAINFO, "classes": self.boxes.classes}
        super().__init__(filter_empty_gt=False, with_velocity=True, **kwargs)
        self._previous: list[int | None] = []
        if self.in_time is not None:
            self._previous = previous_keyframes([self._info(index) for index in range(len(self))])

    def load_data_list(self) -> list[dict[str, Any]]:
        """Entries of the info file, which the stock class would unpickle whatever it holds.

        Raises:
            RequestError: It is missing, damaged or something else.
        """
        content = read_info_file(Path(self.ann_file))
        own: dict[str, Any] = vars(self)["_metainfo"]
        own.update({key: value for key, value in content["metainfo"].items() if key not in own})
        return [self.parse_data_info(info) for info in content["data_list"]]

    def _info(self, sample: int) -> dict[str, Any]:
        info: dict[str, Any] = self.get_data_info(sample)
        return info

    def _corrupted(self, sample: int) -> dict[str, Any]:
        """One sample's info, with the files a corruption in time puts in the place of its own."""
        info = self._info(sample)
        if self.in_time is None:
            return info
        if self.in_time.corruption == POSES:
            return displaced_cameras(info, self.in_time)
        stale = stale_data(self.in_time, sample, info["token"], self._previous)
        return with_stale_files(info, stale, self._info) if stale else info

    def _names(self) -> dict[int, str]:
        # Files state their own label order: mmdet3d's converter uses another one than CMT.
        return {label: name for name, label in self.metainfo["categories"].items()}

    def parse_ann_info(self, info: dict[str, Any]) -> dict[str, Any]:
        """Boxes [N, 9] (LiDAR frame, metres, m/s) and labels of one entry of the info file.

        Returns:
            `gt_bboxes_3d` (bottom-centre LiDAR boxes with velocity, NaN where unknown) and
            `gt_labels_3d` (int64).
        """
        names = self._names()
        kept = self.boxes.trained_on(info["instances"], names)
        boxes = np.array(
            [[*instance["bbox_3d"], *instance["velocity"]] for instance in kept], dtype=np.float32
        ).reshape(-1, 9)
        return {
            "gt_bboxes_3d": LiDARInstance3DBoxes(boxes, box_dim=9, origin=(0.5, 0.5, 0.5)),
            "gt_labels_3d": np.array(
                [self.boxes.classes.index(names[instance["bbox_label_3d"]]) for instance in kept],
                dtype=np.int64,
            ),
        }

    def samples_by_class(self) -> list[np.ndarray]:
        """For each class in label order, the samples that class-balanced resampling draws for it."""
        names = self._names()
        held = [
            self.boxes.balanced(self.get_data_info(sample)["instances"], names)
            for sample in range(len(self))
        ]
        return [
            np.flatnonzero([name in classes for classes in held]) for name in self.boxes.classes
        ]

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        """Packed `inputs` and `data_samples` of one sample, augmented by its key.

        Raises:
            RequestError: Sample after sample is refused by the pipeline.
        """
        for request in chain([key], others(self.seed, key, len(self))):
            packed = self._packed(request)
            if packed is not None:
                return packed
        rule = f"{MOST_REDRAWS:,} samples drawn one after another have no box to train on"
        raise RequestError(Fault("data.redraw_empty", "true", rule))

    def _packed(self, key: SampleKey) -> dict[str, Any] | None:
        results = self._corrupted(key.sample)
        results["box_type_3d"] = self.box_type_3d
        results["box_mode_3d"] = self.box_mode_3d
        results["rng"] = augmentation_rng(self.seed, key)
        results["paste_rng"] = paste_rng(self.seed, key)
        results["variant_seed"] = (self.seed, 4, key.epoch, key.draw, key.sample)
        if not self.test_mode:
            results.update(results["ann_info"])
        packed: dict[str, Any] | None = self.pipeline(results)
        return packed
