"""The part that the published models see of nuScenes' images, which are 1600 x 900."""

import pytest

from aqr_exp.config.load import load_run

STORED_WIDTH_PX, STORED_HEIGHT_PX = 1600, 900


@pytest.mark.parametrize("data", ["nuscenes", "nuscenes_mini"])
@pytest.mark.parametrize("model", ["cmt_r50_800x320", "cmt_vov_1600x640", "cmt_camera"])
def test_at_evaluation_the_picture_fills_the_input(model, data):
    config = load_run("baseline", [f"model={model}", f"data={data}"])
    image, augment = config.model.image, config.data.augment
    assert augment.test_resize * STORED_WIDTH_PX == image.width_px
    assert augment.test_resize * STORED_HEIGHT_PX >= image.height_px
    low, high = augment.resize
    assert low < augment.test_resize < high
    assert low * STORED_HEIGHT_PX >= image.height_px


def test_the_camera_model_moves_its_scenes_as_published():
    augment = load_run("baseline", ["model=cmt_camera", "data=nuscenes"]).data.augment
    assert augment.rotate_deg == 22.5
    assert augment.scale == (0.95, 1.05)
    assert augment.translate_std_m == (0.0, 0.0, 0.0)
    assert not augment.flip_bev
    assert augment.flip_image
    assert augment.drop_camera == augment.drop_lidar == 0
