"""Sweep files: read, typed and checked; every fault of a file is named with line and remedy."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aqr_exp.config.nearest import did_you_mean
from aqr_exp.errors import RequestError
from aqr_exp.results.sweep_folder import check_sweep_name
from aqr_exp.sweep.condition_names import condition_names
from aqr_exp.sweep.conditions import Condition, read_condition
from aqr_exp.sweep.file_values import ValueReader
from aqr_exp.sweep.nodes import (
    Faults,
    is_text,
    kind,
    known_entries,
    quiet_entries,
    read_root,
    value_of,
)
from aqr_exp.sweep.request import Axis, Corner, Overrides, SweepRequest
from aqr_exp.sweep.search_file import read_search
from aqr_exp.sweep.search_settings import HELP as SEARCH_KEYS
from aqr_exp.sweep.seeds import SEED_RULE, is_seed
from aqr_exp.sweep.values import read_override

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
