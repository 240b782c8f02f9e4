"""Checksums inside small files: still for people to read, and any changed bit is noticed.

A JSON object ends with a `checksum` key, YAML begins with a comment: the SHA-256 of the rest of the
file. A file that an older version wrote has none; it is read, and said to be unverified.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.results.atomic import json_object, plain, read_content, replace_text

KEY = "checksum"
MISFIT = "its content does not fit its checksum"
_JSON_TAIL = re.compile(rb',?\n "checksum": "sha256:([0-9a-f]{64})"\n\}\n\Z')
_YAML_HEAD = re.compile(rb"# checksum: sha256:([0-9a-f]{64}) of the lines below\n")
# Longer than a tail and than a head.
_NEAR_BYTES = 120
# One damage cannot hide both of these, so a file with a checksum never passes for an older one.
_SIGNS = (b"checksum", b"sha256:")


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a file holds.

    Attributes:
        value: Its content, without the checksum.
        verified: Whether it has a checksum, which it then fits.
    """

    value: dict[str, Any]
    verified: bool


def replace_checked_json(path: Path, value: Mapping[str, Any]) -> None:
    """Put `value` at `path` as JSON with a checksum, in one step.

    Args:
        path: The file to create or replace.
        value: As in `replace_json`; it must not have the key `checksum`.

    Raises:
        ValueError: It has that key.
        TypeError: A value is no scalar, sequence or mapping.
        OSError: Writing failed; the old file is untouched.
    """
    if KEY in value:
        raise ValueError(f"the key '{KEY}' is kept for the file's own")
    text = json.dumps(plain(value), indent=1, allow_nan=False)
    head = text.removesuffix("}").removesuffix("\n")
    digest = hashlib.sha256(head.encode()).hexdigest()
    comma = "," if value else ""
    replace_text(path, f'{head}{comma}\n "{KEY}": "sha256:{digest}"\n}}\n')


def read_checked_json(path: Path) -> Checked:
    """Read what `replace_checked_json` wrote, or a JSON object without a checksum.

    Args:
        path: The file.

    Raises:
        AqrExpError: The file is missing, is no JSON object or does not fit its checksum.
    """
    content = read_content(path)
    value = json_object(path, content)
    tail = content[-_NEAR_BYTES:]
    found = _JSON_TAIL.search(tail)
    if found is None:
        if any(sign in tail for sign in _SIGNS):
            raise AqrExpError(f"{path} is damaged: {MISFIT}")
        return Checked(value=value, verified=False)
    head = content[: found.start() - len(tail)]
    if hashlib.sha256(head).hexdigest().encode() != found[1]:
        raise AqrExpError(f"{path} is damaged: {MISFIT}")
    del value[KEY]
    return Checked(value=value, verified=True)


def with_checksum_line(text: str) -> str:
    """Text with a checksum in a first line that YAML takes for a comment."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"# {KEY}: sha256:{digest} of the lines below\n{text}"


def fits_checksum_line(path: Path, content: bytes) -> bool:
    """Check what `with_checksum_line` made.

    Args:
        path: The file, for the message.
        content: What it holds.

    Returns:
        Whether it has a checksum; it then fits.

    Raises:
        AqrExpError: It does not fit.
    """
    head = content[:_NEAR_BYTES]
    found = _YAML_HEAD.match(head)
    if found is None:
        # An older version wrote no comments: a beginning of one is what is left of the first line.
        if head.startswith(b"#") or any(sign in head for sign in _SIGNS):
            raise AqrExpError(f"{path} is damaged: {MISFIT}")
        return False
    if hashlib.sha256(content[found.end() :]).hexdigest().encode() != found[1]:
        raise AqrExpError(f"{path} is damaged: {MISFIT}")
    return True
