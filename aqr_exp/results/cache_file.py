"""Files below `<results>/.cache`: what can be computed again, whole and of this version or ignored."""

import contextlib
import hashlib
import time
from pathlib import Path
from typing import TypeVar

import msgspec

from aqr_exp import __version__
from aqr_exp.results.atomic import replace_bytes

_DIGEST_BYTES = hashlib.sha256().digest_size
# To be raised when what is cached is computed in another way.
_FORM = 1
# A file that a writer was killed over is litter after so long.
_LITTER_S = 60.0

Content = TypeVar("Content")


def read_cache(path: Path, kind: type[Content]) -> Content | None:
    """What `write_cache` wrote; None when it is absent, damaged or of another version.

    Args:
        path: The file.
        kind: The type of its content.
    """
    try:
        stored = path.read_bytes()
        digest, packed = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        if hashlib.sha256(packed).digest() != digest:
            return None
        written_by, form, content = msgspec.msgpack.decode(
            packed, type=tuple[str, int, msgspec.Raw]
        )
        if (written_by, form) != (__version__, _FORM):
            return None
        return msgspec.msgpack.decode(content, type=kind)
    except (OSError, ValueError, RecursionError):
        return None


def write_cache(path: Path, content: object) -> None:
    """Replace a cached file in one step; where it cannot be written, nothing is cached.

    Args:
        path: The file; its folder is made when only that lacks.
        content: What msgpack can hold.
    """
    packed = msgspec.msgpack.encode((__version__, _FORM, content))
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        for left in path.parent.glob(f".{path.name}.*.tmp"):
            if time.time() - left.stat().st_mtime > _LITTER_S:
                left.unlink()
        replace_bytes(path, hashlib.sha256(packed).digest() + packed, durable=False)
