"""Which checkpoint a run starts from: the hash of its content."""

import dataclasses
import hashlib
import os
from pathlib import Path

from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import RequestError

_CHUNK = 1 << 20


def with_checkpoint_identity(config: RunConfig) -> RunConfig:
    """Fill `start.sha256` in from the checkpoint, which must be there.

    Args:
        config: The run; a hash it already holds must be the file's.

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
    if not path.is_file():
        fault = "is a folder, not a checkpoint file" if path.is_dir() else "no such file"
        raise RequestError(f"start.load_from={start.load_from}: {fault}")
    try:
        digits = file_sha256(path)
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
        raise RequestError(f"start.load_from={start.load_from}: {fault}") from None
    if start.sha256 not in {"", digits}:
        raise RequestError(
            f"start.load_from={start.load_from}: the file changed: its sha256 is {digits}, "
            f"the run was made for {start.sha256}"
        )
    found = dataclasses.replace(start, load_from=os.fspath(path), sha256=digits)
    return dataclasses.replace(config, start=found)


def file_sha256(path: Path) -> str:
    """64 hex digits of a file's content, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
