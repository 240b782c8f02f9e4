"""The identity of a synthetic data set, alone or with a few small files: enough to start stubs."""

import json
import pickle
from pathlib import Path

from aqr_exp.config.inputs import identity_path
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


def _infos(samples: int) -> bytes:
    return pickle.dumps(
        {"metainfo": {"categories": {}}, "data_list": [{"instances": []}] * samples}
    )


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
