"""Identity of a data set's content, kept beside its info files."""

import hashlib
import json
from pathlib import Path

from aqr_exp.results.atomic import replace_json

_CHUNK = 1 << 20
_HASH_WHOLE_BYTES = 4 << 30
"""Data up to this size are hashed byte for byte; larger ones by names and sizes."""


def _files(root: Path, version: str, splits: list[str]) -> list[Path]:
    """Everything that a run can read, in a fixed order."""
    found = [path for name in ("samples", "sweeps", version) for path in (root / name).rglob("*")]
    infos = [root / "aqr_infos" / f"{split}.pkl" for split in splits]
    return sorted(path for path in [*found, *infos] if path.is_file())


def content_fingerprint(root: Path, version: str, splits: list[str]) -> str:
    """16 hex digits of the tables, info files, images and points.

    Tables and info files always count byte for byte. So do images and points of a data set up to 4 GiB;
    a larger one (the real nuScenes) counts by their names and sizes, since reading it takes hours.

    Args:
        root: The data set's folder.
        version: Its version folder.
        splits: Splits whose info files exist.
    """
    files = _files(root, version, splits)
    total = sum(path.stat().st_size for path in files)
    digest = hashlib.sha256()
    for path in files:
        name = path.relative_to(root).as_posix()
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        is_sensor_data = name.startswith(("samples/", "sweeps/"))
        if total <= _HASH_WHOLE_BYTES or not is_sensor_data:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
    return digest.hexdigest()[:16]


def write_fingerprint(root: Path, version: str, samples: dict[str, int]) -> None:
    """Write `<root>/aqr_infos/fingerprint.json`.

    Args:
        root: The data set's folder.
        version: Its version folder.
        samples: Number of samples by split.
    """
    logs = json.loads((root / version / "log.json").read_text(encoding="utf-8"))
    synthetic = all("synthetic" in log["logfile"] for log in logs)
    replace_json(
        root / "aqr_infos" / "fingerprint.json",
        {
            "fingerprint": content_fingerprint(root, version, list(samples)),
            "version": version,
            "splits": samples,
            "synthetic": synthetic,
        },
    )
