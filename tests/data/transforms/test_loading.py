import cv2
import numpy as np
import pytest

from aqr_exp.data.classes import CAMERA_NAMES
from aqr_exp.data.geometry import read_points, to_keyframe, without_ego
from aqr_exp.data.transforms.sensors import LoadImages, LoadLidarSweeps


def _write(path, rows):
    np.asarray(rows, dtype=np.float32).tofile(path)
    return str(path)


def _turn(yaw: float, x: float, y: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:2, 3] = [x, y]
    return matrix


def test_a_truncated_file_is_refused_by_name(tmp_path):
    path = _write(tmp_path / "cut short.bin", [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"cut short\.bin: 12 bytes are no multiple of 20"):
        read_points(path)


def test_a_sweep_of_a_turning_vehicle_lands_where_the_keyframe_sees_it():
    # The same post, seen at (10, 0) by the keyframe; the sweep's sensor stood at (2, 1), turned by 30 deg.
    sensor2lidar = _turn(np.deg2rad(30), 2.0, 1.0)
    lidar2sensor = np.linalg.inv(sensor2lidar)
    seen = lidar2sensor @ [10.0, 0.0, 0.5, 1.0]
    moved = to_keyframe(np.array([[*seen[:3], 0.3, 7.0]]), lidar2sensor)
    np.testing.assert_allclose(moved, [[10.0, 0.0, 0.5, 0.3, 7.0]], atol=1e-12)


def test_the_ego_square_is_cut_out():
    points = np.array([[0.5, 0.9, 0, 0, 0], [0.5, 1.1, 0, 0, 0], [-1.5, 0, 0, 0, 0.0]])
    assert without_ego(points)[:, 0].tolist() == [0.5, -1.5]


@pytest.mark.parametrize(("kept", "seen"), [(False, [0.5, 3.0]), (True, [0.5, 0.25, 3.0])])
def test_the_vehicle_is_taken_out_of_sweeps_unless_it_is_to_stay(tmp_path, kept, seen):
    places = {"lidar2ego": np.eye(4).tolist(), "lidar2sensor": np.eye(4).tolist()}
    key = _write(tmp_path / "key.bin", [[0.5, 0.5, 0, 0, 0]])
    sweep = _write(tmp_path / "sweep.bin", [[0.25, 0.5, 0, 0, 0], [3.0, 0, 0, 0, 0]])
    results = {
        "timestamp": 1.0,
        "lidar_points": {"lidar_path": key, **places},
        "lidar_sweeps": [{"timestamp": 0.9, "lidar_points": {"lidar_path": sweep, **places}}],
    }
    points = LoadLidarSweeps(1, ego_points=kept).transform(results)["points"].tensor
    assert points[:, 0].tolist() == seen


def test_the_fifth_column_becomes_time_and_the_newest_sweeps_are_taken(tmp_path):
    sweeps = [
        {
            "timestamp": 10.0 - age,
            "lidar_points": {
                "lidar_path": _write(tmp_path / f"sweep {age}.bin", [[5.0 + age, 0, 0, 0.1, 31]]),
                "lidar2sensor": np.eye(4).tolist(),
            },
        }
        for age in (0.05, 0.1, 0.15)
    ]
    results = {
        "timestamp": 10.0,
        "lidar_points": {
            "lidar_path": _write(tmp_path / "key.bin", [[0.5, 0.5, 0, 0.2, 12]]),
            "lidar2ego": np.eye(4).tolist(),
        },
        "lidar_sweeps": sweeps,
    }
    points = LoadLidarSweeps(sweeps=2).transform(results)["points"].tensor.numpy()
    np.testing.assert_allclose(
        points, [[0.5, 0.5, 0, 0.2, 0.0], [5.05, 0, 0, 0.1, 0.05], [5.1, 0, 0, 0.1, 0.1]], atol=1e-6
    )


def test_a_first_frame_without_sweeps_is_loaded(tmp_path):
    results = {
        "timestamp": 1.0,
        "lidar_points": {
            "lidar_path": _write(tmp_path / "key.bin", [[3.0, 4, 5, 6, 7]]),
            "lidar2ego": np.eye(4).tolist(),
        },
    }
    points = LoadLidarSweeps(sweeps=10).transform(results)["points"].tensor
    assert points.tolist() == [[3.0, 4.0, 5.0, 6.0, 0.0]]


def _cameras(folder) -> dict:
    cameras = {}
    for order, name in enumerate(CAMERA_NAMES):
        path = folder / f"{name} it's.png"
        cv2.imwrite(str(path), np.full((4, 8, 3), order, dtype=np.uint8))
        lidar2cam = np.eye(4)
        lidar2cam[0, 3] = order
        cameras[name] = {
            "img_path": str(path),
            "cam2img": [[2.0, 0, 4.0], [0, 2.0, 2.0], [0, 0, 1.0]],
            "lidar2cam": lidar2cam.tolist(),
        }
    return cameras


def test_views_come_in_the_published_order_with_their_projections(tmp_path):
    cameras = _cameras(tmp_path)
    shuffled = dict(sorted(cameras.items()))
    results = LoadImages().transform({"images": shuffled})
    assert [image[0, 0, 0] for image in results["img"]] == [0, 1, 2, 3, 4, 5]
    # Point (1, 1, 2) before camera 3: x = 1 + 3, u = 2 * 4 / 2 + 4 = 8, v = 2 * 1 / 2 + 2 = 3.
    u, v, depth, one = results["lidar2img"][3] @ [1.0, 1.0, 2.0, 1.0]
    assert (u / depth, v / depth, depth, one) == (8.0, 3.0, 2.0, 1.0)


def test_a_broken_image_is_refused_by_name(tmp_path):
    cameras = _cameras(tmp_path)
    broken = tmp_path / "CAM_BACK it's.png"
    broken.write_bytes(b"not an image")
    for load in (LoadImages(), LoadImages(read=False)):
        with pytest.raises(
            ValueError, match=r"CAM_BACK it's\.png is .*no image that can be decoded"
        ):
            load.transform({"images": cameras})


def test_what_is_not_read_is_black_and_as_large_with_the_same_projections(tmp_path):
    cameras = _cameras(tmp_path)
    read = LoadImages().transform({"images": cameras})
    unread = LoadImages(read=False).transform({"images": cameras})
    assert [image.shape for image in unread["img"]] == [(4, 8, 3)] * 6
    assert not np.any(unread["img"])
    np.testing.assert_array_equal(unread["lidar2img"], read["lidar2img"])


def test_a_cloud_that_is_not_read_is_empty_and_its_file_not_opened():
    lidar = {"lidar_path": "no such file", "lidar2ego": np.eye(4).tolist()}
    results = {"timestamp": 1.0, "lidar_points": lidar}
    assert LoadLidarSweeps(sweeps=3, read=False).transform(results)["points"].shape == (0, 5)
