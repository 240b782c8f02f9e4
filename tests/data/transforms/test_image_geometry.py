import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet3d.structures import LiDARPoints

from aqr_exp.data.transforms.geometry import (
    PackSample,
    ResizeCropFlipImages,
    image_affine,
    resize_crop_flip,
)


def test_affine_of_a_worked_case():
    # x = 100 at scale 0.5 is 50, minus a left edge of 20 is 30, mirrored in a width of 64 is 34.
    # y = 80 is 40, minus a top edge of 8 is 32.
    matrix = image_affine(scale=0.5, crop_left=20, crop_top=8, width=64, flip=True)
    depth = 7.0
    pixel = matrix @ np.array([100 * depth, 80 * depth, depth, 1.0])
    np.testing.assert_allclose(pixel, [34 * depth, 32 * depth, depth, 1.0])


def _blob(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    """A bright disc centred on the continuous coordinate (x, y)."""
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    inside = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    return np.repeat((inside * 255).astype(np.uint8)[..., None], 3, axis=2)


def _centroid(image: np.ndarray) -> np.ndarray:
    weights = image[..., 0].astype(float)
    columns, rows = np.meshgrid(
        np.arange(weights.shape[1]) + 0.5, np.arange(weights.shape[0]) + 0.5
    )
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


@settings(max_examples=40, deadline=None)
@given(
    scale=st.floats(0.4, 1.3),
    left=st.integers(-20, 20),
    top=st.integers(0, 15),
    flip=st.booleans(),
    x=st.floats(90.0, 110.0),
    y=st.floats(55.0, 65.0),
)
def test_a_disc_moves_where_the_matrix_says(scale, left, top, flip, x, y):
    image = _blob(120, 200, x, y, radius=9.0)
    size = (int(120 * scale), int(200 * scale))
    moved = resize_crop_flip(image, scale, left, top, size, flip)
    matrix = image_affine(scale, left, top, size[1], flip)
    expected = (matrix @ np.array([x, y, 1.0, 1.0]))[:2]
    assert moved.shape == (*size, 3)
    np.testing.assert_allclose(_centroid(moved), expected, atol=0.25)


def _results(rng_seed: int = 0) -> dict:
    image = _blob(270, 480, 240.0, 200.0, radius=12.0)
    return {
        "img": [image.copy(), image.copy()],
        "lidar2img": np.stack([np.eye(4), np.diag([2.0, 2.0, 1.0, 1.0])]),
        "ori_shape": (270, 480),
        "rng": np.random.default_rng(rng_seed),
    }


def _step(**changes):
    settings_ = {
        "height_px": 96,
        "width_px": 256,
        "resize": (0.5, 0.6),
        "test_resize": 0.5334,
        "flip": True,
        "training": True,
    }
    return ResizeCropFlipImages(**{**settings_, **changes})


def test_evaluation_is_centred_keeps_the_bottom_and_does_not_mirror():
    results = _step(training=False).transform(_results())
    # 480 * .5334 = 256.03 and 270 * .5334 = 144.02: nothing to cut left and right, 48 rows of sky.
    np.testing.assert_allclose(
        results["lidar2img"][0], image_affine(0.5334, 0, 48, 256, flip=False)
    )
    np.testing.assert_allclose(_centroid(results["img"][0]), [128.0, 0.5334 * 200 - 48], atol=0.2)
    assert results["pad_shape"] == [(96, 256, 3)] * 2


@pytest.mark.parametrize("flip", [False, True])
def test_an_image_narrower_than_the_input_lies_at_the_left_or_anywhere(flip):
    # 480 * .4 = 192 of 256 columns: 64 are black.
    def black(narrow, seed=0, training=True):
        step = _step(
            resize=(0.4, 0.4), test_resize=0.4, narrow=narrow, flip=False, training=training
        )
        results = step.transform(
            _results(seed) | {"img": [np.full((270, 480, 3), 200, np.uint8)] * 2}
        )
        return (np.flatnonzero((results["img"][0] == 0).all(axis=(0, 2)))).tolist()

    right = list(range(192, 256))
    assert black("left") == black("left", seed=3) == black("left", training=False) == right
    assert black("anywhere", training=False) == [*range(32), *range(224, 256)]
    assert black("anywhere") != right
    assert len(black("anywhere")) == 64
    # What is wider is drawn by the same draws either way.
    for seed in range(4):
        one, other = (
            _step(resize=(0.54, 0.6), narrow=narrow, flip=flip).transform(_results(seed))
            for narrow in ("left", "anywhere")
        )
        np.testing.assert_array_equal(one["lidar2img"], other["lidar2img"])
        np.testing.assert_array_equal(one["img"][0], other["img"][0])


def test_all_views_of_a_sample_share_one_draw():
    results = _step().transform(_results(3))
    np.testing.assert_array_equal(results["img"][0], results["img"][1])
    np.testing.assert_allclose(
        results["lidar2img"][1], results["lidar2img"][0] @ np.diag([2.0, 2, 1, 1])
    )


@pytest.mark.parametrize("seed", range(6))
def test_training_draws_stay_true_to_the_matrix(seed):
    results = _step().transform(_results(seed))
    expected = (results["lidar2img"][0] @ np.array([240.0, 200.0, 1.0, 1.0]))[:2]
    np.testing.assert_allclose(_centroid(results["img"][0]), expected, atol=0.3)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64, np.int64])
def test_packed_images_stay_bytes_and_in_the_order_of_their_pixels(kind):
    views = [np.arange(24, dtype=kind).reshape(2, 4, 3), np.full((2, 4, 3), 200, dtype=np.uint8)]
    sample = {"img": views, "points": LiDARPoints(np.zeros((1, 5)), points_dim=5), "token": "a"}
    packed = PackSample(keys=("points",), meta_keys=("token",)).transform(sample)
    image = packed["inputs"]["img"]
    assert image.dtype == (torch.uint8 if kind is np.uint8 else torch.float32)
    assert image.shape == (2, 3, 2, 4)
    assert image[0, :, 1, 2].tolist() == [18, 19, 20]  # the channels of the third pixel below
    assert image[1].unique().tolist() == [200]
    assert image.stride() == (24, 1, 12, 3)
    assert packed["inputs"]["points"].shape == (1, 5)
    assert packed["data_samples"].token == "a"
