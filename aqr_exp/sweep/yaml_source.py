"""Sweep files: YAML with line numbers, read into plain values with their places."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aqr_exp.errors import Fault, RequestError, cut, shown
from aqr_exp.files.yaml_text import yaml_root
from aqr_exp.sweep.builder import Node, SweepBuilder
from aqr_exp.sweep.request import SweepRequest
from aqr_exp.sweep.values import as_text

# As YAML 1.2 and the command line read them; YAML 1.1 takes 1e-4 for text.
_NUMBER = re.compile(r"[-+]?(\.\d+|\d+(_\d+)*(\.\d*)?)([eE][-+]?\d+)?")
# What names several values; within { } its commas make it need quotes.
_FUNCTION = re.compile(r"(range|choice|glob|interval|tag|int|float)\(.*\)", re.DOTALL)
LONGEST_NUMBER = 1000


def read_sweep(path: Path, shown: str | None = None) -> SweepRequest:
    """Read a sweep file.

    Args:
        shown: Its name in messages; its path by default.

    Raises:
        RequestError: One fault for each thing wrong: file, line, what is wrong, what to write.
    """
    shown = shown or str(path)
    builder = SweepBuilder(source=shown)

    def note(line: int, rule: str) -> None:
        builder.faults.append((line, Fault(rule=rule, where=f"{shown}:{line}")))

    try:
        root = yaml_root(path, shown, "sweep file", "a sweep needs at least 'variant'")
        root = _node(root, note, "the file")
        return builder.build(root, path.stem)
    except RecursionError:
        raise RequestError(Fault(rule="is nested too deeply", where=shown)) from None


def _node(node: Any, note: Callable[[int, str], None], what: str = "this") -> Node:
    """A YAML node as plain values; `note` takes the (line, fault) of keys that cannot be used."""
    line = node.start_mark.line + 1
    if node.id == "mapping":
        entries: dict[str, tuple[int, Node]] = {}
        for key, value in node.value:
            at = key.start_mark.line + 1
            if key.id != "scalar" or key.tag.endswith(":merge"):
                note(at, f"{what} has a key that is not a word: write key: value")
            elif key.value in entries:
                first = entries[key.value][0]
                note(at, f"'{key.value}' is given twice (first in line {first})")
            else:
                entries[key.value] = (at, _node(value, note))
        return Node(line=line, kind="a group of keys", entries=entries)
    if node.id == "sequence":
        items = tuple(_node(item, note, "a point") for item in node.value)
        plain = [item.value for item in items]
        typed = all(item.text is not None for item in items)
        text = as_text(plain) if typed else None
        return Node(line=line, kind="a list", items=items, text=text, value=plain)
    value = _scalar(node)
    kind = f"the value {cut(node.value)}" if node.value else "empty"
    text = as_text(value)
    if isinstance(value, str):
        kind = f"the text {shown(node.value)}"
        text = value if _unquoted(node) or _FUNCTION.fullmatch(value) else text
    return Node(line=line, kind=kind, raw=node.value, text=text, value=value)


def _scalar(node: Any) -> Any:
    """A scalar as YAML 1.2 reads it."""
    text = node.value
    if not _unquoted(node):
        return text
    if text in {"", "~", "null", "Null", "NULL"}:
        return None
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if _NUMBER.fullmatch(text):
        whole = text.lstrip("+-").replace("_", "").isdigit()
        # Python reads no whole number of thousands of digits.
        return int(text) if whole and len(text) <= LONGEST_NUMBER else float(text)
    return text


def _unquoted(node: Any) -> bool:
    return node.style in {None, ""}  # by the loaders in Python and in C
