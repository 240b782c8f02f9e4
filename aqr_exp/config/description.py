"""The file that describes a data set which is not nuScenes, read and checked."""

import dataclasses
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from aqr_exp.config.convert import convert
from aqr_exp.config.data_files import DESCRIPTION
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.description import NUSCENES, DataDescription, view_name
from aqr_exp.config.short_names import value_at
from aqr_exp.errors import Fault, RequestError, shown
from aqr_exp.files.yaml_text import plain_values, yaml_root

MOST_NAMES = 100


def read_description(root: Path) -> DataDescription | None:
    """The description of the data below `root`; None where it is nuScenes, as without one.

    Raises:
        RequestError: It is damaged or contradicts itself; one fault for each key, with the file.
    """
    path = root / DESCRIPTION
    try:
        stat = path.stat()
    except OSError:
        if not path.is_symlink():
            return None
        raise RequestError(Fault(where=os.fspath(path), rule="is a link to nothing")) from None
    if not path.is_file():
        raise RequestError(Fault(where=os.fspath(path), rule="is no file"))
    return _description_at(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=64)
def _description_at(path: Path, *state: int) -> DataDescription | None:
    del state
    where = os.fspath(path)
    root = yaml_root(path, where, "description", "it needs classes and cameras")
    try:
        found = convert(DataDescription, plain_values(root, where))
        if faults := list(description_rules(found)):
            raise RequestError(*faults)
    except RequestError as error:
        raise RequestError(
            *(dataclasses.replace(item, where=item.where or where) for item in error.faults)
        ) from None
    return None if found == NUSCENES else found


def with_description(config: RunConfig) -> RunConfig:
    """Fill `data.description` in from the data, where there are any; fails as `read_description`."""
    found = read_description(Path(config.data.root))
    if found == config.data.description:
        return config
    return dataclasses.replace(config, data=dataclasses.replace(config.data, description=found))


def stored_views(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The views of the data of a stored configuration, in their order."""
    cameras = value_at(spec, "data.description.cameras")
    return tuple(map(view_name, cameras)) if isinstance(cameras, list) else NUSCENES.views


_WORD = re.compile(r"[A-Za-z]\w{0,39}", re.ASCII)


def description_rules(found: DataDescription) -> Iterator[Fault]:
    """One fault for each rule that a data set's description breaks."""
    yield from _names_rules("classes", found.names, "a class's name")
    categories = [
        (f"classes[{at}].categories[{place}]", name)
        for at, each in enumerate(found.classes)
        for place, name in enumerate(each.categories)
    ]
    yield from _twice([*categories, ("racks", found.racks)])
    for at, each in enumerate(found.classes):
        key = f"classes[{at}]"
        if not each.categories:
            yield Fault(f"{key}.categories", "[]", "must name one category at least")
        yield from _twice(
            [(f"{key}.attributes[{place}]", name) for place, name in enumerate(each.attributes)]
        )
        if each.outside_racks and not found.racks:
            yield Fault(f"{key}.outside_racks", "true", "needs the category of racks: set racks")
    yield from _names_rules("cameras", found.sensors[1:], "a camera's channel")
    yield from _names_rules("lidar", (found.lidar,), "the LiDAR's channel")
    if found.lidar in found.cameras:
        yield Fault("lidar", found.lidar, "is one of the cameras")
    if len(set(found.views)) < len(found.views):
        yield Fault("cameras", None, "two differ in case or CAM_ alone")
    yield from _point_range_rules(found)


def _point_range_rules(found: DataDescription) -> Iterator[Fault]:
    volume = found.point_range_m
    if volume is None:
        return
    if len(volume) != 6 or any(low >= high for low, high in zip(volume, volume[3:], strict=False)):
        rule = "must be x, y, z, x, y, z, the lower bounds first"
        yield Fault("point_range_m", f"{list(volume)}", rule)
        return
    corner = math.hypot(*(max(map(abs, volume[axis::3])) for axis in (0, 1)))
    for at, each in enumerate(found.classes):
        if each.range_m > corner:
            rule = f"reaches beyond point_range_m, whose corners are {corner:.1f} m away"
            yield Fault(f"classes[{at}].range_m", f"{each.range_m:g}", rule)


def _names_rules(key: str, names: Sequence[str], what: str) -> Iterator[Fault]:
    """Names of files, folders and metrics: words, each once, one at least and at most 100."""
    if not 1 <= len(names) <= MOST_NAMES:
        yield Fault(key, None, f"must be from 1 to {MOST_NAMES}, there are {len(names)}")
    entries = [(key if key == "lidar" else f"{key}[{at}]", name) for at, name in enumerate(names)]
    for place, name in entries:
        if not _WORD.fullmatch(name):
            rule = f"is no name for {what}: a letter, then letters, digits and _, 40 at most"
            yield Fault(place, shown(name), rule)
    yield from _twice(entries)


def _twice(entries: Sequence[tuple[str, str]]) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for place, name in entries:
        if name and first.setdefault(name, place) != place:
            yield Fault(place, shown(name), f"is named twice: {first[name]} too")
