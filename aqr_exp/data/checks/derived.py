"""Checks of info files and GT databases against the tables they were made from."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aqr_exp.config.inputs import info_path, objects_folder, sweeps_folder
from aqr_exp.data.checks.tables import DataFault
from aqr_exp.data.gt_database.build import database_faults
from aqr_exp.data.info_files import read_info_file
from aqr_exp.data.infos import FOREIGN, build_metainfo, sample_info, split_tokens
from aqr_exp.data.merged_sweeps import merged_faults
from aqr_exp.errors import RequestError
from aqr_exp.files.progress import Progress, no_progress


def difference(stored: Any, wanted: Any, where: str = "") -> str | None:
    """The first place at which two plain values differ, in words; NaN equals NaN."""
    if isinstance(wanted, dict) and isinstance(stored, dict):
        for key in [*wanted, *(key for key in stored if key not in wanted)]:
            if key not in stored or key not in wanted:
                return f"{where}{key} is {'missing' if key not in stored else 'unknown'}"
            found = difference(stored[key], wanted[key], f"{where}{key}.")
            if found:
                return found
        return None
    if isinstance(wanted, list) and isinstance(stored, list):
        name = where.rstrip(".")
        if len(wanted) != len(stored):
            return f"{name} has {len(stored)} entries, the tables give {len(wanted)}"
        pairs = enumerate(zip(stored, wanted, strict=True))
        return next(filter(None, (difference(s, w, f"{name}[{i}].") for i, (s, w) in pairs)), None)
    if _same(stored, wanted):
        return None
    return f"{where.rstrip('.')} is {_short(stored)}, the tables give {_short(wanted)}"


def _same(stored: Any, wanted: Any) -> bool:
    if isinstance(stored, float) and isinstance(wanted, float):
        both_nan = math.isnan(stored) and math.isnan(wanted)
        return both_nan or math.isclose(stored, wanted, rel_tol=1e-9, abs_tol=1e-9)
    return bool(stored == wanted)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def info_faults(
    nusc: Any, root: Path, split: str, count: int | None, progress: Progress = no_progress
) -> Iterator[DataFault]:
    """Faults of a split's info file against the devkit's tables: at most one per file.

    `count` samples, spread over the split, are compared whole; None compares all.
    """
    path = info_path(root, split)
    cause = _info_fault(nusc, path, split, count, progress)
    if cause:
        name = path.relative_to(root).as_posix()
        yield DataFault(file=name, kind="info file", cause=cause)


def _info_fault(
    nusc: Any, path: Path, split: str, count: int | None, progress: Progress
) -> str | None:
    if not path.exists():
        return "missing: `aqr-exp data prepare` makes it"
    try:
        content = read_info_file(path)
    except RequestError as error:
        return str(error).removeprefix(f"{path} ").removeprefix("is ")
    foreign = content["metainfo"].pop(FOREIGN, False)
    cause = difference(content["metainfo"], build_metainfo(nusc), "metainfo.")
    tokens = split_tokens(nusc, split)
    stored = [info.get("token") for info in content["data_list"]]
    if cause is None and sorted(map(str, stored)) != sorted(tokens):
        lacking = set(tokens) - set(stored)
        what = f"lacks the sample {min(lacking)}" if lacking else "holds samples of no such token"
        cause = f"{len(stored)} samples, the tables have {len(tokens)} in {split}: it {what}"
    if cause is None and stored != tokens:
        cause = "the samples are not in the tables' order"
    step = 1 if count is None else max(1, len(tokens) // max(1, count))
    for index in range(0, 0 if cause else len(tokens), step):
        wanted = sample_info(nusc, nusc.get("sample", tokens[index]), index)
        if foreign:
            wanted["instances"] = content["data_list"][index]["instances"]
        cause = difference(content["data_list"][index], wanted, f"data_list[{index}].")
        progress(index + 1, len(tokens))
        if cause:
            break
    return cause


def made_faults(root: Path, split: str) -> Iterator[DataFault]:
    """Faults of a split's GT database and of its merged sweeps; none of what was not made."""
    for kind, folder, faults in (
        ("objects", objects_folder(root, split), database_faults),
        ("merged sweeps", sweeps_folder(root, split), merged_faults),
    ):
        for name, cause in faults(root, split) if folder.is_dir() else ():
            file = (folder / name).relative_to(root).as_posix()
            yield DataFault(file=file, kind=kind, cause=f"{cause}: run `aqr-exp data prepare`")
