"""When two runs are the same: a hash of what can change the numbers, and of nothing else."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from aqr_exp.config import rules
from aqr_exp.config.convert import convert
from aqr_exp.config.fields import fields_of
from aqr_exp.config.schema import RunConfig

FINGERPRINT_DIGITS = 12


def canonical(config: Any) -> dict[str, Any]:
    """Everything of a configuration that can change a run's numbers.

    Args:
        config: A configuration dataclass.

    Returns:
        Plain nested dicts without the fields marked `Excluded`, without absent parts, so that what
        one variant has cannot rename another, and without fields that do what was done before
        there were such fields, so that they cannot rename earlier runs.
    """
    return _plain(config, with_excluded=False)


def as_dict(config: Any) -> dict[str, Any]:
    """A configuration dataclass as plain nested dicts, lists and scalars; absent parts have no key."""
    return _plain(config, with_excluded=True)


def fingerprint(config: RunConfig) -> str:
    """Twelve hex digits of the SHA-256 of the canonical configuration.

    The seed is the replicate axis and stands beside the fingerprint, not in it.
    """
    return fingerprint_of({name: part_text(part) for name, part in canonical(config).items()})


def part_text(part: Any) -> str:
    """One canonical part of a run as text.

    Args:
        part: Plain values, as `canonical` gives them.
    """
    return json.dumps(part, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint_of(parts: Mapping[str, str]) -> str:
    """The fingerprint of a run from the texts of its parts, so that many runs can share them.

    Args:
        parts: The `part_text` of every part of `canonical` by its name.
    """
    text = ",".join(f'"{name}":{parts[name]}' for name in sorted(parts))
    return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()[:FINGERPRINT_DIGITS]


def run_name(config: RunConfig) -> str:
    """`<variant>-<fingerprint>-s<seed>`: the name of the run's folder."""
    return f"{config.variant.name.value}-{fingerprint(config)}-s{config.seed}"


def to_yaml(config: RunConfig) -> str:
    """The complete configuration as YAML, as `from_spec` reads it back."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(as_dict(config), Dumper=dumper, sort_keys=False, default_flow_style=None)
    return str(text)


def from_spec(spec: Mapping[str, Any]) -> RunConfig:
    """The configuration a `spec.yaml` holds.

    Args:
        spec: The file's content.

    Raises:
        RequestError: One line for each unknown key, wrong type, value out of range or broken rule.
    """
    config = convert(RunConfig, spec)
    rules.check(config)
    return config


def _plain(config: Any, *, with_excluded: bool) -> dict[str, Any]:
    return {
        spec.name: _plain_value(value, with_excluded=with_excluded)
        for spec in fields_of(config.__class__)
        if (value := getattr(config, spec.name)) is not None
        and (with_excluded or not (spec.excluded or (spec.before and spec.before.value == value)))
    }


def _plain_value(value: Any, *, with_excluded: bool) -> Any:
    if dataclasses.is_dataclass(value):
        return _plain(value, with_excluded=with_excluded)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain_value(item, with_excluded=with_excluded) for item in value]
    return value
