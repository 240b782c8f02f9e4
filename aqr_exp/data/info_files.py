"""Info files on disk: content, epoch lengths, fingerprint of the data, and unfinished parts.

Light modules only: neither the devkit nor torch is needed to look at prepared data.
"""

import hashlib
import json
import pickle
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aqr_exp.config.inputs import identity_path, info_path
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import feed_file, read_json, replace_json

INFO_VERSION = "1.1"
MAX_SWEEPS = 10
"""Earlier sweeps listed for a keyframe, newest first."""

_PART_FORM = 1
_HASH_WHOLE_BYTES = 4 << 30
"""Data up to this size are hashed byte for byte; larger ones by names and sizes."""


class _PlainUnpickler(pickle.Unpickler):  # noqa: S301 - plain values only
    """Unpickler of lists, dicts, text and numbers; anything else could run code and is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"holds a {module}.{name}")


def read_info_file(path: Path) -> dict[str, Any]:
    """Content of an info file, read without executing anything in it.

    Raises:
        ValueError: It is damaged or holds more than plain values; says what.
    """
    try:
        with path.open("rb") as file:
            content = _PlainUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError) as error:
        raise ValueError(f"damaged: {error}") from None
    except (UnicodeDecodeError, MemoryError, OverflowError, TypeError) as error:
        raise ValueError(f"damaged: {type(error).__name__}") from None
    if not isinstance(content, dict) or set(content) != {"metainfo", "data_list"}:
        raise ValueError("no info file: it must hold metainfo and data_list")
    return content


def content_fingerprint(root: Path, version: str, splits: list[str]) -> str:
    """16 hex digits of the tables, info files, images and points.

    Tables and info files always count byte for byte. So do images and points of a data set up to 4 GiB;
    a larger one (the real nuScenes) counts by their names and sizes, since reading it takes hours.
    """
    found = [path for name in ("samples", "sweeps", version) for path in (root / name).rglob("*")]
    infos = [info_path(root, split) for split in splits]
    files = sorted(path for path in [*found, *infos] if path.is_file())
    total = sum(path.stat().st_size for path in files)
    digest = hashlib.sha256()
    for path in files:
        name = path.relative_to(root).as_posix()
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        is_sensor_data = name.startswith(("samples/", "sweeps/"))
        if total <= _HASH_WHOLE_BYTES or not is_sensor_data:
            feed_file(digest, path)
    return digest.hexdigest()[:16]


def write_fingerprint(root: Path, version: str, samples: dict[str, int]) -> None:
    """Write `<root>/aqr_infos/fingerprint.json` with the number of samples by split."""
    logs = json.loads((root / version / "log.json").read_text(encoding="utf-8"))
    synthetic = all("synthetic" in log["logfile"] for log in logs)
    replace_json(
        identity_path(root),
        {
            "fingerprint": content_fingerprint(root, version, list(samples)),
            "version": version,
            "splits": samples,
            "synthetic": synthetic,
        },
    )


def table_stamp(root: Path, version: str) -> dict[str, Any]:
    """Sizes and times of change of a version's tables; parts made from other ones are discarded."""
    stats = [(path.name, path.stat()) for path in sorted((root / version).glob("*.json"))]
    tables = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    return {"form": _PART_FORM, "info_version": INFO_VERSION, "tables": tables}


def fresh_parts(folder: Path, stamp: dict[str, Any]) -> None:
    """Make a folder for finished parts, emptied if its parts have another stamp."""
    marker = folder / "stamp.json"
    try:
        current = read_json(marker) == stamp
    except AqrExpError:
        current = False
    if folder.exists() and not current:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    replace_json(marker, stamp)


def epoch_samples(config: RunConfig, split_samples: int) -> int:
    """Samples of a training epoch: the split's, or the draws of class-balanced resampling.

    With `schedule.cbgs` the info file of the training split is read.

    Raises:
        AqrExpError: The info file is missing or damaged.
    """
    if not config.schedule.cbgs:
        return split_samples
    path = info_path(Path(config.data.root), config.data.train_split)
    try:
        content = read_info_file(path)
    except FileNotFoundError:
        raise AqrExpError(f"{path} is missing") from None
    except (OSError, ValueError) as error:
        raise AqrExpError(f"{path}: {error}") from None
    names = {label: name for name, label in content["metainfo"]["categories"].items()}
    holding = dict.fromkeys(CLASS_NAMES, 0)
    for info in content["data_list"]:
        kept = trained_on(info["instances"], names, config.data.min_box_points)
        for name in {names[instance["bbox_label_3d"]] for instance in kept}:
            holding[name] += 1
    return draws_of(list(holding.values()))


def trained_on(
    instances: Sequence[Mapping[str, Any]], names: Mapping[int, str], min_points: int
) -> list[Mapping[str, Any]]:
    """The annotations of a sample that are trained on.

    `names` gives the class of each label of the file. Boxes with fewer than `min_points` LiDAR and
    radar points are left out.
    """
    return [
        instance
        for instance in instances
        if names.get(instance["bbox_label_3d"]) in CLASS_NAMES
        and instance["num_lidar_pts"] + instance["num_radar_pts"] >= min_points
    ]


def draws_of(holding: Sequence[int]) -> int:
    """Draws of a class-balanced epoch, from the number of samples that hold each class."""
    present = [count for count in holding if count]
    return len(present) * (sum(present) // len(present)) if present else 0
