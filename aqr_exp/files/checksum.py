"""Checksums that bind a stored file to its run and its name."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import plain, replace_text
from aqr_exp.files.reading import decode_json, read_content

Content = TypeVar("Content")

KEY = "checksum"
MISFIT = "its content does not fit its checksum"
_JSON_TAIL = re.compile(
    rb',?\n "checksum": "sha256:([0-9a-f]{64})(?: of ((?:[^"\\\n]|\\.)+))?"\n\}\n\Z'
)
_YAML_HEAD = re.compile(
    rb'# checksum: sha256:([0-9a-f]{64}) of the lines below(?:, "((?:[^"\\\n]|\\.)+)")?\n'
)
# Longer than a tail with the longest name, and than the part of a head that no name is in.
_TAIL_BYTES, _HEAD_BYTES = 2000, 120
LONGEST_PLACE = 80
# One damage cannot hide both of these, so a file with a checksum never passes for an older one.
_SIGNS = (b"checksum", b"sha256:")


class Covers(IntEnum):
    """What the checksum of a file covers; those of older versions cover less."""

    NOTHING = 0
    CONTENT = 1
    PLACE = 2
    """The content, and the names of its run and of the file."""


@dataclass(frozen=True, kw_only=True)
class Checked(Generic[Content]):
    """The content of a file, and what the checksum covers that it fits."""

    value: Content
    covers: Covers

    @property
    def verified(self) -> bool:
        """Whether it is certain that the content is of this run and this file."""
        return self.covers is Covers.PLACE


def replace_checked_json(path: Path, value: Mapping[str, Any], place: str | None) -> None:
    """Put `value` at `path` as `replace_json` does, with a checksum as its last key.

    Args:
        place: The names that the checksum binds it to, `<run>/<file>`; None binds it to none.

    Raises:
        ValueError: It has the key `checksum` already.
    """
    if KEY in value:
        raise ValueError(f"the key '{KEY}' is kept for the file's own")
    text = json.dumps(plain(value), indent=1, allow_nan=False)
    head = text.removesuffix("}").removesuffix("\n")
    quoted = "" if place is None else _quoted(place)
    of = f" of {quoted}" if quoted else ""
    comma = "," if value else ""
    digest = _digest(head.encode(), quoted.encode())
    replace_text(path, f'{head}{comma}\n "{KEY}": "sha256:{digest}{of}"\n}}\n')


def read_checked_json(path: Path, place: str, kind: Any = dict[str, Any]) -> Checked[Any]:
    """Read what `replace_checked_json` wrote, or a JSON object without a checksum.

    Args:
        place: The names it must be bound to, where it is bound.
        kind: The type of its content; any object by default.

    Raises:
        AqrExpError: It is missing, does not fit its checksum, belongs elsewhere, or is something else.
    """
    content = read_content(path, follow=False)
    tail = content[-_TAIL_BYTES:]
    found = _JSON_TAIL.search(tail)
    head = content if found is None else content[: found.start() - len(tail)]
    covers = _fits(path, place, found, head, tail)
    value = decode_json(path, content, kind)
    if found is not None and isinstance(value, dict):
        del value[KEY]
    return Checked(value=value, covers=covers)


def with_checksum_line(text: str, place: str) -> str:
    """Text with a checksum that binds it to its place, in a first line that YAML takes for a comment."""
    quoted = _quoted(place)
    digest = _digest(text.encode(), quoted.encode())
    return f'# {KEY}: sha256:{digest} of the lines below, "{quoted}"\n{text}'


def check_checksum_line(path: Path, place: str, content: bytes) -> Covers:
    """What the checksum covers that `with_checksum_line` added to a text.

    Raises:
        AqrExpError: It does not fit, or the text belongs elsewhere.
    """
    found = _YAML_HEAD.match(content)
    head = content[:_HEAD_BYTES]
    # An older version wrote no comments: a beginning of one is what is left of the first line.
    if found is None and head.startswith(b"#"):
        raise AqrExpError(f"{path} is damaged: {MISFIT}")
    return _fits(path, place, found, content[found.end() if found else 0 :], head)


def claimed_cover(content: bytes) -> Covers:
    """What the checksum of a JSON file or a YAML text says it covers."""
    found = _YAML_HEAD.match(content) or _JSON_TAIL.search(content[-_TAIL_BYTES:])
    if found is None:
        return Covers.NOTHING
    return Covers.CONTENT if found[2] is None else Covers.PLACE


def elsewhere(path: Path, place: str) -> AqrExpError:
    """The error for a file that belongs to another run, or under another name."""
    # Quoted, a name cannot steer a terminal.
    return AqrExpError(
        f"{path} is damaged: it is {_quoted(place[:LONGEST_PLACE])}: put it, or its folder, back there"
    )


def _fits(
    path: Path, place: str, found: re.Match[bytes] | None, covered: bytes, near: bytes
) -> Covers:
    if found is None:
        if any(sign in near for sign in _SIGNS):
            raise AqrExpError(f"{path} is damaged: {MISFIT}")
        return Covers.NOTHING
    if _digest(covered, found[2] or b"").encode() != found[1]:
        raise AqrExpError(f"{path} is damaged: {MISFIT}")
    if found[2] is None:
        return Covers.CONTENT
    if found[2] != _quoted(place).encode():
        raise elsewhere(path, found[2].decode("ascii", "replace"))
    return Covers.PLACE


def _digest(covered: bytes, quoted_place: bytes) -> str:
    bound = quoted_place + b"\0" if quoted_place else b""
    return hashlib.sha256(bound + covered).hexdigest()


def _quoted(place: str) -> str:
    return json.dumps(place)[1:-1]
