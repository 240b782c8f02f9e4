"""Identities of a run's inputs: the checkpoint it starts from, and its data."""

import dataclasses
import os
import re
import shlex
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from aqr_exp.config.schema import DataConfig, RunConfig
from aqr_exp.errors import AqrExpError, Fault, RequestError
from aqr_exp.files.atomic import file_sha256, read_json
from aqr_exp.files.suggest import did_you_mean


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
    path = Path(start.load_from).expanduser().absolute()
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


def info_path(root: Path, split: str) -> Path:
    """Info file of a split."""
    return info_folder(root) / f"{split}.pkl"


def objects_folder(root: Path, split: str) -> Path:
    """Folder of the GT database of a split."""
    return info_folder(root) / f"{split}.objects"


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


def with_data_identity(config: RunConfig) -> RunConfig:
    """Fill `data.fingerprint` in from the data, which must be there and have the one it holds.

    Raises:
        RequestError: No data there (says what makes them), another version, a split is missing,
            or the data are not those the run was made for.
        AqrExpError: The identity file is damaged.
    """
    return dataclasses.replace(config, data=identified(config.data))


def identified(data: DataConfig) -> DataConfig:
    """The data with their content's fingerprint; see `with_data_identity`."""
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
    _check_objects(root, data)
    return dataclasses.replace(data, fingerprint=digits)


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
    infos = info_path(root, data.train_split)
    if read_json(index).get("infos_sha256") != _sha256(infos):
        fault = f"the objects of {data.train_split} were cut out of other data than {infos} names"
        raise RequestError(Fault("data.gt_sampling", None, f"{fault}: {remedy} anew"))


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
    if data.name == "synth":
        usual = Path("data/synth").resolve()
        where = "" if root.resolve() == usual else f" --root {shlex.quote(str(root))}"
        return f"make it with `aqr-exp data synth{where}`"
    if (root / data.version).is_dir():
        command = f"aqr-exp data prepare --root {shlex.quote(str(root))} --version {data.version}"
        return f"prepare it with `{command}`"
    return "set data.root (or AQR_EXP_DATA, the folder that holds data sets) to where it is"
