"""One composition as plain values, on which keys can be changed without composing again."""

import re
from collections.abc import Mapping
from typing import Any

# `${model.head.width}` and nothing else: such a value follows a key that changes.
_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+)*)\}")
# `${oc.env:NAME,default}`: such a value follows no key.
_ENVIRONMENT = re.compile(r"[^$]*\$\{oc\.env:[^${}]*\}[^$]*")


class Base:
    """One composition that many points start from, and the parts they have made of it.

    Args:
        resolved: The composition, every interpolation resolved.
        written: The same with its interpolations as they are written.

    Attributes:
        resolved: As given.
        references: Keys that follow another key, and which.
        plain: Whether nothing else follows a key; only then `mapping` is right.
        parts: What points have made of it, for the next that needs the same.
        depends: The parts of a run that each part takes values from, itself included.
    """

    def __init__(self, resolved: dict[str, Any], written: dict[str, Any]) -> None:
        self.resolved = resolved
        self.references: dict[str, str] = {}
        self.plain = True
        self._find_references(written, "")
        self.parts: dict[tuple[object, ...], Any] = {}
        depends: dict[str, set[str]] = {name: {name} for name in resolved}
        for key, target in self.references.items():
            depends[_top(key)].add(_top(target))
        for _ in depends:  # long enough for chains of references
            depends = {
                name: set().union(*(depends[other] for other in others))
                for name, others in depends.items()
            }
        self.depends = depends

    def _find_references(self, written: Mapping[str, Any], prefix: str) -> None:
        for name, value in written.items():
            key = f"{prefix}{name}"
            if isinstance(value, Mapping):
                self._find_references(value, f"{key}.")
            elif isinstance(value, list):
                self.plain &= is_plain(value)
            elif isinstance(value, str) and "${" in value:
                match = _REFERENCE.fullmatch(value)
                if match and not isinstance(_at(self.resolved, match[1]), Mapping):
                    self.references[key] = match[1]
                elif not _ENVIRONMENT.fullmatch(value):
                    self.plain = False

    def mapping(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The composition with changed keys; what nothing changed is shared, not copied."""
        changes = dict(changes)
        for key, target in self.references.items():
            if key not in changes:
                source = self._source(target, changes)
                if source in changes:
                    changes[key] = changes[source]
        result = dict(self.resolved)
        own: dict[str, dict[str, Any]] = {"": result}
        for key, value in changes.items():
            above, _, leaf = key.rpartition(".")
            _own_node(above, own)[leaf] = value
        return result

    def _source(self, key: str, changes: Mapping[str, Any]) -> str:
        """The key that a reference's target takes its value from in the end."""
        while key not in changes and key in self.references:
            key = self.references[key]
        return key


def _own_node(path: str, own: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The node at a dotted path, copied the first time it is written to."""
    if path not in own:
        above, _, leaf = path.rpartition(".")
        parent = _own_node(above, own)
        # An absent part becomes one with nothing but the changed key: what it lacks is found later.
        parent[leaf] = own[path] = dict(parent[leaf] or {})
    return own[path]


def _at(mapping: Mapping[str, Any], key: str) -> Any:
    for name in key.split("."):
        mapping = mapping[name]
    return mapping


def _top(key: str) -> str:
    return key.partition(".")[0]


def is_plain(value: Any) -> bool:
    """Whether a value means itself to OmegaConf."""
    if isinstance(value, str):
        return "${" not in value and value != "???"
    if isinstance(value, list):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, (bool, int, float))
