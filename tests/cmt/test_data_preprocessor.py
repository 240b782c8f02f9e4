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
