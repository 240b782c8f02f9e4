"""Files replaced in one step, and the litter of writers that were killed."""

import contextlib
import functools
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO


@contextlib.contextmanager
def writes(path: Path) -> Iterator[None]:
    """Name `path`, for which all that is done here is, in an error of the operating system."""
    try:
        yield
    except OSError as error:
        error.filename = os.fspath(path)
        del error.filename2
        raise


def replace_text(path: Path, text: str) -> None:
    """Put `text` at `path` as UTF-8, as `replace_bytes` does."""
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Put `content` at `path` in one step, as `replacing` does."""
    with writes(path), replacing(path, durable=durable) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` in one step: readers see the old or the whole new one.

    Args:
        path: The file to create or replace; its folder must exist.
        durable: Whether to wait until it would survive a crash of the machine; a cache need not.

    Raises:
        OSError: Writing failed; the old file is untouched and the temporary one is gone.
    """
    clear_litter(path.parent)
    temporary = draft_of(path)
    try:
        with writes(path):
            file = temporary.open("xb")
        with file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        with writes(path):
            os.replace(temporary, path)  # noqa: PTH105 - tests fail this very call
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


# After so long, what a writer of another machine was about to write is litter too.
FORGOTTEN_S = 24 * 3600.0


def draft_of(path: Path) -> Path:
    """A hidden name beside `path` for what is written before it gets that name, with its writer in it."""
    return path.with_name(f".{path.name}.{os.getpid()}.{_here()}{secrets.token_hex(4)}.tmp")


@functools.cache
def clear_litter(folder: Path) -> None:
    """Remove what killed writers left in a folder, when this process first writes there.

    A draft goes when its writer ran here and is gone; that of another machine after a day.
    """
    with contextlib.suppress(OSError):
        names = os.listdir(folder)  # noqa: PTH208 - names only
        for name in names:
            if name[0] == "." and name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    _remove_if_litter(folder / name)


def _remove_if_litter(draft: Path) -> None:
    found = re.fullmatch(r"\..+\.([1-9]\d{0,8})\.([0-9a-f]{8})[0-9a-f]{8}\.tmp", draft.name)
    status = draft.lstat()
    if found is None or found[2] != _here():
        gone = time.time() - status.st_mtime > FORGOTTEN_S
    else:
        gone = False
        try:
            os.kill(int(found[1]), 0)
        except ProcessLookupError:
            gone = True
    if gone and stat.S_ISDIR(status.st_mode):
        shutil.rmtree(draft)
    elif gone:
        draft.unlink()


@functools.cache
def _here() -> str:
    """Eight digits for where a process number counts: this machine, since its start, in this container."""
    facts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        facts.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 - no path, an identifier
    return hashlib.sha256("".join(facts).encode()).hexdigest()[:8]


def replace_json(path: Path, value: Mapping[str, Any]) -> None:
    """Put what `plain` makes of `value` at `path` as JSON, as `replace_bytes` does."""
    replace_text(path, json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Reduce a value to what standard JSON can hold: NaN and infinities become None.

    Args:
        value: Scalars (also NumPy's and zero-dimensional tensors), sequences, mappings, paths.

    Raises:
        TypeError: A value has no such form.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # NumPy scalars and zero-dimensional tensors, without their imports
        return plain(value.item())
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON: {value!r}")
