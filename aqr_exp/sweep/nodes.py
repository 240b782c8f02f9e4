"""YAML with line numbers: a file's nodes, and faults that name file, line and remedy."""

import importlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.config.compose import Override, group_options, override_faults
from aqr_exp.errors import Fault, RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.sweep.request import Axis, Overrides
from aqr_exp.sweep.values import as_text, read_values

# As YAML 1.2 and the command line read them; YAML 1.1 takes 1e-4 for text.
_NUMBER = re.compile(r"[-+]?(\.\d+|\d+(_\d+)*(\.\d*)?)([eE][-+]?\d+)?")
# What names several values; within { } its commas make it need quotes.
_FUNCTION = re.compile(r"(range|choice|glob|interval|tag|int|float)\(.*\)", re.DOTALL)
MOST_BYTES = 1_000_000
LONGEST_NUMBER = 1000
CUT = 'a value is cut at its comma: within { } write it in quotes, "range(0, 3)"'


class Faults:
    """The faults of one file, collected so that all are said at once.

    Args:
        shown: The file, as it is named in messages.
    """

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.lines: list[tuple[int, str]] = []

    def place(self, node: Any) -> str:
        """File and line of a node."""
        return f"{self.shown}:{node.start_mark.line + 1}"

    def add(self, node: Any, fault: str) -> None:
        """Note what is wrong with a node."""
        line = node.start_mark.line + 1
        self.lines += [(line, f"{self.shown}:{line}: {text}") for text in fault.splitlines()]

    def check(self) -> None:
        """Refuse the file when anything was noted.

        Raises:
            RequestError: One line for each fault, in the order of the file.
        """
        if self.lines:
            ordered = sorted(self.lines, key=lambda item: item[0])
            raise RequestError("\n".join(dict.fromkeys(text for _, text in ordered)))


def read_root(path: Path, shown: str) -> Any:
    """The mapping node a YAML file holds.

    Args:
        path: The file.
        shown: The file, as it is named in messages.

    Raises:
        RequestError: It cannot be read, is no YAML, or holds something else.
    """
    import yaml

    try:
        if path.stat().st_size > MOST_BYTES:
            raise RequestError(f"{shown}: is larger than {MOST_BYTES} bytes: no sweep file is")
        root = _composed(path.read_text(encoding="utf-8"), shown)
    except OSError as error:
        raise RequestError(f"{shown}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RequestError(f"{shown}: is no text in UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        fault = " ".join(str(getattr(error, "problem", error)).split())
        raise RequestError(f"{shown}{line}: is no YAML: {fault}") from None
    except RecursionError:
        raise RequestError(f"{shown}: is nested too deeply") from None
    if root is None:
        raise RequestError(f"{shown}: is empty: a sweep needs at least 'variant'")
    if root.id != "mapping":
        raise RequestError(f"{shown}:1: holds no keys: write key: value")
    return root


def _composed(text: str, shown: str) -> Any:
    """The root node of a text, None when it is empty; aliases are refused."""
    yaml: Any = importlib.import_module("yaml")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # One short file of aliases can stand for more nodes than any memory holds.
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            fault = f"alias '*{event.anchor}': a sweep file has none: write the value out"
            raise RequestError(f"{shown}:{event.start_mark.line + 1}: {fault}")
    return yaml.compose(text, Loader=loader)


def entries(node: Any, faults: Faults, what: str) -> Iterator[tuple[str, Any, Any]]:
    """The (key, key node, value node) of a mapping, each key once.

    Args:
        node: A node that should be a mapping.
        faults: Where faults go.
        what: What the node is, for messages.
    """
    if node.id != "mapping":
        faults.add(node, f"{what} is {kind(node)}: write keys with their values below it")
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        if key.id != "scalar" or key.tag.endswith(":merge"):
            faults.add(key, f"{what} has a key that is no word: write key: value")
        elif key.value in seen:
            faults.add(key, f"'{key.value}' is given twice (first in line {seen[key.value]})")
        else:
            seen[key.value] = key.start_mark.line + 1
            yield key.value, key, value


def quiet_entries(node: Any) -> list[tuple[str, Any, Any]]:
    """The entries of a mapping, where its faults are said elsewhere; none of anything else."""
    return list(entries(node, Faults(""), "")) if node.id == "mapping" else []


def known_entries(
    node: Any, faults: Faults, what: str, known: Collection[str]
) -> dict[str, tuple[Any, Any]]:
    """The (key node, value node) by key; a key that is not known is a fault."""
    found = {}
    for name, key, value in entries(node, faults, what):
        if name in known:
            found[name] = (key, value)
        else:
            guess = did_you_mean(name, known) or f" (known: {', '.join(known)})"
            faults.add(key, f"unknown key '{name}'{guess}")
    return found


def kind(node: Any) -> str:
    """What a node holds, in words."""
    if node.id == "mapping":
        return "a group of keys"
    if node.id == "sequence":
        return "a list"
    if is_text(node):
        return f"the text {node.value!r}"
    return f"the value {node.value}" if node.value else "empty"


def is_text(node: Any) -> bool:
    """Whether a node is text: quoted, or a word that is no number, truth value or null."""
    if node.id != "scalar":
        return False
    return isinstance(value_of(node), str)


def value_of(node: Any) -> Any:
    """A node as a plain value: scalars as YAML 1.2 reads them, and lists of such.

    Raises:
        ValueError: It is or holds a mapping.
    """
    if node.id == "sequence":
        return [value_of(item) for item in node.value]
    if node.id != "scalar":
        raise ValueError
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


def text_of(node: Any) -> str:
    """A node as it would be typed; an unquoted word and `range(0, 3)` and the like as they stand.

    Raises:
        ValueError: It is or holds a mapping.
    """
    value = value_of(node)
    if isinstance(value, str) and (_unquoted(node) or _FUNCTION.fullmatch(value)):
        return value
    return as_text(value)


def is_cut(text: str) -> bool:
    """Whether a word is half of a value that YAML parted at its comma."""
    return text.count("(") != text.count(")")


def _unquoted(node: Any) -> bool:
    return node.id == "scalar" and node.style in {None, ""}  # by the loaders in Python and in C


# Keys that stand elsewhere in the file when used as an override.
_ELSEWHERE = {
    "seed": "seeds stand under 'seeds', as a list",
    "variant": "variants stand under 'variant', or within one of the 'points'",
}


@dataclass
class ValueReader:
    """Reads overrides and axes of one file; what is wrong with them goes to `faults`."""

    faults: Faults

    def __post_init__(self) -> None:
        self.groups = group_options()

    def items(self, node: Any, what: str) -> Sequence[Any]:
        """The nodes of a list that holds at least one."""
        if node.id != "sequence":
            self.faults.add(node, f"'{what}' is {kind(node)}: write a list, [a, b]")
            return ()
        if not node.value:
            self.faults.add(node, f"'{what}' is an empty list: write values, or leave the key out")
        return node.value  # type: ignore[no-any-return]

    def overrides(self, node: Any, what: str = "this", leave: str = "") -> Overrides:
        """Keys with one value each; `leave` is a key that something else reads."""
        found: list[Override] = []
        for name, key, value in entries(node, self.faults, what):
            if name == leave or not self.known(name, key):
                continue
            several = self._read(name, value)
            if len(several) > 1:
                fault = f"{name}={value.value}: names several values: put it under 'grid'"
                self.faults.add(value, fault)
            found += several[:1]
        return tuple(found)

    def axes(self, node: Any) -> tuple[Axis, ...]:
        """Keys with several values each."""
        found = []
        for name, key, value in entries(node, self.faults, "this"):
            if not self.known(name, key):
                continue
            if value.id == "sequence":
                values = [
                    each for item in self.items(value, name) for each in self._one(name, item)
                ]
            else:
                values = list(self._read(name, value))
                if len(values) == 1 and "(" not in value.value:
                    fault = f"'{name}' is {kind(value)}: write a list, or put it under 'fixed'"
                    self.faults.add(value, fault)
            if values:
                place = self.faults.place(key)
                found.append(Axis(key=name, values=tuple(values), where=place))
        return tuple(found)

    def _one(self, key: str, node: Any) -> Overrides:
        """One element of a list of values."""
        found = self._read(key, node)
        if len(found) > 1:
            fault = f"{key}: {node.value} in a list names several: write it instead of the list"
            self.faults.add(node, fault)
        return found[:1]

    def _read(self, key: str, node: Any) -> Overrides:
        """The values of one node as overrides of a key."""
        where = self.faults.place(node)
        try:
            text = text_of(node)
        except ValueError:
            self.faults.add(node, f"'{key}' is {kind(node)}: write a value")
            return ()
        if node.id == "scalar" and value_of(node) is None:
            self.faults.add(node, f"'{key}' is empty: write a value")
            return ()
        if node.id == "scalar" and is_cut(text):
            self.faults.add(node, CUT)
            return ()
        try:
            found = tuple(
                Override(key=key, text=item, value=value, where=where)
                for item, value in read_values(key, text, self.groups)
            )
        except RequestError as error:
            self.faults.add(node, str(error))
            return ()
        for override in found if key in self.groups else found[:1]:
            fault = override_faults([override], "", self.groups)
            if fault:
                self.faults.add(node, str(fault[0]))
                return ()
        return found

    def known(self, name: str, key: Any) -> bool:
        """Whether a key may be set here; said at the key, once, whatever its values."""
        fault: Sequence[Fault | str]
        if is_cut(name):
            fault = [CUT]
        elif name in _ELSEWHERE:
            fault = [f"'{name}' cannot be set here: {_ELSEWHERE[name]}"]
        elif name in self.groups:
            fault = []
        else:
            fault = override_faults([Override(key=name, text="0", value=0)], "", self.groups)
        self.faults.add(key, "\n".join(map(str, fault)))
        return not fault
