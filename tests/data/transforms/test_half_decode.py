"""Images that are decoded at half size: where, and that they show the same at the same place."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aqr_exp.config.identity import run_name
from aqr_exp.config.load import load_run
from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.data.pipeline import augmentation_steps, evaluation_pipeline, loading_steps
from aqr_exp.data.transforms.geometry import ResizeCropFlipImages
from aqr_exp.data.transforms.sensors import LoadImages

HALF = "data.half_decode=true"
SIZE = (96, 256)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bright disc at (241, 200) on a slope of grey, as a JPEG of 480 x 270."""
    columns, rows = np.meshgrid(np.arange(480) + 0.5, np.arange(270) + 0.5)
    inside = (columns - 241) ** 2 + (rows - 200) ** 2 <= 12**2
    grey = np.where(inside, 250.0, columns / 480 * 60)
    path = tmp_path_factory.mktemp("half") / "disc.jpg"
    assert cv2.imwrite(str(path), np.repeat(grey[..., None], 3, axis=2).astype(np.uint8))
    return path


def sample(path: Path, seed: int = 0) -> dict[str, Any]:
    camera = {"img_path": str(path), "cam2img": np.eye(3), "lidar2cam": np.eye(4)}
    return {"images": {"FRONT": camera}, "rng": np.random.default_rng(seed)}


def loaded(path: Path, resize: tuple[float, float] | None, *, seed: int = 0) -> dict[str, Any]:
    return LoadImages(cameras=["FRONT"], resize=resize).transform(sample(path, seed))


def resized(results: dict[str, Any], scale: float, *, training: bool) -> dict[str, Any]:
    step = ResizeCropFlipImages(*SIZE, (scale, scale), scale, flip=training, training=training)
    return step.transform(results)


@pytest.mark.parametrize("scale", [0.3, 0.4, 0.45, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_half_images_show_a_disc_where_the_matrix_says(
    picture: Path, scale: float, seed: int
) -> None:
    results = loaded(picture, (scale, scale), seed=seed)
    assert results["img"][0].shape == (135, 240, 3)
    assert results["ori_shape"] == (270, 480)
    results = resized(results, scale, training=True)
    bright = results["img"][0][..., 0] > 150
    rows, columns = np.nonzero(bright)
    expected = (results["lidar2img"][0] @ np.array([241.0, 200.0, 1.0, 1.0]))[:2]
    found = [columns.mean() + 0.5, rows.mean() + 0.5]
    np.testing.assert_allclose(found, expected, atol=0.25)
    assert bright.sum() == pytest.approx(np.pi * (12 * scale) ** 2, rel=0.12)


@pytest.mark.parametrize("scale", [0.3, 0.45, 0.5])
def test_the_pixels_are_nearly_those_of_the_whole_image(picture: Path, scale: float) -> None:
    one, other = (
        resized(loaded(picture, resize), scale, training=False) for resize in ((scale, scale), None)
    )
    np.testing.assert_array_equal(one["lidar2img"], other["lidar2img"])
    apart = np.abs(one["img"][0].astype(float) - other["img"][0])
    assert 0 < apart.mean() < 0.6
    assert np.percentile(apart, 99) <= 12


def test_a_larger_scale_is_made_of_the_whole_image_to_the_bit(picture: Path) -> None:
    one, other = loaded(picture, (0.501, 0.501)), loaded(picture, None)
    assert one["img"][0].shape == (270, 480, 3)
    one, other = (resized(results, 0.501, training=False) for results in (one, other))
    np.testing.assert_array_equal(one["img"][0], other["img"][0])


def test_each_training_sample_is_decoded_for_the_scale_that_it_gets(picture: Path) -> None:
    halves = 0
    for seed in range(40):
        results = loaded(picture, (0.45, 0.55), seed=seed)
        half = results["img_scale"] <= 0.5
        assert results["img"][0].shape[0] == (135 if half else 270)
        halves += half
        matrix = resized(results, 9.0, training=True)["lidar2img"][0]
        assert abs(matrix[0, 0]) == pytest.approx(results["img_scale"])
    assert 10 <= halves <= 30


def ranges(steps: list[dict[str, Any]]) -> list[Any]:
    return [step.get("resize") for step in steps if step["type"] == "LoadImages"]


def test_nothing_is_pasted_into_or_corrupted_in_half_images() -> None:
    plain, pasting = load_run("baseline", [HALF]), load_run("baseline", [HALF, "gt_sampling=cmt"])
    assert ranges(augmentation_steps(plain)) == [(0.5, 0.6)]
    assert ranges(augmentation_steps(pasting)) == [None]
    assert ranges(evaluation_pipeline(pasting)) == [(0.5334, 0.5334)]
    for name, found in (("fog", None), ("beams", (0.5334, 0.5334))):
        severity = {"fog": "1", "beams": "16"}[name]
        assert ranges(loading_steps(plain, CorruptionCase(name, severity))) == [found]


def test_it_is_off_by_default_and_part_of_the_identity() -> None:
    plain, half = load_run("baseline", []), load_run("baseline", [HALF])
    assert ranges(augmentation_steps(plain)) == ranges(evaluation_pipeline(plain)) == [None]
    assert run_name(plain) != run_name(half)
    assert run_name(load_run("baseline", ["data.half_decode=false"])) == run_name(plain)
