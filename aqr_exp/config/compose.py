"""From a variant's name and overrides to one plain, resolved mapping, through Hydra."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aqr_exp
from aqr_exp.config.convert import dotted_keys
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.short_names import keys_set_by, short_names, spelled_out
from aqr_exp.config.variant_spec import lacks_part, part_groups
from aqr_exp.errors import Fault, RequestError
from aqr_exp.files.suggest import did_you_mean

# Filled in by the program; typing it could only make the record untrue.
COMPUTED_KEYS = {
    "data.fingerprint": "it is read from the data",
    "start.sha256": "it is read from the checkpoint",
    "variant.name": "the variant is named first, before the overrides",
}


def conf_dir() -> Path:
    """The shipped Hydra groups: inside the installed package, or beside it in a checkout.

    Raises:
        RequestError: Neither is there; the installation is incomplete.
    """
    package = Path(aqr_exp.__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise RequestError(f"no configuration beside {package}: the installation is incomplete")


def group_options(folder: Path) -> dict[str, list[str]]:
    """The options of every Hydra group; what only others derive from (`*_base`) is left out.

    Args:
        folder: The folder with `config.yaml`.

    Returns:
        Sorted option names by group name.
    """
    return {
        group.name: sorted(
            option.stem for option in group.glob("*.yaml") if not option.stem.endswith("_base")
        )
        for group in sorted(folder.iterdir())
        if group.is_dir() and not group.name.endswith("_base")
    }


def compose_run(
    variant: str, overrides: Sequence[str] = (), folder: Path | None = None
) -> dict[str, Any]:
    """Compose one run's configuration; keys are checked here, values by `convert`.

    Args:
        variant: An option of the group `variant`.
        overrides: Hydra's `key=value` and `group=option`, and the short names.
        folder: Where the groups are; the shipped ones by default.

    Returns:
        Nested dicts and lists of scalars, every interpolation resolved.

    Raises:
        RequestError: One line for each unknown variant, group, option or key.
    """
    return compose_with_references(variant, overrides, folder)[0]


def compose_with_references(
    variant: str, overrides: Sequence[str] = (), folder: Path | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """As `compose_run`, and the same mapping with its interpolations as they are written."""
    folder = folder or conf_dir()
    groups = group_options(folder)
    faults = []
    if variant not in groups["variant"]:
        faults.append(_unknown_option("variant", variant, groups["variant"]))
    faults += check_overrides(overrides, groups, variant)
    if faults:
        raise RequestError(*faults)
    return _compose(folder, [f"variant={variant}", *map(_placed, spelled_out(overrides))])


def _placed(override: str) -> str:
    """An override as Hydra wants it: a part's group is chosen inside the variant."""
    key, equals, value = override.partition("=")
    return part_groups().get(key.strip(), key) + equals + value


def check_overrides(
    overrides: Sequence[str], groups: Mapping[str, Sequence[str]], variant: str
) -> list[Fault]:
    """Name everything that is wrong with overrides before Hydra sees them.

    Args:
        overrides: As typed.
        groups: Option names by group name.
        variant: The variant's name; of one that does not exist every part may be changed.

    Returns:
        One fault for each; empty when all keys and options exist.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    faults = []
    seen: dict[str, str] = {}
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException:
            faults.append(Fault(rule=f"override {text!r} cannot be read: write it as key=value"))
            continue
        fault = _override_fault(override, text, groups, variant)
        fault = fault or _twice(override.key_or_group, seen)
        seen.setdefault(override.key_or_group, override.key_or_group)
        for key in keys_set_by(override.key_or_group):
            seen.setdefault(key, override.key_or_group)
        if fault:
            faults.append(fault)
    return faults


def _twice(typed: str, seen: dict[str, str]) -> Fault | None:
    """That a key has a value already, under this name or another."""
    for key in (typed, *keys_set_by(typed)):
        if key in seen:
            other = {typed, seen[key]} - {key}
            also = f" ({' and '.join(sorted(other))} sets it too)" if other else ""
            return Fault(rule=f"'{key}' is given twice{also}", about=(key, *other))
    return None


def _override_fault(
    override: Any, text: str, groups: Mapping[str, Sequence[str]], variant: str
) -> Fault | None:
    """What is wrong with one parsed override."""
    from hydra.core.override_parser.types import OverrideType

    key, value = override.key_or_group, override.value()
    fault = partial(Fault, "", None, about=(key,))
    if override.type is not OverrideType.CHANGE or override.package is not None:
        rule = "cannot be used: keys are neither added nor removed, only changed"
        return fault(f"override {text!r} {rule}")
    if override.is_sweep_override():
        return fault(f"override {text!r} names several values: a run takes one")
    if key == "variant":
        rule = "cannot be used: name the variant first, before the overrides"
        return fault(f"override {text!r} {rule}")
    if key in groups:
        if value not in groups[key]:
            return _unknown_option(key, str(value), groups[key])
        return _part_fault(text, f"variant.{key}.", variant) if key in part_groups() else None
    known = dotted_keys(RunConfig)
    if key in COMPUTED_KEYS:
        return fault(f"'{key}' cannot be set: {COMPUTED_KEYS[key]}")
    if key in known or key in short_names():
        return _part_fault(key, keys_set_by(key)[0], variant)
    below = [name for name in known if name.startswith(f"{key}.")]
    if below:
        return fault(f"'{key}' is a group of keys: set one of them, such as '{below[0]}'")
    return fault(f"unknown key '{key}'", did_you_mean(key, [*known, *groups, *short_names()]))


def _part_fault(typed: str, key: str, variant: str) -> Fault | None:
    """That the variant does not have the part a key lies in."""
    head, _, rest = key.partition(".")
    part, dot, _ = rest.partition(".")
    fault = lacks_part(variant, part) if head == "variant" and dot else None
    return Fault(typed, None, fault, about=(key,)) if fault else None


def _unknown_option(group: str, option: str, options: Sequence[str]) -> Fault:
    hint = f"{did_you_mean(option, options)} (available: {', '.join(options)})"
    return Fault(rule=f"unknown {group} '{option}'", hint=hint, about=(group,))


def _compose(folder: Path, overrides: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Let Hydra compose, and turn whatever it says into one line; resolved, and as written."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(config_dir=os.fspath(folder.resolve()), version_base="1.3"):
            composed = compose("config", overrides)
        resolved = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        written = OmegaConf.to_container(composed, resolve=False)
    except (HydraException, OmegaConfBaseException) as error:
        fault = str(error.__cause__ or error).splitlines()[0]
        if "is not in struct" in fault:
            fault += ": it is of an optional part that is absent (such as gt_sampling=none)"
        raise RequestError(f"the configuration cannot be composed: {fault}") from error
    if not isinstance(resolved, dict) or not isinstance(written, dict):
        raise RequestError(f"{folder / 'config.yaml'} holds no mapping")
    return _named(resolved), _named(written)


def _named(mapping: dict[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in mapping.items()}
