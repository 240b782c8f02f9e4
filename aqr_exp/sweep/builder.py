"""The builder of sweep requests: checks what files and command lines say, all faults at once."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aqr_exp.config.compose import Groups, Override, group_options, known_variant, override_faults
from aqr_exp.config.conditions import Condition, condition_names, read_condition
from aqr_exp.errors import Fault, RequestError
from aqr_exp.files.suggest import did_you_mean, some
from aqr_exp.statistics.confounders import check_factors
from aqr_exp.statistics.metrics import PRIMARY
from aqr_exp.store.sweep_folder import check_sweep_name
from aqr_exp.sweep import search
from aqr_exp.sweep.request import (
    Axis,
    ExplicitPoint,
    Overrides,
    SweepRequest,
    UntilDecided,
)
from aqr_exp.sweep.search import HOW, Dimension, Search
from aqr_exp.sweep.values import SEED_RULE, is_seed, read_values


@dataclass(frozen=True, kw_only=True)
class Node:
    """One value of a source with its place.

    Attributes:
        line: Its line in the file; 0 for what was typed.
        kind: What it is, for messages, such as `the text 'a'` or `a list`.
        raw: A scalar as it is written.
        text: It as it would be typed; None of a group of keys, and of what holds one.
        value: It as a plain value; None of nothing.
        items: The entries of a list.
        entries: The values of a group of keys, each by its key and the key's line.
    """

    line: int = 0
    kind: str = ""
    raw: str = ""
    text: str | None = None
    value: Any = None
    items: tuple["Node", ...] | None = None
    entries: dict[str, tuple[int, "Node"]] | None = None

    @property
    def word(self) -> str | None:
        """The text of a scalar that is one; None of numbers, truth values and nothing."""
        return self.raw if isinstance(self.value, str) else None

    @property
    def cut(self) -> bool:
        """Half of a value that YAML parted at its comma."""
        return bool(self.line) and self.raw.count("(") != self.raw.count(")")


# What lists points itself, and so has no place beside a search.
_LISTS = ("grid", "zip", "points", "skip")
_OWN = ("name", "description", "variant", "fixed", *_LISTS, "seeds", "baseline")
KEYS = (*_OWN, "primary", "factors", "arms", "until_decided", *search.KEYS)

CUT = 'a value is cut at its comma: within { } write it in quotes, "range(0, 3)"'


# Least and largest value of each setting, and whether it is a whole number.
_UNTIL = {"start": (2, 99, True), "max_seeds": (3, 100, True), "sesoi": (0.01, 99, False)}

# Keys that have a place of their own in the file, and are no overrides.
_ELSEWHERE = {
    "seed": "seeds go under 'seeds', as a list",
    "variant": "variants go under 'variant', or within one of the 'points'",
}


@dataclass
class SweepBuilder:
    """Builds the request of one file, and what is typed beside it.

    Attributes:
        source: The file, as it is named in messages; empty for what is typed.
        groups: The Hydra groups.
        faults: Everything that is wrong, each with its line.
    """

    source: str = ""
    groups: Groups = field(default_factory=group_options)
    faults: list[tuple[int, Fault]] = field(default_factory=list)

    def build(self, root: Node, name: str) -> SweepRequest:
        """The request of a file.

        Args:
            name: The sweep's name where the file does not say it.

        Raises:
            RequestError: Everything that is wrong, in the order of the file.
        """
        known = self._known_entries(root, "the file", KEYS)

        def part(key: str, read: Callable[[Node], Any], absent: Any) -> Any:
            return read(known[key][1]) if key in known else absent

        points = part("points", self._points, ())
        variants = part("variant", self._variants, ())
        if "variant" not in known and not (points and all(item.variant for item in points)):
            options = ", ".join(self.groups["variant"])
            self.add(1, f"key 'variant' is missing: name one or several ({options})")
        grid, zipped = (
            part("grid", lambda node: self._axes(node, "'grid'"), ()),
            part("zip", self._zip, ()),
        )
        if "variant" not in known and (grid or zipped):
            self.add(1, "grid and zip need 'variant': those of points are theirs alone")
        request = SweepRequest(
            name=part("name", self._name, name),
            source=self.source,
            description=part("description", lambda node: self._text(node, "description"), ""),
            variants=variants,
            fixed=part("fixed", lambda node: self._overrides(node, "'fixed'"), ()),
            grid=grid,
            zipped=zipped,
            points=points,
            skip=part("skip", self._conditions, ()),
            seeds=part("seeds", self._seeds, (0,)),
            baseline=part("baseline", self._baseline, None),
            arms=part("arms", lambda node: self._conditions(node, "arms"), ()),
            primary=part("primary", self._primary, PRIMARY),
            factors=part("factors", self._factors, ()),
            until=part("until_decided", self._until, UntilDecided()),
            search=self._search(known),
        )
        self._check_clashes(known)
        self.check()
        return request

    def check(self) -> None:
        """Refuse the source when anything was noted.

        Raises:
            RequestError: Every fault, in the order of the lines.
        """
        if self.faults:
            raise RequestError(*(item for _, item in sorted(self.faults, key=lambda item: item[0])))

    def add(self, place: Node | int, *faults: Fault | str) -> None:
        """Note what is wrong at a line or a node."""
        line = place if isinstance(place, int) else place.line
        where = self._place(line) or self.source
        for item in faults:
            fault = Fault(rule=item) if isinstance(item, str) else item
            # A fault may have a place of its own, such as the line of an idea.
            places = ": ".join(filter(None, (where, fault.where)))
            self.faults.append((line, dataclasses.replace(fault, where=places)))

    def _try(self, node: Node, read: Callable[[], Any], absent: Any = None) -> Any:
        """The result of a reader; where it refuses, its faults are noted."""
        try:
            return read()
        except RequestError as error:
            self.add(node, *error.faults)
            return absent

    def _place(self, line: int) -> str:
        return f"{self.source}:{line}" if line else ""

    def _entries(self, node: Node, what: str) -> Iterator[tuple[str, int, Node]]:
        """The (key, line of the key, value) of a group of keys."""
        if node.entries is None:
            self.add(node, f"{what} is {node.kind}: write keys with their values below it")
            return
        for key, (line, value) in node.entries.items():
            yield key, line, value

    def _known_entries(
        self, node: Node, what: str, known: Collection[str]
    ) -> dict[str, tuple[int, Node]]:
        """The entries whose keys are known; another key is a fault."""
        found = {}
        for name, line, value in self._entries(node, what):
            if name in known:
                found[name] = (line, value)
            else:
                guess = did_you_mean(name, known) or f" (known: {some(known)})"
                self.add(line, f"unknown key '{name}'{guess}")
        return found

    def _items(self, node: Node, what: str) -> Sequence[Node]:
        """The entries of a list that holds at least one."""
        if node.items is None:
            self.add(node, f"'{what}' is {node.kind}: write a list, [a, b]")
        elif not node.items:
            self.add(node, f"'{what}' is an empty list: write values, or leave the key out")
        return node.items or ()

    def _overrides(self, node: Node, what: str, leave: str = "") -> Overrides:
        """Keys with one value each; `leave` is a key that something else reads."""
        found: list[Override] = []
        for name, line, value in self._entries(node, what):
            if name == leave or not self.known(name, line):
                continue
            several = self.values(name, value)
            if len(several) > 1:
                fault = f"{name}={value.raw}: names several values: put it under 'grid'"
                self.add(value, fault)
            found += several[:1]
        return tuple(found)

    def _axes(self, node: Node, what: str) -> tuple[Axis, ...]:
        """Keys with several values each."""
        found = []
        for name, line, value in self._entries(node, what):
            if not self.known(name, line):
                continue
            if value.items is not None:
                each = [self._one(name, item) for item in self._items(value, name)]
                values = tuple(item for items in each for item in items)
            else:
                values = self.values(name, value)
                if len(values) == 1 and "(" not in value.raw:
                    fault = f"'{name}' is {value.kind}: write a list, or put it under 'fixed'"
                    self.add(value, fault)
            if values:
                found.append(Axis(key=name, values=values, where=self._place(line)))
        return tuple(found)

    def _one(self, key: str, node: Node) -> Overrides:
        """One element of a list of values."""
        found = self.values(key, node)
        if len(found) > 1:
            fault = f"{key}: {node.raw} in a list names several: write it instead of the list"
            self.add(node, fault)
        return found[:1]

    def values(self, key: str, node: Node) -> Overrides:
        """The values of one node as overrides of a key; none where anything is wrong."""
        if node.text is None:
            self.add(node, f"'{key}' is {node.kind}: write a value")
            return ()
        if node.value is None:
            self.add(node, f"'{key}' is empty: write a value")
            return ()
        if node.cut:
            self.add(node, CUT)
            return ()
        text, where = node.text, self._place(node.line)
        read = self._try(node, lambda: read_values(key, text, self.groups), ())
        found = tuple(
            Override(key=key, text=item, value=value, where=where) for item, value in read
        )
        for override in found if key in self.groups else found[:1]:
            fault = override_faults([override], "", self.groups)
            if fault:
                self.add(node, fault[0])
                return ()
        return found

    def known(self, name: str, line: int = 0) -> bool:
        """Check that a key may be set here; a fault is noted at the key, once for all its values."""
        faults: Sequence[Fault | str] = []
        if line and name.count("(") != name.count(")"):
            faults = [CUT]
        elif name in _ELSEWHERE:
            faults = [f"'{name}' cannot be set here: {_ELSEWHERE[name]}"]
        elif name not in self.groups:
            faults = override_faults([Override(key=name, text="0", value=0)], "", self.groups)
        self.add(line, *faults)
        return not faults

    def _text(self, node: Node, what: str) -> str:
        if node.word is not None and node.word.strip():
            return " ".join(node.word.split())
        self.add(node, f"'{what}' is {node.kind}: write a text")
        return ""

    def _name(self, node: Node) -> str:
        name = self._text(node, "name")
        if name:
            self._try(node, lambda: check_sweep_name(name))
        return name

    def _variants(self, node: Node) -> tuple[str, ...]:
        nodes = self._items(node, "variant") if node.items is not None else [node]
        return tuple(name for item in nodes if (name := self._variant(item)))

    def _variant(self, node: Node) -> str | None:
        options = self.groups["variant"]
        if node.word is None:
            self.add(node, f"variant is {node.kind}: write one of {', '.join(options)}")
            return None
        found = self._try(node, lambda: known_variant(str(node.word), self.groups))
        return None if found is None else str(node.word)

    def _zip(self, node: Node) -> tuple[Axis, ...]:
        axes = self._axes(node, "'zip'")
        lengths = {axis.key: len(axis.values) for axis in axes}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            self.add(node, f"lists under 'zip' differ in length ({shown}): give all the same")
        return axes

    def _points(self, node: Node) -> tuple[ExplicitPoint, ...]:
        points = []
        for item in self._items(node, "points"):
            _, own = (item.entries or {}).get("variant", (0, None))
            variant = self._variant(own) if own else None
            overrides = self._overrides(item, "a point", leave="variant")
            points.append(ExplicitPoint(variant=variant, overrides=overrides))
        return tuple(points)

    def _conditions(self, node: Node, key: str = "skip") -> tuple[Condition, ...]:
        found = []
        for item in self._items(node, key) if node.items is not None else [node]:
            if item.word is None:
                fault = f"a condition is {item.kind}: write a text such as bias_scale > 5"
                self.add(item, fault)
                continue
            text, place, names = item.word, self._place(item.line), condition_names(self.groups)
            condition = self._try(item, lambda: read_condition(text, names, place))  # noqa: B023
            if condition and key == "arms" and "seed" in condition.names:
                self.add(
                    item, "arms are told apart by anything but 'seed': an arm has all of its seeds"
                )
            found += [condition] if condition else []
        return tuple(found)

    def _seeds(self, node: Node) -> tuple[int, ...]:
        if node.items is not None:
            items = self._items(node, "seeds")
            for item in items:
                if not is_seed(item.value):
                    self.add(item, f"seed is {item.kind}: {SEED_RULE}")
            return tuple(dict.fromkeys(item.value for item in items if is_seed(item.value)))
        found: list[Any] = []
        text = node.word
        if text is not None:
            values = self._try(node, lambda: read_values("seed", text, self.groups))
            if values is None:
                return ()
            found = [value for _, value in values]
        if not found or not all(map(is_seed, found)):
            self.add(node, f"'seeds' is {node.kind}: write a list, [0, 1, 2], or range(0, 3)")
        return tuple(dict.fromkeys(found))

    def _baseline(self, node: Node) -> Overrides | None:
        if node.entries is not None:
            return self._overrides(node, "baseline")
        if not isinstance(node.value, bool):
            self.add(node, f"'baseline' is {node.kind}: write true, false or overrides")
        return () if node.value is True else None

    def _primary(self, node: Node) -> str:
        read = self._try(node, lambda: search.read_setting("primary", node.raw))
        return PRIMARY if read is None else str(read)

    def _factors(self, node: Node) -> tuple[str, ...]:
        names = [self._text(item, "a factor") for item in self._items(node, "factors")]
        self._try(node, lambda: check_factors([name for name in names if name]))
        return tuple(names)

    def _until(self, node: Node) -> UntilDecided:
        given: dict[str, Any] = {}
        for key, (_, value) in self._known_entries(node, "until_decided", _UNTIL).items():
            least, most, whole = _UNTIL[key]
            one = value.value
            kinds = int if whole else (int, float)
            if not isinstance(one, kinds) or isinstance(one, bool) or not least <= one <= most:
                what = "a whole number" if whole else "points"
                self.add(value, f"'{key}' is {value.kind}: write {what} from {least:g} to {most:g}")
            else:
                given[key] = one
        until = UntilDecided(**given)
        if until.start >= until.max_seeds:
            rule = f"'start' is {until.start}: it must be below max_seeds ({until.max_seeds})"
            self.add(node, rule)
        return until

    def _search(self, found: Mapping[str, tuple[int, Node]]) -> Search | None:
        """The search of a file; None of one that lists its points."""
        present = [name for name in search.KEYS if name in found]
        if not present:
            return None
        before = len(self.faults)
        for name in (name for name in _LISTS if name in found):
            fault = f"'{name}' lists points, and '{present[0]}' proposes them: "
            self.add(found[name][0], f"{fault}leave one of them out")
        if "arms" in found:
            fault = (
                f"'arms' chooses among points that are listed, and '{present[0]}' proposes them: "
            )
            self.add(found["arms"][0], f"{fault}leave 'arms' out")
        settings = {
            name: value
            for key in present
            if key != "search"
            for name, value in self._settings(key, found[key][1])
        }
        space = self._space(found["search"][1]) if "search" in found else ()
        if len(self.faults) > before:
            return None
        first = Node(line=found[present[0]][0])
        return self._try(first, lambda: search.search_of(settings, space))  # type: ignore[no-any-return]

    def _settings(self, key: str, node: Node) -> Iterator[tuple[str, Any]]:
        """One setting, or those below `prune`."""
        if key == "prune" and node.entries is not None:
            names = ("rule", "margin", "after_epochs")
            for part, (_, value) in self._known_entries(node, "prune", names).items():
                yield from self._settings(key if part == "rule" else f"{key}.{part}", value)
        elif node.items is not None or node.entries is not None:
            self.add(node, f"'{key}' is {node.kind}: write one value")
        else:
            value = self._try(node, lambda: search.read_setting(key, node.raw))
            yield from [(key, value)] if value is not None else []

    def _space(self, node: Node) -> tuple[Dimension, ...]:
        found = (
            self.dimension(name, value)
            for name, line, value in self._entries(node, "'search'")
            if self.known(name, line)
        )
        return tuple(dimension for dimension in found if dimension)

    def dimension(self, name: str, node: Node) -> Dimension | None:
        """One key of a search space; None where anything is wrong."""
        if node.entries is not None or node.text is None:
            holds = f"is {node.kind}" if node.entries is not None else "holds a group of keys"
            self.add(node, f"'{name}' {holds}: {HOW}")
            return None
        if node.cut:
            self.add(node, CUT)
            return None
        # Of a list its elements, with commas between.
        texts = [node.text] if node.items is None else [str(item.text) for item in node.items]
        read = (name, ",".join(texts), self.groups, self._place(node.line))
        return self._try(node, lambda: search.read_dimension(*read))  # type: ignore[no-any-return]

    def _check_clashes(self, found: Mapping[str, tuple[int, Node]]) -> None:
        """Refuse a key that fixed, grid, zip and search set twice."""
        seen: dict[str, str] = {}
        for part in ("fixed", "grid", "zip", "search"):
            entries = (found[part][1].entries or {}) if part in found else {}
            for name, (line, _) in entries.items():
                if seen.setdefault(name, part) != part:
                    self.add(line, f"'{name}' is under '{seen[name]}' too: leave one of them out")
