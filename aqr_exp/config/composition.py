"""The composer: Hydra composes each choice of groups once, dotted keys are set on the result."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from aqr_exp.config.compose import Groups, Override, shipped_folder
from aqr_exp.config.short_names import value_at
from aqr_exp.config.variant_spec import part_groups, variant_named
from aqr_exp.errors import Fault, RequestError

# `${model.head.width}` and nothing else: such a value follows a key that changes.
_REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+)*)\}")
# `${oc.env:NAME,default}`: such a value follows no key.
_ENVIRONMENT = re.compile(r"[^$]*\$\{oc\.env:[^${}]*\}[^$]*")


class Composition:
    """One choice of groups as plain values, on which dotted keys are set.

    Args:
        config: An OmegaConf dictionary, its interpolations as they are written.

    Attributes:
        resolved: Nested dicts and lists of scalars, every interpolation resolved.
        references: Keys that take the value of another key, with that key.
        plain: No value follows others in any further way.
    """

    def __init__(self, config: Any) -> None:
        self._config = config
        self.resolved = _plain(config, resolve=True)
        self.references: dict[str, str] = {}
        self.plain = True
        self._find_references(_plain(config), "")

    def _find_references(self, written: Mapping[str, Any], prefix: str) -> None:
        for name, value in written.items():
            key = f"{prefix}{name}"
            if isinstance(value, Mapping):
                self._find_references(value, f"{key}.")
            elif isinstance(value, list):
                self.plain &= _is_plain(value)
            elif isinstance(value, str) and "${" in value:
                match = _REFERENCE.fullmatch(value)
                if match and not isinstance(value_at(self.resolved, match[1]), Mapping):
                    self.references[key] = match[1]
                elif not _ENVIRONMENT.fullmatch(value):
                    self.plain = False

    def mapping(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The resolved values with changed keys; a part that nothing changed is the same object.

        Raises:
            RequestError: A key is of a part that is absent, or an interpolation leads nowhere.
        """
        if not (self.plain and all(map(_is_plain, changes.values()))):
            return _plain(_with_keys(_plain(self._config), changes), resolve=True)
        changes = dict(changes)
        for key in self.references:
            source = key
            while source not in changes and source in self.references:
                source = self.references[source]
            if source in changes:
                changes[key] = changes[source]
        return _with_keys(self.resolved, changes)


def _with_keys(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with changed keys; nodes are copied the first time they are written to."""
    own: dict[str, dict[str, Any]] = {"": dict(base)}
    faults = []

    def node(path: str) -> dict[str, Any]:
        if path not in own:
            above, _, leaf = path.rpartition(".")
            parent = node(above)
            parent[leaf] = own[path] = dict(parent.get(leaf) or {})
        return own[path]

    for key, value in changes.items():
        above, _, leaf = key.rpartition(".")
        if leaf in node(above):
            own[above][leaf] = value
        else:
            way = (
                "launcher=slurm brings it"
                if above == "launcher.slurm"
                else "such as gt_sampling=none"
            )
            rule = f"it is of an optional part that is absent ({way})"
            faults.append(Fault(key, None, f"cannot be set: {rule}"))
    if faults:
        raise RequestError(*faults)
    return own[""]


def _is_plain(value: Any) -> bool:
    """Check that OmegaConf takes a value as it is."""
    if isinstance(value, str):
        return "${" not in value and value != "???"
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, (bool, int, float))


def composition(variant: str, overrides: Sequence[Override], groups: Groups) -> Composition:
    """The composition that overrides are set on: the variant with their choices of groups.

    Raises:
        RequestError: Hydra cannot compose it.
    """
    chosen = sorted((item.key, str(item.value)) for item in overrides if item.key in groups)
    typed = (f"{part_groups().get(key, key)}={option}" for key, option in chosen)
    spec = variant_named(variant)
    option = None if spec is None or spec.option is None else json.dumps(spec.option)
    # No file has a name that begins so, and an idea may have any.
    chosen_variant = variant if option is None else f"idea_{variant}"
    choices = (f"variant={chosen_variant}", *typed)
    return Composition(_composed(shipped_folder("conf"), choices, option))


@lru_cache(maxsize=256)
def _composed(folder: Path, choices: tuple[str, ...], option: str | None) -> Any:
    """A choice of groups, composed by Hydra, with its interpolations as they are written.

    Args:
        option: What `variant=` chooses, as JSON, where no file holds it.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException

    if option is not None:
        name = choices[0].partition("=")[2]
        ConfigStore.instance().store(group="variant", name=name, node=json.loads(option))
    try:
        with initialize_config_dir(config_dir=os.fspath(folder.resolve()), version_base="1.3"):
            return compose("config", [*choices])
    except HydraException as error:
        raise _not_composed(error) from error


def _plain(config: Any, *, resolve: bool = False) -> dict[str, Any]:
    """An OmegaConf dictionary, or what becomes one, as plain values.

    Raises:
        RequestError: An interpolation leads nowhere.
    """
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        node = config if isinstance(config, DictConfig) else OmegaConf.create(config)
        found = OmegaConf.to_container(node, resolve=resolve, throw_on_missing=resolve)
    except OmegaConfBaseException as error:
        raise _not_composed(error) from error
    return dict(found)  # type: ignore[arg-type]


def _not_composed(error: Exception) -> RequestError:
    fault = str(error.__cause__ or error).splitlines()[0]
    return RequestError(f"the configuration cannot be composed: {fault}")
