"""One composition as plain values, on which keys can be changed without composing again."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aqr_exp.config import rules
from aqr_exp.config.compose import (
    check_overrides,
    compose_run,
    compose_with_references,
    conf_dir,
    group_options,
)
from aqr_exp.config.convert import convert, fields_of
from aqr_exp.config.identity import canonical, fingerprint_of, part_text
from aqr_exp.config.inputs import identified
from aqr_exp.config.load import check_composed, with_absolute_root, with_checkpoint
from aqr_exp.config.schema import DataConfig, RunConfig, StartConfig
from aqr_exp.config.short_names import keys_set_by
from aqr_exp.errors import RequestError
from aqr_exp.files.run_name import RunName

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


_PARTS = {spec.name: spec for spec in fields_of(RunConfig) if spec.nested}


@dataclass(frozen=True, kw_only=True)
class Override:
    """One changed key or group, read once.

    Attributes:
        key: As typed: a dotted key, a short name or a group.
        text: The value as it would be typed.
        value: The value.
        where: File and line it stands in, for messages; empty for what was typed.
    """

    key: str
    text: str
    value: Any = field(compare=False)
    where: str = field(default="", compare=False)

    @property
    def typed(self) -> str:
        """As it would be typed."""
        return f"{self.key}={self.text}"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One checked run and its identity.

    Attributes:
        config: The run.
        fingerprint: Its identity beside the seed.
    """

    config: RunConfig
    fingerprint: str

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.name_of(self.config.seed)

    def name_of(self, seed: int) -> str:
        """The name with another seed."""
        return str(RunName(self.config.variant.name, self.fingerprint, seed))


class PointLoader:
    """Loads many points; keep one for a whole plan.

    Args:
        with_data: Whether the data's fingerprint is filled in; the data must then be there.
        folder: Where the Hydra groups are; the shipped ones by default.
    """

    def __init__(self, *, with_data: bool, folder: Path | None = None) -> None:
        self._with_data = with_data
        self._folder = folder or conf_dir()
        self.groups = group_options(self._folder)
        self._bases: dict[tuple[str, ...], Base] = {}
        self._checked: set[tuple[str, ...]] = set()
        self._data: dict[DataConfig, DataConfig] = {}
        self._starts: dict[StartConfig | None, StartConfig | None] = {}
        self._texts: dict[Any, str] = {}

    def load(self, variant: str, overrides: Sequence[Override]) -> Point:
        """One point; the same configuration and identity as `load_run`.

        Args:
            variant: An option of the group `variant`.
            overrides: Keys, short names and groups, each once.

        Raises:
            RequestError: One line for each fault, in the names that were typed.
        """
        base = self._base(variant, overrides)
        changes, changed = self._changes(overrides)
        if base.plain and all(map(is_plain, changes.values())):
            config = self._checked_config(base, changes, changed, overrides)
        else:
            typed = [override.typed for override in overrides]
            config = check_composed(compose_run(variant, typed, self._folder), typed)
        config = self._finished(config)
        return Point(config=config, fingerprint=self._fingerprint(config))

    def composed(self, variant: str, overrides: Sequence[Override]) -> dict[str, Any]:
        """A point as plain values before they are checked, for conditions that skip points.

        Raises:
            RequestError: An unknown key, group or option.
        """
        base = self._base(variant, overrides)
        changes, _ = self._changes(overrides)
        if base.plain and all(map(is_plain, changes.values())):
            return base.mapping(changes)
        return compose_run(variant, [override.typed for override in overrides], self._folder)

    def _changes(
        self, overrides: Sequence[Override]
    ) -> tuple[dict[str, Any], dict[str, list[Override]]]:
        """Values by dotted key, and the overrides by the part of the run they change."""
        changes: dict[str, Any] = {}
        changed: dict[str, list[Override]] = {}
        for override in overrides:
            if override.key not in self.groups:
                keys = keys_set_by(override.key)
                changes.update(dict.fromkeys(keys, override.value))
                changed.setdefault(_top(keys[0]), []).append(override)
        return changes, changed

    def _base(self, variant: str, overrides: Sequence[Override]) -> Base:
        """The composition with the point's group choices, every key of the point checked."""
        groups = [item.typed for item in overrides if item.key in self.groups]
        self._check(variant, overrides)
        key = (variant, *sorted(groups))
        if key not in self._bases:
            both = compose_with_references(variant, groups, self._folder)
            self._bases[key] = Base(*both)
        return self._bases[key]

    def _check(self, variant: str, overrides: Sequence[Override]) -> None:
        """Refuse unknown keys and options; each set of keys and each choice is looked at once."""
        looked_at = [(variant, *(item.key for item in overrides))]
        looked_at += [(variant, "=", item.typed) for item in overrides if item.key in self.groups]
        if self._checked.issuperset(looked_at):
            return
        # The variant itself is checked where it is composed.
        faults = check_overrides([item.typed for item in overrides], self.groups, variant)
        if faults:
            raise RequestError(*faults)
        self._checked.update(looked_at)

    def _checked_config(
        self,
        base: Base,
        changes: Mapping[str, Any],
        changed: Mapping[str, Sequence[Override]],
        overrides: Sequence[Override],
    ) -> RunConfig:
        try:
            config = self._assembled(base, changes, changed)
            rules.check(config)
        except RequestError:
            # The parts know their faults, but not by their whole names.
            typed = [override.typed for override in overrides]
            return check_composed(base.mapping(changes), typed)
        return config

    def _assembled(
        self, base: Base, changes: Mapping[str, Any], changed: Mapping[str, Sequence[Override]]
    ) -> RunConfig:
        """The run of parts, each converted once for all points that share it."""
        mapping: dict[str, Any] | None = None
        found = {}
        for spec in fields_of(RunConfig):
            name = spec.name
            affecting = base.depends.get(name, {name})
            key = (name, *(item for part in sorted(affecting) for item in changed.get(part, ())))
            if key not in base.parts:
                mapping = mapping or base.mapping(changes)
                if name in _PARTS and not (spec.optional and mapping.get(name) is None):
                    base.parts[key] = convert(spec.type, mapping[name])
                else:
                    whole = {**base.resolved, name: mapping.get(name)}
                    base.parts[key] = getattr(convert(RunConfig, whole), name)
            found[name] = base.parts[key]
        return RunConfig(**found)

    def _finished(self, config: RunConfig) -> RunConfig:
        """What `finish` does, once for each data and start that points share."""
        if config.data not in self._data:
            data = with_absolute_root(config.data)
            self._data[config.data] = identified(data) if self._with_data else data
        if config.start not in self._starts:
            self._starts[config.start] = with_checkpoint(config).start
        return replace(config, data=self._data[config.data], start=self._starts[config.start])

    def _fingerprint(self, config: RunConfig) -> str:
        """As `identity.fingerprint`, from texts that points share."""
        parts = {
            spec.name: part
            for spec in fields_of(RunConfig)
            if not spec.excluded and (part := getattr(config, spec.name)) is not None
        }
        for part in parts.values():
            if part not in self._texts:
                self._texts[part] = part_text(canonical(part))
        return fingerprint_of({name: self._texts[part] for name, part in parts.items()})
