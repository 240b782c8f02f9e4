"""The part of what is typed that makes a sweep a search."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aqr_exp
from aqr_exp.config.compose import Override, group_options, override_faults
from aqr_exp.config.short_names import keys_set_by
from aqr_exp.errors import Fault, RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.sweep.request import Axis, Dimension, Overrides, Search, SweepRequest
from aqr_exp.sweep.search_settings import (
    SETTINGS,
    is_interval,
    names_several,
    read_dimension,
    read_setting,
    search_of,
)
from aqr_exp.sweep.values import SEED_RULE, is_seed, read_override


def split_search(
    request: SweepRequest, typed: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[str]]:
    """What was typed for a search, and what was typed for any sweep.

    Args:
        request: The sweep.
        typed: Overrides and settings.
        groups: Option names by group name.

    Raises:
        RequestError: An interval where nothing searches.
    """
    keys = {text: text.partition("=")[0].strip() for text in typed}
    settings = [text for text in typed if keys[text] in SETTINGS]
    searching = request.search is not None or any(keys[text] == "strategy" for text in settings)
    if not searching:
        for text in typed:
            if keys[text] not in SETTINGS and is_interval(_value(text)):
                raise RequestError(f"{text}: only a search has intervals: add strategy=optuna")
        if settings:
            raise RequestError(f"{settings[0]}: is for a search: add strategy=optuna trials=20")
        return [], list(typed)
    axes = [
        text
        for text in typed
        if keys[text] not in SETTINGS and keys[text] != "seed" and _several(text, groups)
    ]
    chosen = [text for text in typed if text in settings or text in axes]
    return chosen, [text for text in typed if text not in chosen]


def with_search(
    request: SweepRequest, typed: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> SweepRequest:
    """A sweep with the search that was typed beside it.

    Args:
        request: The sweep, with the other overrides already on it.
        typed: Settings and dimensions, as `split_search` gives them.
        groups: Option names by group name.

    Raises:
        RequestError: One line for each fault.
    """
    known = request.search
    settings = {} if known is None else settings_of(known)
    fixed = {key for item in request.fixed for key in keys_set_by(item.key)}
    space = [] if known is None else [item for item in known.space if not _keys(item) & fixed]
    faults: list[Fault] = []
    seen: set[str] = set()
    for text in typed:
        key = text.partition("=")[0].strip()
        try:
            if seen & {key, *keys_set_by(key)}:
                raise RequestError(f"'{key}' is given twice")
            seen |= {key, *keys_set_by(key)}
            if key in SETTINGS:
                settings[key] = read_setting(key, _value(text))
                continue
            fault = override_faults([Override(key=key, text="0", value=0)], "", groups)
            if fault and key not in groups:
                raise RequestError(fault[0])
            new = read_dimension(key, _value(text), groups)
            space = [item for item in space if not _keys(item) & _keys(new)] + [new]
        except RequestError as error:
            faults += error.faults
    if not faults and request.search is None and not settings:
        return request
    if request.grid or request.zipped or request.points:
        rule = f"{request.source} lists its points: a search proposes them"
        faults.append(Fault("strategy", None, rule))
    if faults:
        raise RequestError(*faults)
    searched = {key for item in space for key in _keys(item)}
    kept = tuple(item for item in request.fixed if not set(keys_set_by(item.key)) & searched)
    return dataclasses.replace(request, fixed=kept, search=search_of(settings, tuple(space)))


def settings_of(search: Search) -> dict[str, Any]:
    """The settings `search_of` would make a search of."""
    found: dict[str, Any] = {
        "strategy": search.strategy,
        "trials": search.trials,
        "objective": search.objective,
        "direction": search.direction,
    }
    if search.pruning is not None:
        found["prune"] = search.pruning.rule
        found["prune.after_epochs"] = search.pruning.after_epochs
        if search.pruning.margin:
            found["prune.margin"] = search.pruning.margin
    return found


def _value(text: str) -> str:
    return text.partition("=")[2].strip()


def _several(text: str, groups: Mapping[str, Sequence[str]]) -> bool:
    try:
        return names_several(text.partition("=")[0].strip(), _value(text), groups)
    except RequestError:
        return False  # said where it is read


def _keys(dimension: Dimension) -> set[str]:
    return set(keys_set_by(dimension.key))


def sweeps_dir() -> Path:
    """The shipped sweeps: inside the installed package, or beside it in a checkout.

    Raises:
        RequestError: Neither is there; the installation is incomplete.
    """
    package = Path(aqr_exp.__file__).resolve().parent
    for folder in (package / "sweeps", package.parent / "sweeps"):
        if (folder / "smoke.yaml").is_file():
            return folder
    raise RequestError(f"no sweeps beside {package}: the installation is incomplete")


def shipped_sweeps() -> list[str]:
    """The names of the shipped sweeps, sorted."""
    return sorted(path.stem for path in sweeps_dir().glob("*.yaml"))


def sweep_request(what: str, overrides: Sequence[str] = ()) -> SweepRequest:
    """What was asked for.

    Args:
        what: A shipped sweep, a sweep file, or a variant.
        overrides: As typed; each may name several values.

    Raises:
        RequestError: One line for each fault.
    """
    from aqr_exp.sweep.yaml_source import read_sweep

    groups = group_options()
    if what in groups["variant"]:
        request = _changed(SweepRequest(name=what, variants=(what,)), overrides, groups)
        # Named after what it sweeps: values that are added later join the same sweep.
        axes: Sequence[Axis | Dimension] = request.search.space if request.search else request.grid
        keys = "-".join(axis.key for axis in axes)
        word = "search" if request.search else "by"
        return dataclasses.replace(request, name=f"{what}-{word}-{keys}" if keys else what)
    if "/" in what or what.endswith((".yaml", ".yml")):
        path = Path(what).expanduser()
        if not path.is_file():
            raise RequestError(f"no such sweep file: {what}")
        request = read_sweep(path, what)
    else:
        names = shipped_sweeps()
        if what not in names:
            known = [*names, *groups["variant"]]
            raise RequestError(
                f"unknown sweep '{what}'{did_you_mean(what, known)} (sweeps: {', '.join(names)}; "
                f"or a variant: {', '.join(groups['variant'])}; or a file)"
            )
        request = read_sweep(sweeps_dir() / f"{what}.yaml", f"sweeps/{what}.yaml")
    return _changed(request, overrides, groups)


def _changed(
    request: SweepRequest, typed: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> SweepRequest:
    """A sweep with everything that was typed beside it."""
    for_search, others = split_search(request, typed, groups)
    return with_search(with_overrides(request, others, groups), for_search, groups)


def with_overrides(
    request: SweepRequest, overrides: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> SweepRequest:
    """A sweep with what was typed beside it, which wins over what its file says.

    Args:
        request: The sweep.
        overrides: As typed; `seed=` replaces the seeds.
        groups: Option names by group name.

    Raises:
        RequestError: One line for each fault.
    """
    fixed, axes = list(request.fixed), list(request.grid)
    faults: list[Fault] = []
    seeds = request.seeds
    seen: set[str] = set()
    for text in overrides:
        try:
            values = read_override(text, groups)
            key = values[0].key
            if seen & {key, *keys_set_by(key)}:
                raise RequestError(f"'{key}' is given twice")
            seen |= {key, *keys_set_by(key)}
            if key == "seed":
                seeds = _seeds(values)
                continue
            _check(values, groups, request)
        except RequestError as error:
            faults += error.faults
            continue
        fixed = [item for item in fixed if not _overlap(item.key, key)]
        replaced = [axis.key for axis in axes if _overlap(axis.key, key)]
        if len(values) > 1:
            new = Axis(key=key, values=values)
            axes = [new if axis.key in replaced[:1] else axis for axis in axes]
            axes = [axis for axis in axes if axis is new or axis.key not in replaced]
            axes += [] if replaced else [new]
        else:
            axes = [axis for axis in axes if axis.key not in replaced]
            fixed.append(values[0])
    if faults:
        raise RequestError(*faults)
    return dataclasses.replace(request, fixed=tuple(fixed), grid=tuple(axes), seeds=seeds)


def _overlap(one: str, other: str) -> bool:
    """Whether two keys, short names included, set a key in common."""
    return bool(set(keys_set_by(one)) & set(keys_set_by(other)))


def _seeds(values: Overrides) -> tuple[int, ...]:
    for item in values:
        if not is_seed(item.value):
            raise RequestError(f"{item.typed}: {SEED_RULE}")
    return tuple(dict.fromkeys(item.value for item in values))


def _check(values: Overrides, groups: Mapping[str, Sequence[str]], request: SweepRequest) -> None:
    """Refuse an unknown key or option, and a key that zip or points already give values to."""
    key = values[0].key
    for item in values if key in groups else values[:1]:
        fault = override_faults([item], "", groups)
        if fault:
            raise RequestError(fault[0])
    taken = [axis.key for axis in request.zipped]
    taken += [item.key for corner in request.points for item in corner.overrides]
    if any(_overlap(key, other) for other in taken):
        raise RequestError(
            f"'{key}': {request.source} gives it values under zip or points: change them there"
        )
    if request.points and len(values) > 1:
        raise RequestError(
            f"'{key}': {request.source} holds explicit points: give one value, or edit it there"
        )
    for other in [axis.key for axis in request.grid] + [item.key for item in request.fixed]:
        if _overlap(key, other) and set(keys_set_by(key)) != set(keys_set_by(other)):
            raise RequestError(f"'{key}': {request.source} sets it by '{other}': change that")
