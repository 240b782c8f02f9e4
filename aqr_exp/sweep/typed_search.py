"""The part of what is typed that makes a sweep a search."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from aqr_exp.config.compose import check_overrides
from aqr_exp.config.short_names import keys_set_by
from aqr_exp.errors import RequestError
from aqr_exp.sweep.dimensions import is_interval, names_several, read_dimension
from aqr_exp.sweep.request import SweepRequest
from aqr_exp.sweep.search import Dimension, Search
from aqr_exp.sweep.search_settings import SETTINGS, read_setting, search_of


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
    faults = []
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
            fault = check_overrides([f"{key}=0"], {k: [*v] for k, v in groups.items()}, "")
            if fault and key not in groups:
                raise RequestError(fault[0])
            new = read_dimension(key, _value(text), groups)
            space = [item for item in space if not _keys(item) & _keys(new)] + [new]
        except RequestError as error:
            faults.append(str(error))
    if not faults and request.search is None and not settings:
        return request
    if request.grid or request.zipped or request.points:
        faults.append(f"strategy: {request.source} lists its points: a search proposes them")
    if faults:
        raise RequestError("\n".join(faults))
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
