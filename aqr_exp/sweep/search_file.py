"""The part of a sweep file that makes it a search."""

from collections.abc import Mapping
from typing import Any

from aqr_exp.errors import RequestError
from aqr_exp.sweep.dimensions import HOW, read_dimension
from aqr_exp.sweep.file_values import ValueReader
from aqr_exp.sweep.nodes import CUT, entries, is_cut, kind, known_entries, text_of
from aqr_exp.sweep.search import Dimension, Search
from aqr_exp.sweep.search_settings import HELP, read_setting, search_of

Found = Mapping[str, tuple[Any, Any]]
# What lists points itself, and so has no place beside a search.
LISTS = ("grid", "zip", "points", "skip")


def read_search(reader: ValueReader, found: Found) -> Search | None:
    """The search of a file; None of one that lists its points.

    Args:
        reader: Takes the faults.
        found: The file's (key node, value node) by key.
    """
    present = [name for name in HELP if name in found]
    if not present:
        return None
    before = len(reader.faults.lines)
    for name in LISTS:
        if name in found:
            fault = (
                f"'{name}' lists points, and '{present[0]}' proposes them: leave one of them out"
            )
            reader.faults.add(found[name][0], fault)
    settings = {
        name: value
        for key in present
        if key != "search"
        for name, value in _settings(reader, key, found[key][1])
    }
    space = _space(reader, found["search"][1]) if "search" in found else ()
    if len(reader.faults.lines) > before:
        return None
    try:
        return search_of(settings, space)
    except RequestError as error:
        reader.faults.add(found[present[0]][0], str(error))
        return None


def _settings(reader: ValueReader, key: str, node: Any) -> list[tuple[str, Any]]:
    """One setting, or those below `prune`."""
    if key == "prune" and node.id == "mapping":
        parts = known_entries(node, reader.faults, "prune", ("rule", "margin", "after_epochs"))
        names = {"rule": "prune", "margin": "prune.margin", "after_epochs": "prune.after_epochs"}
        return [
            item
            for part, (_, value) in parts.items()
            for item in _setting(reader, names[part], value)
        ]
    return _setting(reader, key, node)


def _setting(reader: ValueReader, name: str, node: Any) -> list[tuple[str, Any]]:
    if node.id != "scalar":
        reader.faults.add(node, f"'{name}' is {kind(node)}: write one value")
        return []
    try:
        return [(name, read_setting(name, node.value))]
    except RequestError as error:
        reader.faults.add(node, str(error))
        return []


def _space(reader: ValueReader, node: Any) -> tuple[Dimension, ...]:
    found = []
    for name, key, value in entries(node, reader.faults, "'search'"):
        if not reader.known(name, key):
            continue
        if value.id == "mapping":
            reader.faults.add(value, f"'{name}' is {kind(value)}: {HOW}")
            continue
        if value.id == "scalar" and is_cut(value.value):
            reader.faults.add(value, CUT)
            continue
        try:
            dimension = read_dimension(
                name, _typed(value), reader.groups, reader.faults.place(value)
            )
        except ValueError:
            reader.faults.add(value, f"'{name}' holds a group of keys: {HOW}")
        except RequestError as error:
            reader.faults.add(value, str(error))
        else:
            found.append(dimension)
    return tuple(found)


def _typed(node: Any) -> str:
    """A space as it would be typed: of a list, its elements with commas between."""
    if node.id == "sequence":
        return ",".join(text_of(item) for item in node.value)
    return text_of(node)
