"""When two arms may be compared: the same setting for the numbers, the same circumstances for times."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from aqr_exp.config.fields import fields_of
from aqr_exp.config.schema import RunConfig

SETTING_DIGITS = 12
# What training time depends on besides the setting; `host` stands in for an unknown processor.
CIRCUMSTANCES = ("processor", "host", "gpus", "cpus", "device", "threads", "loader_workers")


def setting_fingerprint(spec: Mapping[str, Any]) -> str:
    """Hash what a run is besides its arm: model, data and schedule, without what changes no number.

    Args:
        spec: A run's complete configuration as plain values: what `spec.yaml` holds. One that an
            older or newer version wrote will do.

    Returns:
        Twelve hex digits; runs that differ in their variant (and seed) alone share them.
    """
    kept = {key: value for key, value in spec.items() if key != "variant"}
    text = json.dumps(_effective(kept, RunConfig), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:SETTING_DIGITS]


def _effective(values: Mapping[str, Any], cls: Any) -> dict[str, Any]:
    """What is there and can change a number; keys the schema does not know are kept."""
    specs = {spec.name: spec for spec in fields_of(cls)}
    kept: dict[str, Any] = {}
    for key, value in values.items():
        spec = specs.get(key)
        if value is None or (spec is not None and (spec.excluded or spec.is_as_before(value))):
            continue
        nested = spec is not None and spec.nested and isinstance(value, Mapping)
        kept[key] = _effective(value, spec.type) if spec is not None and nested else value
    return kept


def launch_circumstances(spec: Mapping[str, Any], cpus: int | None) -> dict[str, Any]:
    """What of a run's configuration its training time depends on, without changing a number.

    Args:
        spec: What `spec.yaml` holds.
        cpus: Cores of the machine, which `threads: 0` takes all of.

    Returns:
        `device`, `threads` and `loader_workers`.
    """
    launcher = spec.get("launcher")
    given = launcher if isinstance(launcher, Mapping) else {}
    return {
        "device": given.get("device"),
        "threads": given.get("threads") or cpus,
        "loader_workers": given.get("loader_workers"),
    }


def differing_circumstances(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Why the training times of two runs say nothing about their arms.

    Args:
        ours: A run's `hardware`.
        theirs: Another's.

    Returns:
        One phrase for each circumstance that differs, such as `threads 2 and 1`; what only one of
        them knows is not compared.
    """
    both_know = {name for name in CIRCUMSTANCES if name in ours and name in theirs}
    # Two nodes of one kind are as good as one machine; unknown ones are not.
    if "processor" in both_know:
        both_know.discard("host")
    return [
        f"{name} {_words(ours[name])} and {_words(theirs[name])}"
        for name in CIRCUMSTANCES
        if name in both_know and ours[name] != theirs[name]
    ]


def _words(value: Any) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)
