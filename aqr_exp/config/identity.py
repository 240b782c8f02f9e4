"""Identity of runs: a hash of what can change the numbers, and of nothing else."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from aqr_exp.config import IMPORTED, SOURCES, rules
from aqr_exp.config.convert import FieldSpec, convert, fields_of
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.constraints import Table
from aqr_exp.config.short_names import value_at
from aqr_exp.errors import RequestError
from aqr_exp.files.run_name import RunName

HASH_DIGITS = 12


def canonical(config: Any) -> dict[str, Any]:
    """Everything of a configuration that can change a run's numbers.

    Returns:
        Plain nested dicts without the fields marked `NotInFingerprint`, without absent parts, so that what
        one variant has cannot rename another, and without fields that do what was done before
        there were such fields, so that they cannot rename earlier runs.
    """
    found: dict[str, Any] = _plain(config, with_excluded=False)
    return found


def as_dict(config: Any) -> dict[str, Any]:
    """A configuration dataclass as plain nested dicts, lists and scalars; absent parts have no key."""
    found: dict[str, Any] = _plain(config, with_excluded=True)
    return found


def fingerprint(config: RunConfig) -> str:
    """Twelve hex digits of the SHA-256 of the canonical configuration.

    The seed is the replicate axis and beside the fingerprint, not in it.
    """
    counting = sorted(name for name, spec in fields_of(RunConfig).items() if not spec.excluded)
    parts = {name: part for name in counting if (part := getattr(config, name)) is not None}
    text = ",".join(f'"{name}":{_part_text(part)}' for name, part in parts.items())
    return short_hash(f"{{{text}}}")


@lru_cache(maxsize=4096)
def _part_text(part: Any) -> str:
    """One part of a run as canonical text; the runs of a sweep share most of theirs."""
    return json.dumps(canonical(part), sort_keys=True, separators=(",", ":"), allow_nan=False)


def short_hash(text: str) -> str:
    """Twelve hex digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


def run_name(config: RunConfig) -> str:
    """`<variant>-<fingerprint>-s<seed>`: the name of the run's folder."""
    return str(RunName(config.variant.name, fingerprint(config), config.seed))


def to_yaml(config: RunConfig) -> str:
    """The complete configuration as YAML, as `from_spec` reads it back."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(as_dict(config), Dumper=dumper, sort_keys=False, default_flow_style=None)
    return str(text)


def from_spec(spec: Mapping[str, Any]) -> RunConfig:
    """The configuration a `spec.yaml` holds.

    Raises:
        RequestError: One line for each unknown key, wrong type, value out of range or broken rule; or the
            run was not trained here.
    """
    if IMPORTED in spec:
        raise RequestError("an imported run has no weights and no configuration here")
    config = convert(RunConfig, spec)
    rules.check(config)
    return config


def _plain(value: Any, *, with_excluded: bool) -> Any:
    if isinstance(value, tuple):
        return [_plain(item, with_excluded=with_excluded) for item in value]
    if not dataclasses.is_dataclass(value):
        return dict(value) if isinstance(value, Table) else value
    return {
        name: _plain(item, with_excluded=with_excluded)
        for name, spec in fields_of(value.__class__).items()
        if (item := getattr(value, name)) is not None
        and (with_excluded or not (spec.excluded or (spec.before and spec.before.value == item)))
    }


ABSENT = "absent"


class IdentityEffect(str, Enum):
    """The effect of a differing key on the identity of a run."""

    CHANGES = "counts"
    SEED_ONLY = "replicate"
    LAST_DIGITS = "last digits"
    NONE = "neutral"


# Sums in another order differ in their last digits, and training makes that grow. These are a run's
# circumstances and no part of its identity: a table names them as confounders.
_LAST_DIGITS = frozenset({"launcher.threads", "launcher.device", "launcher.gpus_per_run"})


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One key that two runs differ in.

    Attributes:
        key: Dotted.
        ours: The value in one; `ABSENT` where it has no such key.
        theirs: The value in the other.
        effect: Whether it changes the identity, is the seed, changes last digits, or changes nothing.
    """

    key: str
    ours: Any
    theirs: Any
    effect: IdentityEffect


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[Difference]:
    """Every key that two complete configurations differ in, in the order of the schema.

    Args:
        ours: Plain values: what `spec.yaml` holds; one of another version will do.

    Returns:
        Keys that count first, then the seed, then the others. What one lacks because it was imported is
        not known, and left out.
    """
    order = list(IdentityEffect)
    found = _walk(ours, theirs, fields_of(RunConfig), "", excluded=False)
    if (IMPORTED in ours) != (IMPORTED in theirs):
        found = (item for item in found if ABSENT not in (item.ours, item.theirs))
    return sorted(found, key=lambda item: order.index(item.effect))


def _walk(
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    specs: Mapping[str, FieldSpec],
    prefix: str,
    *,
    excluded: bool,
) -> Iterator[Difference]:
    for name in dict.fromkeys([*specs, *ours, *theirs]):
        one, other = ours.get(name), theirs.get(name)
        if one == other and isinstance(one, bool) == isinstance(other, bool):
            continue
        spec = specs.get(name, _UNKNOWN)
        # One run is too old to have the key, which does in the other what was done before.
        older = one is None or other is None
        if older and spec.is_as_before(other if one is None else one):
            continue
        neutral = excluded or spec.excluded
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _walk(one, other, spec.below, f"{prefix}{name}.", excluded=neutral)
            continue
        effect = IdentityEffect.NONE if neutral else IdentityEffect.CHANGES
        if f"{prefix}{name}" == "seed":
            effect = IdentityEffect.SEED_ONLY
        elif f"{prefix}{name}" in _LAST_DIGITS:
            effect = IdentityEffect.LAST_DIGITS
        # A part that only one has: an arm with a router beside one without.
        yield Difference(
            key=f"{prefix}{name}",
            ours=ABSENT if one is None else one,
            theirs=ABSENT if other is None else other,
            effect=effect,
        )


# A key of a file that the schema does not know.
_UNKNOWN = FieldSpec(type=None, range=None, excluded=False, optional=False, before=None)
# What training time depends on besides the setting; `host` replaces an unknown processor.
CIRCUMSTANCES = (
    "processor",
    "host",
    "gpus",
    "cpus",
    "device",
    "threads",
    "loader_workers",
    "gpus_per_run",
)


def setting_fingerprint(spec: Mapping[str, Any]) -> str:
    """Hash what a run is besides its arm: model, data and schedule, without what changes no number.

    Args:
        spec: A run's complete configuration as plain values: what `spec.yaml` holds. One that an
            older or newer version wrote will do.

    Returns:
        Twelve hex digits; runs that differ in their variant (and seed) alone share them.
    """
    kept = {key: value for key, value in spec.items() if key not in {"variant", SOURCES}}
    effective = _effective(kept, fields_of(RunConfig))
    return short_hash(json.dumps(effective, sort_keys=True, separators=(",", ":")))


def _effective(values: Mapping[str, Any], specs: Mapping[str, FieldSpec]) -> dict[str, Any]:
    """The present values that can change a number; keys the schema does not know are kept."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        spec = specs.get(key, _UNKNOWN)
        if value is None or spec.excluded or spec.is_as_before(value):
            continue
        nested = spec.nested and isinstance(value, Mapping)
        kept[key] = _effective(value, spec.below) if nested else value
    return kept


def launch_circumstances(spec: Mapping[str, Any], hardware: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that change a run's training time, and of its numbers at most the last digits.

    Args:
        hardware: `cpus` and `gpus` of the machine, as far as they are known.

    Returns:
        `device`, `threads`, `loader_workers` and `gpus_per_run`.
    """
    device, workers = (value_at(spec, f"launcher.{key}") for key in ("device", "loader_workers"))
    on_cpu = device == "cpu" or not hardware.get("gpus")
    return {
        "device": device,
        "threads": value_at(spec, "launcher.threads") or hardware.get("cpus"),
        "loader_workers": 1 if workers == "auto" and on_cpu else workers,
        "gpus_per_run": value_at(spec, "launcher.gpus_per_run") or 1,
    }


def differing_circumstances(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """The circumstances that make the training times of two runs incomparable.

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
