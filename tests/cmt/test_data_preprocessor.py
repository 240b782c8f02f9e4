import numpy as np
import pytest
import torch

from aqr_exp.cmt.detector import CmtDataPreprocessor


@pytest.mark.parametrize("key", ["img", "imgs"])
@pytest.mark.parametrize("stacked", [True, False])
def test_images_are_stacked_and_points_stay_a_list(key, stacked):
    images = [torch.ones(6, 3, 4, 8, dtype=torch.float64) * index for index in range(2)]
    points = [torch.zeros(3, 5, dtype=torch.float64), torch.zeros(0, 5)]
    data = {"inputs": {"points": points, key: torch.stack(images) if stacked else images}}
    got = CmtDataPreprocessor()(data | {"data_samples": ["a", "b"]}, training=True)
    assert got["inputs"]["imgs"].shape == (2, 6, 3, 4, 8)
    assert got["inputs"]["imgs"].dtype == torch.float32
    assert got["inputs"]["imgs"][1].unique().tolist() == [1.0]
    assert [(len(p), p.dtype) for p in got["inputs"]["points"]] == [
        (3, torch.float32),
        (0, torch.float32),
    ]
    assert got["data_samples"] == ["a", "b"]


MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


def in_numpy(images: np.ndarray) -> np.ndarray:
    """Images [..., H, W, 3] as they were normalised before they were packed, [..., 3, H, W]."""
    mean, inverse = np.asarray(MEAN, np.float32), 1.0 / np.asarray(STD, np.float32)
    return np.moveaxis((images.astype(np.float32) - mean) * inverse, -1, -3)


@pytest.mark.parametrize(
    "kinds", [("uint8", "uint8"), ("float32", "float32"), ("uint8", "float32")]
)
@pytest.mark.parametrize("order", ["pixels", "channels", "stacked"])
def test_images_are_normalised_to_the_bits_that_numpy_gave(kinds, order):
    drawn = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 7, 3), dtype=np.uint8)
    wholes = [one.astype(kind) for one, kind in zip(drawn, kinds, strict=True)]
    images = [torch.from_numpy(whole).movedim(-1, -3) for whole in wholes]
    if order == "channels":
        images = [image.contiguous() for image in images]
    elif order == "stacked":
        images = torch.stack(images)
    data = {"inputs": {"points": [], "img": images}}
    got = CmtDataPreprocessor(MEAN, STD)(data)["inputs"]["imgs"]
    assert got.dtype == torch.float32
    np.testing.assert_array_equal(got.numpy(), in_numpy(drawn))
    # No convolution has to bring them into another order.
    assert got.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(wholes[0], drawn[0])  # what came is unchanged


def test_floats_are_not_rounded_on_the_way():
    images = np.full((1, 1, 2, 2, 3), 0.1, dtype=np.float32)
    data = {"inputs": {"points": [], "img": [torch.from_numpy(images[0]).movedim(-1, -3)]}}
    got = CmtDataPreprocessor(MEAN, STD)(data)["inputs"]["imgs"]
    np.testing.assert_array_equal(got.numpy(), in_numpy(images))
    assert images.max() == np.float32(0.1)


def test_numbers_of_the_normalisation_are_in_no_checkpoint():
    assert not CmtDataPreprocessor(MEAN, STD).state_dict()
