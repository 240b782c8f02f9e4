import numpy as np
import pytest

from aqr_exp.data.classes import CAMERA_NAMES, LIDAR_NAME
from aqr_exp.synth.rig import BEAM_ELEVATIONS_DEG, build_rig, camera_rotation
from aqr_exp.synth.settings import SynthSettings


def test_camera_axes_by_hand() -> None:
    # Looking left (90 degrees): right of the picture is forward, down is down, depth is left.
    axes = camera_rotation(90.0).rotation_matrix
    assert np.allclose(axes, [[1, 0, 0], [0, 0, 1], [0, -1, 0]], atol=1e-12)
    looking_up = camera_rotation(0.0, 30.0).rotation_matrix[:, 2]
    assert np.allclose(looking_up, [np.cos(np.pi / 6), 0.0, 0.5])


def test_lidar_has_x_right_and_y_forward() -> None:
    rig = build_rig(SynthSettings(), 0)
    assert list(rig) == [LIDAR_NAME, *CAMERA_NAMES]
    lidar2ego = rig[LIDAR_NAME].sensor2ego
    assert np.allclose(lidar2ego[:3, 0], [0, -1, 0], atol=0.02)
    assert np.allclose(lidar2ego[:3, 1], [1, 0, 0], atol=0.02)
    assert lidar2ego[:3, 3] == pytest.approx([0.94, 0.0, 1.84])


def test_cameras_look_where_their_names_say_and_the_back_one_is_wide() -> None:
    rig = build_rig(SynthSettings(), 1)
    forward = {name: rig[name].sensor2ego[:3, 2] for name in CAMERA_NAMES}
    assert forward["CAM_FRONT"][0] > 0.99
    assert forward["CAM_BACK"][0] < -0.99
    for name in CAMERA_NAMES:
        assert (forward[name][1] > 0.5) == name.endswith("LEFT")
        assert (forward[name][1] < -0.5) == name.endswith("RIGHT")
    widths = {n: 480 / rig[n].intrinsic[0, 0] for n in CAMERA_NAMES if rig[n].intrinsic is not None}
    assert max(widths, key=widths.__getitem__) == "CAM_BACK"
    assert rig["CAM_FRONT"].intrinsic[0, 0] == pytest.approx(1266 * 480 / 1600, rel=0.02)


def test_vehicles_differ_a_little_and_image_size_scales_the_lens() -> None:
    one, other = build_rig(SynthSettings(), 0), build_rig(SynthSettings(), 1)
    assert one["CAM_FRONT"].place_m != other["CAM_FRONT"].place_m
    large = build_rig(SynthSettings(image_width=960, image_height=540), 0)
    assert np.allclose(
        large["CAM_FRONT"].intrinsic[:2], 2 * one["CAM_FRONT"].intrinsic[:2], atol=1e-9
    )


def test_beams_are_nuscenes_like() -> None:
    assert len(BEAM_ELEVATIONS_DEG) == 32
    assert BEAM_ELEVATIONS_DEG[0] == pytest.approx(-30.67)
    assert BEAM_ELEVATIONS_DEG[-1] == pytest.approx(10.67)
    assert (np.diff(BEAM_ELEVATIONS_DEG) > 0).all()
