"""The identity of a synthetic data set, alone or with a few small files: enough to start stubs."""

import json
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


FILES = {
    "samples/LIDAR_TOP/cloud.bin": "points of a keyframe",
    "samples/CAM_FRONT/image.jpg": "a picture",
    "samples/RADAR_FRONT/echo.pcd": "echoes, which nobody reads",
    "sweeps/LIDAR_TOP/cloud.bin": "points between keyframes",
    "v1.0-synth/log.json": '[{"logfile": "synthetic-n001"}]',
    "v1.0-synth/sample.json": '[{"token": "none"}]',
    "aqr_infos/synth_train.pkl": "infos of ten samples",
    "aqr_infos/synth_val.pkl": "infos of four samples",
}


def write_data(root: Path) -> None:
    """Write a few small files and their true identity, as a preparation leaves it."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    write_fingerprint(root, "v1.0-synth", {"synth_train": 10, "synth_val": 4})
