"""From a variant's name and overrides to one plain, resolved mapping, through Hydra."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aqr_exp
from aqr_exp.config.fields import dotted_keys
from aqr_exp.config.nearest import did_you_mean
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import RequestError

# Filled in by the program; typing it could only make the record untrue.
COMPUTED_KEYS = {"data.fingerprint": "it is read from the data"}


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
    """The options of every Hydra group; bases that only others derive from are left out.

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
        if group.is_dir()
    }


def compose_run(
    variant: str, overrides: Sequence[str] = (), folder: Path | None = None
) -> dict[str, Any]:
    """Compose one run's configuration; keys are checked here, values by `convert`.

    Args:
        variant: An option of the group `variant`.
        overrides: Hydra's `key=value` and `group=option`.
        folder: Where the groups are; the shipped ones by default.

    Returns:
        Nested dicts and lists of scalars, every interpolation resolved.

    Raises:
        RequestError: One line for each unknown variant, group, option or key.
    """
    folder = folder or conf_dir()
    groups = group_options(folder)
    faults = []
    if variant not in groups["variant"]:
        faults.append(_unknown_option("variant", variant, groups["variant"]))
    faults += check_overrides(overrides, groups)
    if faults:
        raise RequestError("\n".join(faults))
    return _compose(folder, [f"variant={variant}", *overrides])


def check_overrides(overrides: Sequence[str], groups: dict[str, list[str]]) -> list[str]:
    """Name everything that is wrong with overrides before Hydra sees them.

    Args:
        overrides: As typed.
        groups: Option names by group name.

    Returns:
        One line for each fault; empty when all keys and options exist.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    faults = []
    seen: set[str] = set()
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException:
            faults.append(f"override {text!r} cannot be read: write it as key=value")
            continue
        fault = _override_fault(override, text, groups)
        if fault is None and override.key_or_group in seen:
            fault = f"'{override.key_or_group}' is given twice"
        seen.add(override.key_or_group)
        if fault:
            faults.append(fault)
    return faults


def _override_fault(override: Any, text: str, groups: dict[str, list[str]]) -> str | None:
    """What is wrong with one parsed override."""
    from hydra.core.override_parser.types import OverrideType

    key, value = override.key_or_group, override.value()
    if override.type is not OverrideType.CHANGE or override.package is not None:
        return f"override {text!r} cannot be used: keys are neither added nor removed, only changed"
    if override.is_sweep_override():
        return f"override {text!r} names several values: a run takes one"
    if key == "variant":
        return f"override {text!r} cannot be used: name the variant first, before the overrides"
    if key in groups:
        options = groups[key]
        return None if value in options else _unknown_option(key, str(value), options)
    known = dotted_keys(RunConfig)
    if key in COMPUTED_KEYS:
        return f"'{key}' cannot be set: {COMPUTED_KEYS[key]}"
    if key in known:
        return None
    below = [name for name in known if name.startswith(f"{key}.")]
    if below:
        return f"'{key}' is a group of keys: set one of them, such as '{below[0]}'"
    return f"unknown key '{key}'{did_you_mean(key, [*known, *groups])}"


def _unknown_option(group: str, option: str, options: Sequence[str]) -> str:
    guess = did_you_mean(option, options)
    return f"unknown {group} '{option}'{guess} (available: {', '.join(options)})"


def _compose(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Let Hydra compose, and turn whatever it says into one line."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(config_dir=os.fspath(folder.resolve()), version_base="1.3"):
            composed = compose("config", overrides)
        resolved = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        fault = str(error.__cause__ or error).splitlines()[0]
        raise RequestError(f"the configuration cannot be composed: {fault}") from error
    if not isinstance(resolved, dict):
        raise RequestError(f"{folder / 'config.yaml'} holds no mapping")
    return {str(key): value for key, value in resolved.items()}
