"""Plants one fault in a data set; each function returns the file and the cause that must be named."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

VERSION = "v1.0-synth"


def rows(root: Path, table: str) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads((root / VERSION / f"{table}.json").read_text())
    return content


def rewrite(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def change(
    root: Path, table: str, pick: Callable[[dict[str, Any]], bool], **columns: Any
) -> dict[str, Any]:
    """Set columns of the first row that is picked; the row as it is then."""
    content = rows(root, table)
    row = next(row for row in content if pick(row))
    row.update(columns)
    rewrite(root / VERSION / f"{table}.json", json.dumps(content).encode())
    return row


def anything(_: dict[str, Any]) -> bool:
    return True


def key_file(root: Path, channel: str) -> tuple[Path, dict[str, Any]]:
    found = [r for r in rows(root, "sample_data") if f"samples/{channel}/" in r["filename"]]
    return root / found[1]["filename"], found[1]


def calibration_of(root: Path, channel: str) -> str:
    return str(key_file(root, channel)[1]["calibrated_sensor_token"])


def missing_image(root: Path) -> tuple[str, str]:
    path, row = key_file(root, "CAM_BACK")
    path.unlink()
    return row["filename"], f"the file of CAM_BACK {row['token']} is missing"


def missing_sweep(root: Path) -> tuple[str, str]:
    row = next(r for r in rows(root, "sample_data") if not r["is_key_frame"])
    (root / row["filename"]).unlink()
    return row["filename"], f"the file of LIDAR_TOP {row['token']} is missing"


def missing_map(root: Path) -> tuple[str, str]:
    row = rows(root, "map")[0]
    (root / row["filename"]).unlink()
    return row["filename"], f"the map of {row['token']} is missing"


def missing_table(root: Path) -> tuple[str, str]:
    (root / VERSION / "ego_pose.json").unlink()
    return f"{VERSION}/ego_pose.json", "the table is missing"


def damaged_table(root: Path) -> tuple[str, str]:
    path = root / VERSION / "sample_annotation.json"
    rewrite(path, path.read_bytes()[:-200])
    return f"{VERSION}/sample_annotation.json", "no such table: Input data was truncated"


def wrong_column(root: Path) -> tuple[str, str]:
    change(root, "sample", anything, timestamp="soon")
    cause = "no such table: Expected `int`, got `str` - at `$[0].timestamp`"
    return f"{VERSION}/sample.json", cause


def double_token(root: Path) -> tuple[str, str]:
    content = rows(root, "attribute")
    content.append(content[2])
    rewrite(root / VERSION / "attribute.json", json.dumps(content).encode())
    return f"{VERSION}/attribute.json", f"two rows have the token {content[2]['token']}"


def truncated_image(root: Path) -> tuple[str, str]:
    path, row = key_file(root, "CAM_FRONT")
    rewrite(path, path.read_bytes()[:-100])
    return row["filename"], "the JPEG ends early"


def no_image(root: Path) -> tuple[str, str]:
    path, row = key_file(root, "CAM_FRONT_LEFT")
    rewrite(path, b"<html>404: please log in</html>")
    return row["filename"], "no image that can be decoded"


def image_of_another_size(root: Path) -> tuple[str, str]:
    path, row = key_file(root, "CAM_FRONT_RIGHT")
    rewrite(path, cv2.imencode(".jpg", np.zeros((45, 80, 3), np.uint8))[1].tobytes())
    return row["filename"], "80 x 45 px, the table says 160 x 90"


def empty_cloud(root: Path) -> tuple[str, str]:
    path, row = key_file(root, "LIDAR_TOP")
    rewrite(path, b"")
    return row["filename"], "empty"


def cut_cloud(root: Path) -> tuple[str, str]:
    path, row = key_file(root, "LIDAR_TOP")
    size = path.stat().st_size
    rewrite(path, path.read_bytes()[:-7])
    cause = f"{size - 7} bytes are no multiple of a point's 20: cut short"
    return row["filename"], cause


def short_cloud(root: Path) -> tuple[str, str]:
    path, row = key_file(root, "LIDAR_TOP")
    files = [r["filename"] for r in rows(root, "sample_data") if "LIDAR" in r["filename"]]
    rewrite(path, path.read_bytes()[: 20 * 7])
    kept = [(root / name).stat().st_size // 20 for name in files]
    return row["filename"], f"7 points, where the usual cloud has {np.median(kept):.0f}"


def points_that_are_no_numbers(root: Path) -> tuple[str, str]:
    path, row = key_file(root, "LIDAR_TOP")
    points = np.fromfile(path, np.float32).reshape(-1, 5)
    points[3, 1] = np.nan
    points[9, 0] = np.inf
    rewrite(path, points.tobytes())
    return row["filename"], f"2 of {len(points)} points hold numbers that are not finite"


def stretched_rotation(root: Path) -> tuple[str, str]:
    token = calibration_of(root, "CAM_BACK")
    row = next(r for r in rows(root, "calibrated_sensor") if r["token"] == token)
    stretched = [number * 1.5 for number in row["rotation"]]
    change(root, "calibrated_sensor", lambda r: r["token"] == token, rotation=stretched)
    cause = f"CAM_BACK {token}: rotation has norm 1.5, not 1"
    return f"{VERSION}/calibrated_sensor.json", cause


def no_focal_length(root: Path) -> tuple[str, str]:
    token = calibration_of(root, "CAM_FRONT")
    matrix = [[0.0, 0.0, 80.0], [0.0, 0.0, 45.0], [0, 0, 1]]
    change(root, "calibrated_sensor", lambda r: r["token"] == token, camera_intrinsic=matrix)
    cause = f"CAM_FRONT {token}: camera_intrinsic has focal lengths 0 and 0 px"
    return f"{VERSION}/calibrated_sensor.json", cause


def intrinsics_of_another_resolution(root: Path) -> tuple[str, str]:
    token = calibration_of(root, "CAM_FRONT")
    matrix = [[1266.4, 0.0, 816.3], [0.0, 1266.4, 491.5], [0, 0, 1]]
    change(root, "calibrated_sensor", lambda r: r["token"] == token, camera_intrinsic=matrix)
    cause = "principal point (816.3, 491.5) lies outside the 160 x 90 image"
    return f"{VERSION}/calibrated_sensor.json", f"CAM_FRONT {token}: {cause}"


def camera_that_looks_elsewhere(root: Path) -> tuple[str, str]:
    token = calibration_of(root, "CAM_FRONT")
    other = calibration_of(root, "CAM_BACK_LEFT")
    row = next(r for r in rows(root, "calibrated_sensor") if r["token"] == other)
    change(root, "calibrated_sensor", lambda r: r["token"] == token, rotation=row["rotation"])
    cause = f"CAM_FRONT {token}: CAM_FRONT looks to 109 deg (up 0 deg), its name says 0 deg"
    return f"{VERSION}/calibrated_sensor.json", cause


def camera_that_sees_no_point(root: Path) -> tuple[str, str]:
    """Every number alone is possible: only the points that go through them show it."""
    token = calibration_of(root, "CAM_FRONT")
    matrix = [[1e6, 0.0, 80.0], [0.0, 1e6, 45.0], [0, 0, 1]]
    change(root, "calibrated_sensor", lambda r: r["token"] == token, camera_intrinsic=matrix)
    cause = f"CAM_FRONT {token}: 0.00% of the LiDAR points land in its image"
    return f"{VERSION}/calibrated_sensor.json", cause


def lidar_far_away(root: Path) -> tuple[str, str]:
    token = calibration_of(root, "LIDAR_TOP")
    change(root, "calibrated_sensor", lambda r: r["token"] == token, translation=[0.9, 0.0, 300.0])
    cause = f"LIDAR_TOP {token}: translation is 300 m long (at most 10 m)"
    return f"{VERSION}/calibrated_sensor.json", cause


def backward_timestamp(root: Path) -> tuple[str, str]:
    sample = next(r for r in rows(root, "sample") if r["prev"])
    change(root, "sample", lambda r: r["token"] == sample["token"], timestamp=12)
    cause = f"timestamp of {sample['token']} is not later than that of {sample['prev']} before it"
    return f"{VERSION}/sample.json", cause


def late_camera(root: Path) -> tuple[str, str]:
    last = next(
        r for r in rows(root, "sample_data") if "CAM_BACK/" in r["filename"] and not r["next"]
    )
    late = last["timestamp"] + 750_000
    change(root, "sample_data", lambda r: r["token"] == last["token"], timestamp=late)
    cause = f"CAM_BACK {last['token']} is 0.750 s away from its sample {last['sample_token']}"
    return f"{VERSION}/sample_data.json", cause


def dangling_instance(root: Path) -> tuple[str, str]:
    row = change(root, "sample_annotation", anything, instance_token="f" * 32)
    cause = f"instance_token of {row['token']} is {'f' * 32}, no instance"
    return f"{VERSION}/sample_annotation.json", cause


def dangling_pose(root: Path) -> tuple[str, str]:
    row = change(root, "sample_data", anything, ego_pose_token="")
    cause = f"ego_pose_token of {row['token']} is empty, no ego_pose"
    return f"{VERSION}/sample_data.json", cause


def flat_box(root: Path) -> tuple[str, str]:
    row = change(root, "sample_annotation", anything, size=[1.9, 4.5, 0.0])
    cause = f"{row['token']}: size [1.9, 4.5, 0.0] is not three lengths above 0"
    return f"{VERSION}/sample_annotation.json", cause


def lost_sample(root: Path) -> tuple[str, str]:
    path = root / "aqr_infos" / "synth_train.pkl"
    content = pickle.loads(path.read_bytes())
    lost = content["data_list"].pop(2)
    rewrite(path, pickle.dumps(content))
    cause = "5 samples, the tables have 6 in synth_train: it lacks the sample " + lost["token"]
    return "aqr_infos/synth_train.pkl", cause


def moved_box(root: Path) -> tuple[str, str]:
    path = root / "aqr_infos" / "synth_val.pkl"
    content = pickle.loads(path.read_bytes())
    box = content["data_list"][1]["instances"][0]["bbox_3d"]
    box[6] += 1.0
    rewrite(path, pickle.dumps(content))
    cause = f"data_list[1].instances[0].bbox_3d[6] is {box[6]!r}, the tables give {box[6] - 1.0!r}"
    return "aqr_infos/synth_val.pkl", cause


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("executed",))


def malicious_infos(root: Path) -> tuple[str, str]:
    rewrite(root / "aqr_infos" / "synth_val.pkl", pickle.dumps(Trap()))
    return "aqr_infos/synth_val.pkl", "damaged: holds 'posix.mkdir', which is no data"


def infos_of_another_version(root: Path) -> tuple[str, str]:
    path = root / "aqr_infos" / "fingerprint.json"
    content = json.loads(path.read_text())
    rewrite(path, json.dumps({**content, "version": "v1.0-mini"}).encode())
    return "aqr_infos/fingerprint.json", "made from v1.0-mini, not from v1.0-synth"


def replaced_image(root: Path) -> tuple[str, str]:
    path, _ = key_file(root, "CAM_BACK_RIGHT")
    rewrite(path, cv2.imencode(".jpg", np.full((90, 160, 3), 77, np.uint8))[1].tobytes())
    return path.relative_to(root).as_posix(), " when prepared"


FAULTS = (
    missing_image,
    missing_sweep,
    missing_map,
    missing_table,
    damaged_table,
    wrong_column,
    double_token,
    truncated_image,
    no_image,
    image_of_another_size,
    empty_cloud,
    cut_cloud,
    short_cloud,
    points_that_are_no_numbers,
    stretched_rotation,
    no_focal_length,
    intrinsics_of_another_resolution,
    camera_that_looks_elsewhere,
    camera_that_sees_no_point,
    lidar_far_away,
    backward_timestamp,
    late_camera,
    dangling_instance,
    dangling_pose,
    flat_box,
    lost_sample,
    moved_box,
    malicious_infos,
    infos_of_another_version,
    replaced_image,
)
