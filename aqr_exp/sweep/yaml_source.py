"""The part of a sweep file that makes it a search."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aqr_exp.config.conditions import Condition, condition_names, read_condition
from aqr_exp.errors import RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.store.sweep_folder import check_sweep_name
from aqr_exp.sweep.nodes import (
    CUT,
    Faults,
    ValueReader,
    entries,
    is_cut,
    is_text,
    kind,
    known_entries,
    quiet_entries,
    read_root,
    text_of,
    value_of,
)
from aqr_exp.sweep.request import Axis, Corner, Dimension, Overrides, Search, SweepRequest
from aqr_exp.sweep.search_settings import HELP, HOW, read_dimension, read_setting, search_of
from aqr_exp.sweep.search_settings import HELP as SEARCH_KEYS
from aqr_exp.sweep.values import SEED_RULE, is_seed, read_override

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


KEYS = {
    "name": "the sweep's name; the file's by default",
    "description": "what it is for",
    "variant": "one variant, or a list of them",
    "fixed": "overrides of every point",
    "grid": "keys with lists of values: their product",
    "zip": "keys with lists of one length: their first values together, then their second, ...",
    "points": "a list of explicit points",
    "skip": "conditions that leave points out",
    "seeds": "a list of whole numbers, or range(start, stop)",
    "baseline": "true, or overrides: every point brings its baseline",
    **SEARCH_KEYS,
}
"""The keys of a sweep file, and what each holds."""


def read_sweep(path: Path, shown: str | None = None) -> SweepRequest:
    """Read a sweep file.

    Args:
        path: The file.
        shown: What messages call it; its path by default.

    Raises:
        RequestError: One line for each fault: file, line, what is wrong, what to write.
    """
    faults = Faults(shown or str(path))
    root = read_root(path, faults.shown)
    try:
        request = _Reader(faults).request(root, path.stem)
    except RecursionError:
        raise RequestError(f"{faults.shown}: is nested too deeply") from None
    faults.check()
    return request


class _Reader(ValueReader):
    """Reads the parts of one file; what is wrong with them goes to `faults`."""

    def request(self, root: Any, stem: str) -> SweepRequest:
        found = known_entries(root, self.faults, "the file", KEYS)

        def part(key: str, read: Callable[[Any], Any], absent: Any) -> Any:
            return read(found[key][1]) if key in found else absent

        points = part("points", self._points, ())
        variants = part("variant", self._variants, ())
        if "variant" not in found and not (points and all(item.variant for item in points)):
            options = ", ".join(self.groups["variant"])
            self.faults.add(root, f"key 'variant' is missing: name one or several ({options})")
        grid, zipped = part("grid", self.axes, ()), part("zip", self._zip, ())
        if "variant" not in found and (grid or zipped):
            self.faults.add(root, "grid and zip need 'variant': those of points are theirs alone")
        request = SweepRequest(
            name=part("name", self._name, stem),
            source=self.faults.shown,
            description=part("description", lambda node: self._text(node, "description"), ""),
            variants=variants,
            fixed=part("fixed", self.overrides, ()),
            grid=grid,
            zipped=zipped,
            points=points,
            skip=part("skip", self._conditions, ()),
            seeds=part("seeds", self._seeds, (0,)),
            baseline=part("baseline", self._baseline, None),
            search=read_search(self, found),
        )
        self._check_clashes(found)
        return request

    def _text(self, node: Any, what: str) -> str:
        if is_text(node) and node.value.strip():
            return " ".join(node.value.split())
        self.faults.add(node, f"'{what}' is {kind(node)}: write a text")
        return ""

    def _name(self, node: Any) -> str:
        name = self._text(node, "name")
        try:
            if name:
                check_sweep_name(name)
        except RequestError as error:
            self.faults.add(node, str(error))
        return name

    def _variants(self, node: Any) -> tuple[str, ...]:
        nodes = self.items(node, "variant") if node.id == "sequence" else [node]
        return tuple(name for item in nodes if (name := self._variant(item)))

    def _variant(self, node: Any) -> str | None:
        options = self.groups["variant"]
        if is_text(node) and node.value in options:
            return str(node.value)
        if is_text(node):
            guess = did_you_mean(node.value, options)
            fault = f"unknown variant '{node.value}'{guess} (available: {', '.join(options)})"
        else:
            fault = f"variant is {kind(node)}: write one of {', '.join(options)}"
        self.faults.add(node, fault)
        return None

    def _zip(self, node: Any) -> tuple[Axis, ...]:
        axes = self.axes(node)
        lengths = {axis.key: len(axis.values) for axis in axes}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            fault = f"lists under 'zip' differ in length ({shown}): give all the same"
            self.faults.add(node, fault)
        return axes

    def _points(self, node: Any) -> tuple[Corner, ...]:
        corners = []
        for item in self.items(node, "points"):
            own = {name: value for name, _, value in quiet_entries(item)}
            variant = self._variant(own["variant"]) if "variant" in own else None
            overrides = self.overrides(item, "a point", leave="variant")
            corners.append(Corner(variant=variant, overrides=overrides))
        return tuple(corners)

    def _conditions(self, node: Any) -> tuple[Condition, ...]:
        nodes = self.items(node, "skip") if node.id == "sequence" else [node]
        found = []
        for item in nodes:
            if not is_text(item):
                fault = f"a condition is {kind(item)}: write a text such as bias_scale > 5"
                self.faults.add(item, fault)
                continue
            try:
                place = self.faults.place(item)
                found.append(read_condition(item.value, condition_names(self.groups), place))
            except RequestError as error:
                self.faults.add(item, str(error))
        return tuple(found)

    def _seeds(self, node: Any) -> tuple[int, ...]:
        if node.id == "sequence":
            found: list[int] = []
            for item in self.items(node, "seeds"):
                value = None if item.id == "mapping" else value_of(item)
                if is_seed(value):
                    found.append(value)
                else:
                    self.faults.add(item, f"seed is {kind(item)}: {SEED_RULE}")
            return tuple(dict.fromkeys(found))
        values = [override.value for override in self._seed_values(node)]
        return tuple(dict.fromkeys(values))

    def _seed_values(self, node: Any) -> Overrides:
        if node.id == "scalar" and is_text(node):
            try:
                found = read_override(f"seed={node.value}", self.groups)
            except RequestError as error:
                self.faults.add(node, str(error))
                return ()
            if all(is_seed(override.value) for override in found):
                return found
        self.faults.add(node, f"'seeds' is {kind(node)}: write a list, [0, 1, 2], or range(0, 3)")
        return ()

    def _baseline(self, node: Any) -> Overrides | None:
        if node.id == "mapping":
            return self.overrides(node, "baseline")
        value = value_of(node)
        if not isinstance(value, bool):
            self.faults.add(node, f"'baseline' is {kind(node)}: write true, false or overrides")
        return () if value is True else None

    def _check_clashes(self, found: Mapping[str, tuple[Any, Any]]) -> None:
        """Refuse a key that fixed, grid, zip and search set twice."""
        seen: dict[str, str] = {}
        for part in ("fixed", "grid", "zip", "search"):
            for name, key, _ in quiet_entries(found[part][1]) if part in found else ():
                if seen.setdefault(name, part) != part:
                    fault = f"'{name}' stands under '{seen[name]}' too: leave one of them out"
                    self.faults.add(key, fault)
