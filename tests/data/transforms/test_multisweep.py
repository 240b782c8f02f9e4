"""Merged sweeps against the devkit's own merging, which goes through poses and not through info files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmdet3d.registry import DATASETS

from aqr_exp.config.load import load_run
from aqr_exp.data.dataset import SampleKey
from aqr_exp.data.geometry import without_ego
from aqr_exp.data.pipeline import dataset_config
from aqr_exp.data.transforms.sensors import LoadLidarSweeps
from aqr_exp.train.runner_config import register_plugins


@pytest.fixture(scope="module")
def dataset(synth_root: Path) -> Any:
    register_plugins()
    config = load_run("baseline", [f"data.root={str(synth_root)!r}", "data.sweeps=10"])
    settings = dataset_config(config, "synth_train", training=False)
    step = {"type": "LoadLidarSweeps", "sweeps": 10, "ego_points": False}
    assert step in settings["pipeline"]
    return DATASETS.build({**settings, "pipeline": []})


@pytest.mark.parametrize(
    ("sweeps", "ego_points"), [(0, False), (1, False), (10, False), (10, True)]
)
def test_points_and_times_are_the_devkits(
    dataset: Any, nusc: Any, sweeps: int, ego_points: bool
) -> None:
    from nuscenes.utils.data_classes import LidarPointCloud

    merged = moved = 0
    for index in range(len(dataset)):
        results = dataset[SampleKey(index, 0, 0)]
        sample = nusc.get("sample", results["token"])
        available = len(results["lidar_sweeps"])
        cloud, times = LidarPointCloud.from_file_multisweep(
            nusc,
            sample,
            "LIDAR_TOP",
            "LIDAR_TOP",
            nsweeps=sweeps + 1,
            min_distance=0.0 if ego_points else 1.0,
        )
        step = LoadLidarSweeps(sweeps, ego_points=ego_points)
        ours = step.transform(results)["points"].tensor.numpy()
        keyframe = ours[:, 4] == 0
        if not ego_points:  # The devkit takes the ego vehicle out of the keyframe, too.
            ours = np.concatenate([without_ego(ours[keyframe]), ours[~keyframe]])
        np.testing.assert_allclose(ours[:, :4], cloud.points.T, atol=2e-4)
        np.testing.assert_allclose(ours[:, 4], times[0], atol=1e-5)
        assert len(np.unique(times.round(4))) == 1 + min(sweeps, available)
        merged += int((~keyframe).sum())
        moved += int(np.linalg.norm(np.subtract(*_places(nusc, sample))) > 0.3)
    assert (merged > 0) == (sweeps > 0)
    assert moved > 0  # else compensation would not be seen


def _places(nusc: Any, sample: dict[str, Any]) -> list[np.ndarray]:
    """Where the vehicle was at a keyframe and at the sweep before it."""
    row = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
    before = nusc.get("sample_data", row["prev"] or row["token"])
    return [
        np.array(nusc.get("ego_pose", each["ego_pose_token"])["translation"])
        for each in (row, before)
    ]
