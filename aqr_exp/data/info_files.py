"""Identity of a data set's content, kept beside its info files."""

import hashlib
import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aqr_exp.data.infos import INFO_VERSION, build_metainfo, sample_info, scene_samples
from aqr_exp.files.atomic import replace_bytes, replace_json, replace_text

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


Progress = Callable[[int, int], None]
_PART_FORM = 1


def info_folder(root: Path) -> Path:
    """Where everything lies that is derived from the data below `root`."""
    return root / "aqr_infos"


def info_path(root: Path, split: str) -> Path:
    """The info file of a split."""
    return info_folder(root) / f"{split}.pkl"


def table_stamp(root: Path, version: str) -> dict[str, Any]:
    """Sizes and times of change of a version's tables: other ones, other infos."""
    tables = sorted((root / version).glob("*.json"))
    stats = [(path.name, path.stat()) for path in tables]
    return {
        "form": _PART_FORM,
        "info_version": INFO_VERSION,
        "tables": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
    }


def fresh_parts(folder: Path, stamp: dict[str, Any]) -> None:
    """Make a folder for finished parts, without what was made from something else.

    Args:
        folder: Where the parts go.
        stamp: What they are made from.
    """
    marker = folder / "stamp.json"
    if folder.exists() and _stamp_of(marker) != stamp:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    replace_json(marker, stamp)


def _stamp_of(marker: Path) -> Any:
    try:
        return json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_infos(
    root: Path,
    version: str,
    splits: list[str],
    *,
    nusc: Any = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write `<root>/aqr_infos/<split>.pkl` for each split, then `fingerprint.json`.

    Killed at any moment, it goes on with the next scene when it is called again; the files have the
    same bytes as if nothing had happened.

    Args:
        root: The data set's folder.
        version: Its version folder.
        splits: Predefined splits or those of the version's `splits.json`.
        nusc: The devkit's `NuScenes` of the version, where there is one already.
        progress: Called with (scenes done, all scenes).

    Returns:
        Samples by split.

    Raises:
        ValueError: The devkit knows no such split.
    """
    from nuscenes import NuScenes
    from nuscenes.utils.splits import get_scenes_of_split

    nusc = nusc or NuScenes(version=version, dataroot=str(root), verbose=False)
    scenes = {split: set(get_scenes_of_split(split, nusc)) for split in splits}
    rows = {
        split: [row for row in nusc.scene if row["name"] in names]
        for split, names in scenes.items()
    }
    folder = info_folder(root)
    parts = folder / f".parts-{quote(version, safe='')}"
    fresh_parts(parts, table_stamp(root, version))
    total = sum(map(len, rows.values()))
    done, samples = 0, dict.fromkeys(splits, 0)
    for split in splits:
        data_list: list[dict[str, Any]] = []
        for scene in rows[split]:
            data_list += _scene_part(nusc, scene, parts)
            done += 1
            if progress is not None:
                progress(done, total)
        for index, info in enumerate(data_list):
            info["sample_idx"] = index
        samples[split] = len(data_list)
        content = {"metainfo": build_metainfo(nusc), "data_list": data_list}
        # A fixed protocol: the same bytes from every Python that is supported.
        replace_bytes(info_path(root, split), pickle.dumps(content, protocol=4))
    write_fingerprint(root, version, samples)
    shutil.rmtree(parts)
    return samples


def _scene_part(nusc: Any, scene: dict[str, Any], parts: Path) -> list[dict[str, Any]]:
    """The infos of one scene: from its part, which is written first where there is none."""
    path = parts / f"{quote(scene['name'], safe='')}.json"
    if not path.is_file():
        rows = scene_samples(nusc, scene)
        infos = [sample_info(nusc, sample, index) for index, sample in enumerate(rows)]
        replace_text(path, json.dumps(infos))
    # Always read back, so that a part of an earlier attempt gives the same bytes as a fresh one.
    known: dict[str, str] = {}
    return list(_shared(json.loads(path.read_text(encoding="utf-8")), known))


def _shared(value: Any, known: dict[str, str]) -> Any:
    """The same value with one object for each text: pickle stores it once, whoever made it."""
    if isinstance(value, str):
        return known.setdefault(value, value)
    if isinstance(value, list):
        return [_shared(item, known) for item in value]
    if isinstance(value, dict):
        return {sys.intern(key): _shared(item, known) for key, item in value.items()}
    return value
