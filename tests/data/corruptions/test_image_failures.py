"""Failures of the cameras, pixels counted by hand."""

import numpy as np
import pytest

from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.data.corruptions.effects import DIRT_BGR, IMAGE_CORRUPTIONS


def _images(value: int = 200, height: int = 90, width: int = 160) -> list[np.ndarray]:
    return [np.full((height, width, 3), value, dtype=np.uint8) for _ in range(6)]


def _fail(images, failure: str, severity: str, sample: str = "a token") -> list[np.ndarray]:
    case = CorruptionCase(corruption=failure, severity=severity)
    before = [image.copy() for image in images]
    failed = IMAGE_CORRUPTIONS[failure](images, case, case.rng(sample))
    for image, old, new in zip(images, before, failed, strict=True):
        np.testing.assert_array_equal(image, old)
        assert (new.shape, new.dtype) == (old.shape, np.uint8)
    return failed


def _dark(images) -> list[bool]:
    return [not image.any() for image in images]


def test_all_cameras_go():
    assert _dark(_fail(_images(), "camera_drop", "all")) == [True] * 6


def test_named_views_go_and_no_others():
    failed = _fail(_images(), "view_drop", "front+back_left")
    assert _dark(failed) == [True, False, False, False, True, False]
    assert failed[1].min() == 200


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.6])
def test_each_view_goes_at_its_rate(rate):
    small = _images(height=2, width=2)
    lost = np.array([_dark(_fail(small, "view_drop", str(rate), str(i))) for i in range(400)])
    # Standard deviation of a rate over 2,400 draws: at most .0102; of one view over 400: .025.
    assert lost.mean() == pytest.approx(rate, abs=0.041)
    assert lost.mean(axis=0) == pytest.approx(np.full(6, rate), abs=0.1)


@pytest.mark.parametrize(("severity", "level"), [("1", 80), ("2", 40), ("3", 20)])
def test_dark_is_a_gain(severity, level):
    assert {int(v) for image in _fail(_images(), "dark", severity) for v in np.unique(image)} == {
        level
    }


@pytest.mark.parametrize(
    ("severity", "levels"), [("1", (80, 233)), ("2", (120, 222)), ("3", (160, 211))]
)
def test_fog_mixes_light_grey_in(severity, levels):
    # .6 x 0 + .4 x 200 = 80; .6 x 255 + .4 x 200 = 233; and so on.
    image = np.array([[[0, 255, 200]]], dtype=np.uint8)
    (failed, *_) = _fail([image] * 6, "fog", severity)
    assert failed[0, 0].tolist() == [*levels, 200]


@pytest.mark.parametrize(("severity", "sd"), [("1", 20), ("2", 40), ("3", 80)])
def test_noise_has_its_standard_deviation_and_differs_between_views(severity, sd):
    failed = _fail(_images(128, 200, 300), "noise", severity)
    values = failed[0].astype(float) - 128
    assert abs(values.mean()) < 4 * sd / np.sqrt(values.size)
    inside = np.abs(values) < min(sd, 100)
    # 68.3 % of normal draws lie within one sd; rounding widens the border by at most half a level.
    assert inside.mean() == pytest.approx(0.683, abs=0.02)
    assert not np.array_equal(failed[0], failed[1])


@pytest.mark.parametrize(("severity", "sigma"), [("1", 2.0), ("2", 4.0), ("3", 8.0)])
def test_blur_is_a_gaussian_of_its_width_in_proportion_to_the_height(severity, sigma):
    for height, scale in ((900, 1.0), (450, 0.5)):
        step = np.zeros((height, 200, 3), dtype=np.uint8)
        step[:, 100:] = 200
        (failed, *_) = _fail([step] * 6, "blur", severity)
        edge = np.diff(failed[height // 2, :, 0].astype(float)) / 200
        middle = (np.arange(199) * edge).sum()
        spread = np.sqrt(((np.arange(199) - middle) ** 2 * edge).sum())
        assert edge.sum() == pytest.approx(1.0)
        assert spread == pytest.approx(sigma * scale, rel=0.06)


@pytest.mark.parametrize(("severity", "discs"), [("1", 10), ("2", 20), ("3", 40)])
def test_dirt_covers_what_so_many_discs_cover(severity, discs):
    height, width = 180, 320
    failed = _fail(_images(200, height, width), "occlusion", severity)
    case = CorruptionCase(corruption="occlusion", severity=severity)
    rng = case.rng("a token")
    rows, columns = np.mgrid[:height, :width] + 0.5
    for image in failed:
        covered = np.zeros((height, width), dtype=bool)
        for x, y, size in rng.random((discs, 3)):
            radius = (0.02 + 0.08 * size) * height
            covered |= (columns - x * width) ** 2 + (rows - y * height) ** 2 <= radius**2
        assert (image[covered] == DIRT_BGR).all()
        assert (image[~covered] == 200).all()
        assert 0.01 < covered.mean() < 0.6
