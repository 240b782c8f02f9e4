"""Windows on the real nuScenes frame: their cells against the pickle's own matrices."""

import pickle

import numpy as np
import pytest
import torch

from aqr_exp.aqr.layout import TokenLayout, locate_queries
from aqr_exp.aqr.windows import gather_windows

pytestmark = pytest.mark.real_frame

# The published r50 setting: views halved to 800 x 450 pixels, of which the upper 130 rows go.
SCALE, CUT_PX = 0.5, 130
LAYOUT = TokenLayout(
    bev_rows=128,
    bev_columns=128,
    bev_origin_m=(-54.0, -54.0),
    bev_pitch_m=(0.8, 0.8),
    views=6,
    camera_rows=20,
    camera_columns=50,
    image_size_px=(320, 800),
)


@pytest.fixture(scope="module")
def sample(real_frame_dir):
    (sample,) = pickle.loads(next(real_frame_dir.glob("*.pkl")).read_bytes())["data_list"]
    return sample


@pytest.fixture(scope="module")
def loaded(real_frame_root):
    """The frame as the pipeline loads it, its scene still where the pickle has it."""
    from mmdet3d.registry import DATASETS

    from aqr_exp.config.load import load_run
    from aqr_exp.data.dataset import SampleKey
    from aqr_exp.data.pipeline import dataset_config
    from aqr_exp.data.transforms.sensors import LoadImages
    from aqr_exp.train.runner_config import register_plugins

    register_plugins()
    config = load_run("baseline", [f"data.root={str(real_frame_root)!r}"])
    dataset = DATASETS.build({**dataset_config(config, "frame", training=True), "pipeline": []})
    return LoadImages().transform(dataset[SampleKey(0, 0, 0)])


def ten_centres(sample):
    """Ten box centres on the BEV map, those in two views first: the lists would be easy otherwise."""
    centres = [np.array(instance["bbox_3d"][:3]) for instance in sample["instances"]]
    centres = [centre for centre in centres if (abs(centre[:2]) < 48).all()]
    centres.sort(key=lambda centre: -len(tokens_by_hand(sample, centre)))
    return np.stack(centres[:5] + centres[-5:])


def tokens_by_hand(sample, centre):
    """{view: (row, column)} of a centre, one matrix product at a time, from the pickle's matrices."""
    from aqr_exp.data.classes import CAMERA_NAMES

    tokens = {}
    for view, name in enumerate(CAMERA_NAMES):
        camera = sample["images"][name]
        in_camera = np.array(camera["lidar2cam"]) @ [*centre, 1.0]
        u, v, depth = np.array(camera["cam2img"]) @ in_camera[:3]
        column, row = SCALE * u / depth / 16, (SCALE * v / depth - CUT_PX) / 16
        if depth > 0 and 0 <= row < 20 and 0 <= column < 50:
            tokens[view] = (int(row), int(column))
    return tokens


def resized(results):
    from aqr_exp.data.transforms.geometry import ResizeCropFlipImages

    step = ResizeCropFlipImages(320, 800, (0.47, 0.625), SCALE, flip=True, training=False)
    return torch.from_numpy(np.stack(step.transform(results)["lidar2img"])).float()[None]


def check_windows(sample, centres, points, lidar2img):
    """One-cell windows at `points` are the tokens that the pickle says `centres` project to."""
    places = locate_queries(torch.tensor(points, dtype=torch.float32)[None], lidar2img, LAYOUT)
    windows = gather_windows(places, LAYOUT, bev_size=1, camera_size=1, view_policy="all")
    views = []
    for query, (centre, point) in enumerate(zip(centres, points, strict=True)):
        column, row = (int(value) for value in (point[:2] + 54.0) / 0.8)
        tokens = tokens_by_hand(sample, centre)
        wanted = [row * 128 + column]
        wanted += [128**2 + v * 1000 + r * 50 + c for v, (r, c) in sorted(tokens.items())]
        assert windows.index[0, query][windows.valid[0, query]].tolist() == wanted
        views.append(len(tokens))
    assert len(views) == 10
    assert max(views) == 2
    assert 1 in views


def test_cells_of_ten_boxes_are_the_pickle_s(sample, loaded):
    centres = ten_centres(sample)
    check_windows(sample, centres, centres, resized(dict(loaded)))


def test_a_moved_scene_moves_bev_windows_and_leaves_camera_windows(sample, loaded):
    from mmdet3d.structures import LiDARPoints

    from aqr_exp.data.transforms.geometry import GlobalRotScaleTransFlip

    centres = ten_centres(sample)
    table = np.column_stack((centres, np.zeros((10, 2)))).astype(np.float32)
    results = {**loaded, "points": LiDARPoints(table, points_dim=5)}
    results = GlobalRotScaleTransFlip(20.0, (0.95, 1.0), (0.2, 0.2, 0.2), flip_bev=True).transform(
        results
    )
    moved = results["points"].tensor[:, :3].numpy().astype(np.float64)
    assert np.abs(moved[:, :2] - centres[:, :2]).max() > 1.0
    check_windows(sample, centres, moved, resized(results))
