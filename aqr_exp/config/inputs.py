"""Identities of a run's inputs: the checkpoint it starts from, and its data."""

import contextlib
import dataclasses
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from aqr_exp.config.data_files import DESCRIPTION, changed_files, content_fingerprint, record_data
from aqr_exp.config.description import read_description
from aqr_exp.config.schema import DataConfig, RunConfig
from aqr_exp.config.sources import check_sources
from aqr_exp.errors import AqrExpError, Fault, RequestError
from aqr_exp.files.reading import file_sha256, read_json
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.files.text import typed_path


def with_checkpoint_identity(config: RunConfig) -> RunConfig:
    """Fill `start.sha256` in from the checkpoint, which must be there and have the hash it holds.

    Returns:
        The same run with an absolute `start.load_from` and the file's hash; unchanged when it
        trains from scratch.

    Raises:
        RequestError: The file is missing or cannot be read, or is not the one the run was made for.
    """
    start = config.start
    if start is None:
        return config
    # The training process may run in another folder than the one a relative path was typed in.
    path = typed_path(start.load_from, "start.load_from")
    fault = partial(Fault, "start.load_from", start.load_from)
    if not path.is_file():
        folder = path.is_dir()
        raise RequestError(
            fault("is a folder, not a checkpoint file" if folder else "no such file")
        )
    try:
        digits = file_sha256(path)
    except OSError as error:
        raise RequestError(fault(f"cannot be read: {error.strerror}")) from None
    if start.sha256 not in {"", digits}:
        made = f"the run was made for {start.sha256}"
        raise RequestError(fault(f"the file changed: its sha256 is {digits}, {made}"))
    found = dataclasses.replace(start, load_from=os.fspath(path), sha256=digits)
    return dataclasses.replace(config, start=found)


def info_folder(root: Path) -> Path:
    """Folder of everything derived from the data below `root`."""
    return root / "aqr_infos"


def identity_path(root: Path) -> Path:
    """File with the fingerprint of the data below `root`."""
    return info_folder(root) / "fingerprint.json"


def record_path(root: Path) -> Path:
    """Record of the files below `root`, as they were when the fingerprint was computed."""
    return info_folder(root) / "files.json"


def info_path(root: Path, split: str) -> Path:
    """Info file of a split."""
    return info_folder(root) / f"{split}.pkl"


def objects_folder(root: Path, split: str) -> Path:
    """Folder of the GT database of a split."""
    return info_folder(root) / f"{split}.objects"


_SWEEPS = ".sweeps"


def sweeps_folder(root: Path, split: str) -> Path:
    """Folder of the merged sweeps of a split."""
    return info_folder(root) / f"{split}{_SWEEPS}"


def derived_record(folder: Path) -> Path:
    """Record of the files of a GT database, or of merged sweeps."""
    return folder / "files.json"


def read_data_identity(root: Path) -> dict[str, Any]:
    """The identity that the data below `root` give.

    Returns:
        `fingerprint` (16 hex digits), `version`, `splits` (samples by name), `synthetic`.

    Raises:
        AqrExpError: The file is missing or damaged.
    """
    path = identity_path(root)
    value = read_json(path)
    digits = value.get("fingerprint")
    if not isinstance(digits, str) or not re.fullmatch(r"[0-9a-f]{16}", digits):
        raise AqrExpError(f"{path} is damaged: fingerprint is {digits!r}, not 16 hex digits")
    if not isinstance(value.get("splits"), dict) or not isinstance(value.get("version"), str):
        raise AqrExpError(f"{path} is damaged: it names no splits or no version")
    if not isinstance(value.get("synthetic"), bool):
        raise AqrExpError(f"{path} is damaged: it does not say whether the data are synthetic")
    return value


def with_data_identity(config: RunConfig, compared: set[str] | None = None) -> RunConfig:
    """Fill `data.fingerprint` in from the data, which must be there and have the one it holds.

    The files must be as they were when the fingerprint was computed; so must an idea's sources.

    Args:
        compared: Roots whose files are not compared again; this one is added.

    Raises:
        RequestError: No data there (says what makes them), another version, a split is missing,
            files changed, or the data are not those the run was made for.
        AqrExpError: The identity file is damaged.
    """
    check_sources(config)
    found = dataclasses.replace(config, data=identified(config.data, compared))
    check_lengths(found, lengths(found.data))
    return found


def lengths(data: DataConfig) -> Mapping[str, int]:
    """Samples of each split there."""
    samples: Mapping[str, int] = read_data_identity(Path(data.root))["splits"]
    return samples


def check_lengths(config: RunConfig, samples: Mapping[str, int]) -> None:
    """Refuse splits without samples, and a batch that the training split cannot fill once.

    Args:
        samples: As `lengths` gives them.

    Raises:
        RequestError: One fault for each.
    """
    data, batch = config.data, config.schedule.batch_size
    faults = [
        Fault(f"data.{key}", f"{split!r}", "the split has no samples")
        for key, split in (("train_split", data.train_split), ("val_split", data.val_split))
        if not samples[split]
    ]
    most = samples[data.train_split]
    if most and batch > most and not config.schedule.cbgs:  # which draws a sample several times
        rule = f"a batch of more samples than {data.train_split} has: must be from 1 to {most}"
        faults.append(Fault("schedule.batch_size", f"{batch}", rule))
    if faults:
        raise RequestError(*faults)


def identified(data: DataConfig, compared: set[str] | None = None) -> DataConfig:
    """The data with their content's fingerprint; see `with_data_identity`."""
    compared = set() if compared is None else compared
    root = Path(data.root)
    if not identity_path(root).is_file():
        raise RequestError(Fault("data.root", data.root, f"no data set there: {how_to_make(data)}"))
    found = read_data_identity(root)
    if found["version"] != data.version:
        rule = f"{data.root} holds {found['version']!r}"
        raise RequestError(Fault("data.version", f"{data.version!r}", rule))
    for key, split in (("train_split", data.train_split), ("val_split", data.val_split)):
        if split not in found["splits"]:
            guess = did_you_mean(split, found["splits"])
            available = ", ".join(found["splits"])
            hint = f"{guess} (there: {available})"
            raise RequestError(Fault(f"data.{key}", f"{split!r}", "no such split", hint))
    digits = found["fingerprint"]
    if data.fingerprint not in {"", digits}:
        rule = f"the data changed: they are {digits}, the run was made for {data.fingerprint}"
        raise RequestError(Fault("data.root", data.root, rule))
    if data.root not in compared:
        again = "data synth --force" if data.version == "v1.0-synth" else "data prepare"
        _refuse_changes(partial(Fault, "data.root", data.root), data_changes(root, found), again)
        compared.add(data.root)
    description = read_description(root)
    if found.get("classes") != (description and list(description.names)) or (
        data.fingerprint and description != data.description
    ):
        rule = f"{DESCRIPTION} is not what it was prepared by: run `aqr-exp data prepare`"
        raise RequestError(Fault("data.root", data.root, rule))
    _check_objects(root, data)
    for split in (data.train_split, data.val_split):
        if (folder := sweeps_folder(root, split)).is_dir():
            fault = partial(Fault, "data.root", data.root)
            words = f"the merged sweeps of {split} are"
            _check_derived(fault, folder, info_path(root, split), words)
    return dataclasses.replace(data, fingerprint=digits, description=description)


def data_changes(root: Path, identity: Mapping[str, Any]) -> list[str]:
    """What is wrong with the files below `root`, against the record of their preparation.

    Data that an older version prepared have no record: their content is hashed, and recorded when it
    is the identity's. Where the tables are gone too, nothing can be trained or scored, nor compared.

    Args:
        identity: As `read_data_identity` gives it.
    """
    record, version = record_path(root), identity["version"]
    with contextlib.suppress(AqrExpError):
        return changed_files(record, root)
    if not (root / version).is_dir():
        return []
    infos = [info_path(root, split) for split in identity["splits"]]
    digits = content_fingerprint(root, version, infos)
    if digits != identity["fingerprint"]:
        return [f"the content is {digits}, and {identity['fingerprint']} was prepared"]
    with contextlib.suppress(OSError):
        record_data(record, root, version, [*infos, identity_path(root)])
    return []


def derived_changes(folder: Path) -> list[str]:
    """What is wrong with the files of such a folder; nothing is known of one without a record."""
    record = derived_record(folder)
    try:
        # Older versions wrote none of objects.
        known = record.exists() or folder.suffix == _SWEEPS
        return changed_files(record, folder) if known else []
    except AqrExpError as error:
        return [str(error)]


# Of a file's name; official ones have 80 characters.
_SHOWN = 60


def _refuse_changes(fault: Callable[[str], Fault], changes: Sequence[str], again: str) -> None:
    """Refuse changed files: the first of them, how many more, and the command that makes them anew."""
    if not changes:
        return
    name, _, cause = changes[0].partition(" ")
    if len(name) > _SHOWN:
        name = f"{name[: _SHOWN // 2]}...{name[-_SHOWN // 2 :]}"
    more = f" (and {len(changes) - 1:,} more)" if len(changes) > 1 else ""
    remedy = f"restore it, or make the data anew (`aqr-exp {again}`)"
    raise RequestError(fault(f"{name} {cause}{more}: {remedy}"))


def _check_objects(root: Path, data: DataConfig) -> None:
    """Refuse ground-truth sampling from objects that were never cut out, or from other data."""
    if data.gt_sampling is None:
        return
    index = objects_folder(root, data.train_split) / "index.json"
    remedy = f"`aqr-exp data prepare --root {shlex.quote(str(root))}` makes them"
    if not index.is_file():
        raise RequestError(
            Fault("data.gt_sampling", None, f"no objects of {data.train_split}: {remedy}")
        )
    fault = partial(Fault, "data.gt_sampling", None)
    words = f"the objects of {data.train_split} were cut out"
    _check_derived(fault, index.parent, info_path(root, data.train_split), words)


def _check_derived(fault: Callable[[str], Fault], folder: Path, infos: Path, words: str) -> None:
    """Refuse a folder that was made of other data than an info file names, or has changed since.

    Raises:
        AqrExpError: Its index is missing or damaged.
    """
    made = read_json(folder / "index.json").get("infos_sha256")
    if made != _sha256(infos):
        remedy = (
            f"`aqr-exp data prepare --root {shlex.quote(str(folder.parents[1]))}` makes them anew"
        )
        raise RequestError(fault(f"{words} of other data than {infos} names: {remedy}"))
    changes = [f"{folder.name}/{change}" for change in derived_changes(folder)]
    _refuse_changes(fault, changes, "data prepare")


def _sha256(path: Path) -> str | None:
    """Of a file's content, read once while it stays as it is; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return _sha256_at(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _sha256_at(path: Path, size: int, changed_ns: int) -> str:
    del size, changed_ns
    return file_sha256(path)


def how_to_make(data: DataConfig) -> str:
    """The command that makes the data set."""
    root = Path(data.root)
    if data.version == "v1.0-synth":
        kind = "" if data.name == "synth" else f" --set {data.name}"
        usual = Path("data", data.name).resolve()
        where = "" if root.resolve() == usual else f" --root {shlex.quote(str(root))}"
        return f"make it with `aqr-exp data synth{kind}{where}`"
    if (root / data.version).is_dir():
        command = f"aqr-exp data prepare --root {shlex.quote(str(root))} --version {data.version}"
        return f"prepare it with `{command}`"
    return "set data.root (or AQR_EXP_DATA, the folder that holds data sets) to where it is"
