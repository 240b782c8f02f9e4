"""The windows that are drawn of the real frame's boxes, against the pickle's own matrices."""

import pickle

import numpy as np
import pytest

from aqr_exp.analyze.samples import SampleReader
from aqr_exp.analyze.windows import choose_boxes, draw_windows, windows_of_boxes
from aqr_exp.config.load import load_run
from aqr_exp.config.variant_spec import spec_of
from aqr_exp.data.classes import CAMERA_NAMES

pytestmark = pytest.mark.real_frame

# Stored views of 1600 x 900 at half size, of which the upper 130 rows go; tokens of 16 pixels.
SCALE, CUT_PX, TOKEN_PX = 0.5, 130, 16
# Offsets of an even window of 8 are -3 to 4: the query's own cell is in slot 3 * 8 + 3.
OWN_SLOT = 3 * 8 + 3


@pytest.fixture(scope="module")
def config(real_frame_root):
    return load_run(
        "attention_bias",
        [
            f"data.root={str(real_frame_root)!r}",
            "model=cmt_r50_800x320",
            "data.augment.test_resize=0.5",
            "data.sweeps=0",
            "window_size=8",
        ],
    )


def windows_of(config):
    return spec_of(config.variant).windows["bias"](config.variant, config.model)


@pytest.fixture(scope="module")
def sample(config):
    return SampleReader(config, "frame").sample(0)


@pytest.fixture(scope="module")
def cameras(real_frame_dir):
    (frame,) = pickle.loads(next(real_frame_dir.glob("*.pkl")).read_bytes())["data_list"]
    return [frame["images"][name] for name in CAMERA_NAMES]


def token_by_hand(cameras, centre):
    """(view, row, column) in the first view that sees a point, one matrix product at a time."""
    for view, camera in enumerate(cameras):
        in_camera = np.array(camera["lidar2cam"]) @ [*centre, 1.0]
        if in_camera[2] <= 0:
            continue
        u, v, depth = np.array(camera["cam2img"])[:3, :3] @ in_camera[:3]
        u, v = SCALE * u / depth, SCALE * v / depth - CUT_PX
        if 0 <= u < 800 and 0 <= v < 320:
            return view, int(v // TOKEN_PX), int(u // TOKEN_PX)
    return None


def test_ten_boxes_have_their_windows_where_the_matrices_say(config, sample, cameras):
    drawn = windows_of_boxes(sample, 10, windows_of(config))
    assert len(set(drawn.boxes)) == 10
    seen = 0
    for place, centre in enumerate(drawn.centres_m):
        column, row = ((centre[:2] + 54.0) // 0.8).astype(int)
        assert drawn.windows.index[0, place, OWN_SLOT] == row * 128 + column
        token = token_by_hand(cameras, centre)
        slot = 64 + OWN_SLOT
        assert bool(drawn.windows.valid[0, place, slot]) == (token is not None)
        if token is not None:
            view, row, column = token
            seen += 1
            assert (
                drawn.windows.index[0, place, slot] == 128 * 128 + (view * 20 + row) * 50 + column
            )
    assert seen >= 5


def test_every_class_is_drawn_before_any_twice(sample):
    names = [sample.names[box] for box in choose_boxes(sample, len(sample.boxes))]
    kinds = len(set(names))
    assert kinds >= 3
    assert len(set(names[:kinds])) == kinds
    assert sorted(choose_boxes(sample, 10**6)) == list(range(len(sample.boxes)))


def test_both_pictures_are_written(config, sample, tmp_path):
    drawn = windows_of_boxes(sample, 10, windows_of(config))
    files = draw_windows(sample, drawn, tmp_path)
    assert [path.name for path in files] == ["windows_bev.png", "windows_cameras.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files)
    # The images are drawn as they are stored, not as small as the network reads them.
    assert sample.scene.images[0].shape == (640, 1600, 3)
