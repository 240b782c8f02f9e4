"""The values of a sweep file's keys: overrides and axes, each fault noted at its line."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aqr_exp.config.compose import check_overrides, conf_dir, group_options
from aqr_exp.config.points import Override
from aqr_exp.errors import RequestError
from aqr_exp.sweep.nodes import CUT, Faults, entries, is_cut, kind, text_of, value_of
from aqr_exp.sweep.request import Axis, Overrides
from aqr_exp.sweep.values import read_values

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
        self.groups = group_options(conf_dir())

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
            fault = check_overrides([override.typed], self.groups, "")
            if fault:
                self.faults.add(node, fault[0])
                return ()
        return found

    def known(self, name: str, key: Any) -> bool:
        """Whether a key may be set here; said at the key, once, whatever its values."""
        fault: Sequence[str]
        if is_cut(name):
            fault = [CUT]
        elif name in _ELSEWHERE:
            fault = [f"'{name}' cannot be set here: {_ELSEWHERE[name]}"]
        elif name in self.groups:
            fault = []
        else:
            fault = check_overrides([f"{name}=0"], self.groups, "")
        self.faults.add(key, "\n".join(fault))
        return not fault
