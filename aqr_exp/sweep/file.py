"""Sweep files: read, typed and checked; every fault of a file is named with line and remedy."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.config.compose import check_overrides, conf_dir, group_options
from aqr_exp.config.nearest import did_you_mean
from aqr_exp.config.points import Override
from aqr_exp.errors import RequestError
from aqr_exp.sweep.condition_names import condition_names
from aqr_exp.sweep.conditions import Condition, read_condition
from aqr_exp.sweep.nodes import (
    Faults,
    entries,
    is_text,
    kind,
    known_entries,
    quiet_entries,
    read_root,
    text_of,
    value_of,
)
from aqr_exp.sweep.request import Axis, Corner, Overrides, SweepRequest
from aqr_exp.sweep.seeds import SEED_RULE, is_seed
from aqr_exp.sweep.values import read_override, read_values

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
}
"""The keys of a sweep file, and what each holds."""

_NAME = re.compile(r"[^./\0][^/\0]{0,99}")
# Keys that stand elsewhere in the file when used as an override.
_ELSEWHERE = {
    "seed": "seeds stand under 'seeds', as a list",
    "variant": "variants stand under 'variant', or within one of the 'points'",
}


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


@dataclass
class _Reader:
    """Reads the parts of one file; what is wrong with them goes to `faults`."""

    faults: Faults

    def __post_init__(self) -> None:
        self.groups = group_options(conf_dir())

    def request(self, root: Any, stem: str) -> SweepRequest:
        found = known_entries(root, self.faults, "the file", KEYS)

        def part(key: str, read: Callable[[Any], Any], absent: Any) -> Any:
            return read(found[key][1]) if key in found else absent

        points = part("points", self._points, ())
        variants = part("variant", self._variants, ())
        if "variant" not in found and not (points and all(item.variant for item in points)):
            options = ", ".join(self.groups["variant"])
            self.faults.add(root, f"key 'variant' is missing: name one or several ({options})")
        grid, zipped = part("grid", self._axes, ()), part("zip", self._zip, ())
        if "variant" not in found and (grid or zipped):
            self.faults.add(root, "grid and zip need 'variant': those of points are theirs alone")
        request = SweepRequest(
            name=part("name", self._name, stem),
            source=self.faults.shown,
            description=part("description", self._text, ""),
            variants=variants,
            fixed=part("fixed", self._overrides, ()),
            grid=grid,
            zipped=zipped,
            points=points,
            skip=part("skip", self._conditions, ()),
            seeds=part("seeds", self._seeds, (0,)),
            baseline=part("baseline", self._baseline, None),
        )
        self._check_clashes(found)
        return request

    def _text(self, node: Any) -> str:
        if is_text(node) and node.value.strip():
            return " ".join(node.value.split())
        self.faults.add(node, f"is {kind(node)}: write a text")
        return ""

    def _name(self, node: Any) -> str:
        name = self._text(node)
        if name and not _NAME.fullmatch(name):
            self.faults.add(node, f"name {name!r}: must be able to name a folder: write a word")
        return name

    def _variants(self, node: Any) -> tuple[str, ...]:
        nodes = self._items(node, "variant") if node.id == "sequence" else [node]
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

    def _items(self, node: Any, what: str) -> Sequence[Any]:
        """The nodes of a list that holds at least one."""
        if node.id != "sequence":
            self.faults.add(node, f"'{what}' is {kind(node)}: write a list, [a, b]")
            return ()
        if not node.value:
            self.faults.add(node, f"'{what}' is an empty list: write values, or leave the key out")
        return node.value  # type: ignore[no-any-return]

    def _overrides(self, node: Any, what: str = "this", leave: str = "") -> Overrides:
        """Keys with one value each; `leave` is a key that something else reads."""
        found: list[Override] = []
        for name, key, value in entries(node, self.faults, what):
            if name == leave or not self._known(name, key):
                continue
            several = self._read(name, value)
            if len(several) > 1:
                fault = f"{name}={value.value}: names several values: put it under 'grid'"
                self.faults.add(value, fault)
            found += several[:1]
        return tuple(found)

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
        try:
            found = tuple(
                Override(key=key, text=item, value=value, where=where)
                for item, value in read_values(key, text, self.groups)
            )
        except RequestError as error:
            self.faults.add(node, str(error))
            return ()
        for override in found if key in self.groups else found[:1]:
            fault = check_overrides([override.typed], self.groups, "")
            if fault:
                self.faults.add(node, fault[0])
                return ()
        return found

    def _known(self, name: str, key: Any) -> bool:
        """Whether a key may be set here; said at the key, once, whatever its values."""
        fault: Sequence[str]
        if name in _ELSEWHERE:
            fault = [f"'{name}' cannot be set here: {_ELSEWHERE[name]}"]
        elif name in self.groups:
            fault = []
        else:
            fault = check_overrides([f"{name}=0"], self.groups, "")
        self.faults.add(key, "\n".join(fault))
        return not fault

    def _axes(self, node: Any) -> tuple[Axis, ...]:
        found = []
        for name, key, value in entries(node, self.faults, "this"):
            if not self._known(name, key):
                continue
            if value.id == "sequence":
                values = [
                    each for item in self._items(value, name) for each in self._one(name, item)
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

    def _zip(self, node: Any) -> tuple[Axis, ...]:
        axes = self._axes(node)
        lengths = {axis.key: len(axis.values) for axis in axes}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            fault = f"lists under 'zip' differ in length ({shown}): give all the same"
            self.faults.add(node, fault)
        return axes

    def _points(self, node: Any) -> tuple[Corner, ...]:
        corners = []
        for item in self._items(node, "points"):
            own = {name: value for name, _, value in quiet_entries(item)}
            variant = self._variant(own["variant"]) if "variant" in own else None
            overrides = self._overrides(item, "a point", leave="variant")
            corners.append(Corner(variant=variant, overrides=overrides))
        return tuple(corners)

    def _conditions(self, node: Any) -> tuple[Condition, ...]:
        nodes = self._items(node, "skip") if node.id == "sequence" else [node]
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
            for item in self._items(node, "seeds"):
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
            return self._overrides(node, "baseline")
        value = value_of(node)
        if not isinstance(value, bool):
            self.faults.add(node, f"'baseline' is {kind(node)}: write true, false or overrides")
        return () if value is True else None

    def _check_clashes(self, found: Mapping[str, tuple[Any, Any]]) -> None:
        """Refuse a key that fixed, grid and zip set twice."""
        seen: dict[str, str] = {}
        for part in ("fixed", "grid", "zip"):
            for name, key, _ in quiet_entries(found[part][1]) if part in found else ():
                if seen.setdefault(name, part) != part:
                    fault = f"'{name}' stands under '{seen[name]}' too: leave one of them out"
                    self.faults.add(key, fault)
