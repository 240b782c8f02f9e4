"""Text from outside: stored text shown harmless, and typed text read as a path."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aqr_exp.errors import Fault, RequestError, cut, shown


def printable(text: str) -> str:
    """The text in one line, with what would steer a terminal or turn the line around spelled out."""
    if text.isprintable():
        return text
    return _spelled(" ".join(text.split()))


def printable_lines(text: str) -> str:
    """The same for text whose line breaks are meant, and stay."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "\n".join(_spelled(line.rstrip("\r").expandtabs(1)) for line in text.split("\n"))


def _spelled(line: str) -> str:
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in line
    )


def json_text(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON that a person can read, with the same marks as its own escapes: it decodes to the value."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    return "\n".join(
        line
        if line.isprintable()
        else "".join(mark if mark.isprintable() else json.dumps(mark)[1:-1] for mark in line)
        for line in text.split("\n")
    )


def as_file_name(text: str) -> str:
    """Stored text as a file's name: short, without marks that a file system or a shell knows."""
    return re.sub(r"[^\w.@+-]", "_", cut(text, 100))


def output_path(typed: str | Path) -> Path:
    """The path of a file to write, that was typed for `--output`.

    Raises:
        RequestError: Something else than a file is in its place: it would be replaced.
    """
    path = typed_path(typed, "--output")
    if path.exists() and not path.is_file():
        what = "a folder: name a file in it" if path.is_dir() else "no file: name one"
        raise RequestError(f"--output {shown(os.fspath(typed))}: that is {what}")
    return path


def typed_path(text: str | Path, key: str) -> Path:
    """The absolute path that was typed; `~` and `~name` stand for homes.

    Args:
        key: The option, key or variable that it was typed for.

    Raises:
        RequestError: There is no such home, or no current folder that it could be below.
    """
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        rule = "there is no such home folder: write the whole path"
    except OSError:
        rule = "the current folder does not exist any more: change to one that does"
    raise RequestError(Fault(key=key, value=os.fspath(text), rule=rule))
