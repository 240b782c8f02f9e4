"""The identity of a synthetic data set, alone or with a few small files: enough to start stubs."""

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aqr_exp.config.inputs import identity_path
from aqr_exp.data.classes import CAMERA_NAMES
from aqr_exp.data.info_files import write_fingerprint


def write_identity(root: Path) -> Path:
    """Write the identity below a data set's folder; returns its path."""
    path = identity_path(root)
    path.parent.mkdir(parents=True)
    identity = {
        "fingerprint": "0123456789abcdef",
        "version": "v1.0-synth",
        "splits": {"synth_train": 10, "synth_val": 4},
        "synthetic": True,
    }
    path.write_text(json.dumps(identity))
    return path


_UNIT = [[float(row == column) for column in range(4)] for row in range(4)]


def made_up_info(instances: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """An entry of an info file of ours, with boxes of some labels and numbers of points."""
    camera = {"img_path": "image.jpg", "cam2img": _UNIT, "lidar2cam": _UNIT}
    box = {"bbox_3d": [1.0] * 7, "velocity": [0.0, 0.0]}
    return {
        "token": "none",
        "timestamp": 1.0,
        "images": {name: dict(camera) for name in CAMERA_NAMES},
        "lidar_points": {"lidar_path": "cloud.bin", "lidar2ego": _UNIT},
        "instances": [{**box, **instance} for instance in instances],
        "ego2global": _UNIT,
    }


def _infos(samples: int) -> bytes:
    entries = [made_up_info() for _ in range(samples)]
    return pickle.dumps({"metainfo": {"categories": {}}, "data_list": entries})


FILES = {
    "samples/LIDAR_TOP/cloud.bin": b"points of a keyframe",
    "samples/CAM_FRONT/image.jpg": b"a picture",
    "samples/RADAR_FRONT/echo.pcd": b"echoes, which nobody reads",
    "sweeps/LIDAR_TOP/cloud.bin": b"points between keyframes",
    "v1.0-synth/log.json": b'[{"logfile": "synthetic-n001"}]',
    "v1.0-synth/sample.json": b'[{"token": "none"}]',
    "aqr_infos/synth_train.pkl": _infos(10),
    "aqr_infos/synth_val.pkl": _infos(4),
}


def write_data(root: Path) -> None:
    """Write a few small files and their true identity, as a preparation leaves it."""
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    write_fingerprint(root, "v1.0-synth", {"synth_train": 10, "synth_val": 4})
