"""Sweeps as they are typed: a variant with values, or a sweep file with changes to it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import aqr_exp
from aqr_exp.config.compose import check_overrides, conf_dir, group_options
from aqr_exp.config.nearest import did_you_mean
from aqr_exp.config.short_names import keys_set_by
from aqr_exp.errors import RequestError
from aqr_exp.sweep.request import Axis, Overrides, SweepRequest
from aqr_exp.sweep.search import Dimension
from aqr_exp.sweep.seeds import SEED_RULE, is_seed
from aqr_exp.sweep.typed_search import split_search, with_search
from aqr_exp.sweep.values import read_override


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
    from aqr_exp.sweep.file import read_sweep

    groups = group_options(conf_dir())
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
    faults, fixed, axes = [], list(request.fixed), list(request.grid)
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
            faults.append(str(error))
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
        raise RequestError("\n".join(faults))
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
        fault = check_overrides([item.typed], {name: [*all_] for name, all_ in groups.items()}, "")
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
