"""Arms by the values of the swept parameters, and those that have no such part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from aqr_exp.config import BASELINE
from aqr_exp.config.identity import IdentityEffect, differences
from aqr_exp.config.short_names import flat, keys_set_by, short_names, value_at
from aqr_exp.errors import RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.statistics.grouping import Group, group_seeds
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry

Value = str | int | float | bool
NOT_SET = "default"
MOST_SERIES = 12
MOST_PARAMETERS = 2


@dataclass(frozen=True, kw_only=True)
class SweptPoint:
    """One arm at its place in a sweep, with the values of the swept parameters in their order."""

    values: tuple[Value, ...]
    group: Group


@dataclass(frozen=True, kw_only=True)
class SweptSeries:
    """Arms that differ in the swept parameters alone.

    Attributes:
        label: What tells it from the other series; its variant, or `mean`, when it is the only one.
        points: Its arms, by rising values.
    """

    label: str
    points: tuple[SweptPoint, ...]


@dataclass(frozen=True, kw_only=True)
class Swept:
    """Arms that have the swept parameters, and those without such a part, the baseline first."""

    series: tuple[SweptSeries, ...]
    references: tuple[Group, ...] = ()


def numbered(points: Sequence[SweptPoint]) -> list[SweptPoint]:
    """The points whose values are all finite numbers."""
    return [
        point
        for point in points
        if all(
            not isinstance(value, (str, bool)) and isfinite(float(value)) for value in point.values
        )
    ]


@dataclass(frozen=True, kw_only=True)
class _Arm:
    group: Group
    spec: Mapping[str, Any]
    values: tuple[Value | None, ...]
    others: dict[str, Any] = field(default_factory=dict)


def swept(rows: Sequence[RunRow], parameters: Sequence[str], *, store: Store) -> Swept:
    """Sort runs by the values of some parameters.

    Args:
        rows: Runs; those without metrics are passed over.
        parameters: Keys as they would be typed: dotted, short names, groups, or `variant`.

    Raises:
        RequestError: There are three parameters or no completed run, no run has a parameter, or the
            runs differ in so much else that no figure could tell them apart.
        AqrExpError: A configuration is damaged; names the file.
    """
    if not 1 <= len(parameters) <= 2 or len(set(parameters)) < len(parameters):
        raise RequestError(
            f"a sweep is drawn over one or two parameters, not over {len(parameters)}"
            f" ({', '.join(parameters) or 'none'})"
        )
    groups, _ = group_seeds(rows)
    if not groups:
        raise RequestError("no completed run to draw: `aqr-exp list` shows the status of each run")
    arms = []
    for group in groups:
        spec = store.folder(group[0].name).read_spec()
        values = tuple(value_of(key, spec, group[0]) for key in parameters)
        arms.append(_Arm(group=group, spec=spec, values=values))
    for place, key in enumerate(parameters):
        if all(arm.values[place] is None for arm in arms):
            known = {name for arm in arms for name in flat(arm.spec)}
            known |= {name for name in short_names() if known.intersection(keys_set_by(name))}
            raise RequestError(f"no run has the parameter '{key}'{did_you_mean(key, known)}")
    having = [arm for arm in arms if None not in arm.values]
    lacking = [arm.group for arm in arms if None in arm.values]
    if not having:
        raise RequestError(f"no run has all of the parameters {', '.join(parameters)}")
    series = _series(having, parameters)
    if len(series) > MOST_SERIES:
        keys = ", ".join(list(dict.fromkeys(map(typed_name, having[0].others)))[:5])
        raise RequestError(
            f"the runs differ in more than {', '.join(parameters)} ({keys}): they make "
            f"{len(series)} curves, at most {MOST_SERIES} can be told apart: choose runs by --of"
        )
    return Swept(series=series, references=tuple(lacking))


def value_of(key: str, spec: Mapping[str, Any], row: RunRow) -> Value | None:
    """The value of a parameter; None when the run has no such part, and for the baseline among variants."""
    if key == "variant":
        return None if row.variant == BASELINE else row.variant
    chosen = [
        word.partition("=")[2] for word in row.overrides.split() if word.startswith(f"{key}=")
    ]
    found = list(dict.fromkeys(_plain(value_at(spec, name)) for name in keys_set_by(key)))
    if (
        found == [None]
        and "." not in key
        and not isinstance(value_at(spec, f"variant.{key}"), Mapping)
    ):
        return None
    if found == [None] or found == [NOT_SET]:
        # A group such as `bias`: the configuration holds what it set, and not its name.
        return chosen[-1] if chosen else NOT_SET
    return found[0] if len(found) == 1 else " x ".join(map(str, found))


def _plain(value: Any) -> Value | None:
    if isinstance(value, Mapping):
        name = value.get("name")
        return name if isinstance(name, str) else NOT_SET
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)


def _series(arms: Sequence[_Arm], parameters: Sequence[str]) -> tuple[SweptSeries, ...]:
    """The arms by everything else they differ in."""
    _note_other_differences(arms, parameters)
    by_label: dict[str, list[SweptPoint]] = {}
    arms = sorted(arms, key=lambda arm: (arm.group[0].variant, order([*arm.others.values()])))
    several = len({arm.group[0].variant for arm in arms}) > 1 and "variant" not in parameters
    for arm in arms:
        row = arm.group[0]
        only = "mean" if "variant" in parameters else row.variant
        words = [row.variant] * several
        words += dict.fromkeys(f"{typed_name(key)}={text(one)}" for key, one in arm.others.items())
        point = SweptPoint(values=tuple(v for v in arm.values if v is not None), group=arm.group)
        by_label.setdefault(" ".join(words) or only, []).append(point)
    return tuple(
        SweptSeries(label=label, points=tuple(sorted(points, key=lambda item: order(item.values))))
        for label, points in by_label.items()
    )


def _note_other_differences(arms: Sequence[_Arm], parameters: Sequence[str]) -> None:
    """Fill in, for every arm, the keys besides the parameters that arms of its variant differ in."""
    ours = {name for key in parameters for name in keys_set_by(key)}
    prefixes = tuple(f"{key}." for key in parameters) + tuple(
        f"variant.{key}." for key in parameters
    )
    first_of: dict[str, _Arm] = {}
    differing: dict[str, None] = {}
    for arm in arms:
        first = first_of.setdefault("" if "variant" in parameters else arm.group[0].variant, arm)
        for other in (first, arms[0]):
            for item in differences(other.spec, arm.spec):
                own = item.key.startswith("variant.") and other is not first
                within = item.key in ours or item.key.startswith(prefixes)
                if item.effect is IdentityEffect.CHANGES and not own and not within:
                    differing[item.key] = None
    if "variant" in parameters:
        differing = {key: None for key in differing if not key.startswith("variant.")}
    for arm in arms:
        for key in differing:
            value = _plain(value_at(arm.spec, key))
            if value is not None:
                arm.others[key] = value


def order(values: Sequence[Value]) -> tuple[tuple[bool, float, str], ...]:
    """A key to sort values by: numbers by size, before text by letters."""
    return tuple(
        (True, 0.0, str(value)) if isinstance(value, (str, bool)) else (False, float(value), "")
        for value in values
    )


def text(value: Value) -> str:
    """A value as short as it can be written."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def typed_name(key: str) -> str:
    """The short name of a dotted key, or else the key."""
    return next((short for short, keys in short_names().items() if key in keys), key)


def swept_keys(entries: Sequence[SweepEntry]) -> list[str]:
    """The keys a sweep varies, as typed, those with most values first; `variant` when only that."""
    points = [entry for entry in entries if entry.variant != BASELINE] or list(entries)
    values: dict[str, set[str]] = {}
    for entry in points:
        for override in entry.overrides:
            key, _, value = override.partition("=")
            values.setdefault(key, set()).add(value)
    several = [key for key, found in values.items() if len(found) > 1]
    if not several and len({entry.variant for entry in entries}) > 1:
        return ["variant"]
    return sorted(several, key=lambda key: -len(values[key]))
