"""Typed sweeps: a shipped sweep, a file or a variant, and the words beside it."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from aqr_exp.config.compose import (
    Groups,
    group_options,
    joined_words,
    known_variant,
    shipped_folder,
    split_typed,
)
from aqr_exp.config.short_names import keys_set_by
from aqr_exp.errors import Fault, RequestError, shown
from aqr_exp.files.suggest import did_you_mean, some
from aqr_exp.files.text import typed_path
from aqr_exp.sweep.builder import Node, SweepBuilder
from aqr_exp.sweep.request import Axis, SweepRequest, clash, with_typed
from aqr_exp.sweep.search import SETTINGS, Dimension, read_setting
from aqr_exp.sweep.values import SEED_RULE, is_seed, kind_of, read_override
from aqr_exp.sweep.yaml_source import read_sweep


def shipped_sweeps() -> list[str]:
    """The names of the shipped sweeps, sorted."""
    return sorted(path.stem for path in shipped_folder("sweeps").glob("*.yaml"))


def sweep_request(what: str, typed: Sequence[str] = (), name: str | None = None) -> SweepRequest:
    """The request of a command line.

    Args:
        what: A shipped sweep, a sweep file, or a variant.
        typed: Further variants after a variant, then overrides, each of which may name several values,
            and settings of a search.
        name: The sweep's name, in place of that of the file or of what was typed.

    Raises:
        RequestError: One fault for each thing wrong.
    """
    request = dataclasses.replace(_read(what, typed), words=" ".join(typed))
    return dataclasses.replace(request, name=name) if name is not None else request


def _read(what: str, typed: Sequence[str]) -> SweepRequest:
    groups = group_options()
    if what in groups["variant"]:
        variants, typed = _variants(what, typed, groups)
        what = "-".join(variants)
        request = _with_words(SweepRequest(name=what, variants=variants), typed)
        # Named after what it sweeps: values that are added later join the same sweep.
        axes: Sequence[Axis | Dimension] = request.search.space if request.search else request.grid
        keys = "-".join(axis.key for axis in axes)
        word = "search" if request.search else "by"
        return dataclasses.replace(request, name=f"{what}-{word}-{keys}" if keys else what)
    if "/" in what or what.endswith((".yaml", ".yml")):
        path = typed_path(what, "the sweep file")
        if not path.is_file():
            raise RequestError(f"no such sweep file: {what}")
        request = dataclasses.replace(read_sweep(path, what), origin=os.fspath(path.resolve()))
        return _with_words(request, typed)
    names = shipped_sweeps()
    if what not in names:
        known = [*names, *groups["variant"]]
        hint = did_you_mean(what, known) or f" (known: {some(known)}; or a file)"
        raise RequestError(Fault(rule=f"unknown sweep {shown(what)}", hint=hint))
    path = shipped_folder("sweeps") / f"{what}.yaml"
    request = dataclasses.replace(read_sweep(path, f"sweeps/{what}.yaml"), origin=what)
    return _with_words(request, typed)


def _variants(
    what: str, typed: Sequence[str], groups: Groups
) -> tuple[tuple[str, ...], Sequence[str]]:
    """The variants that stand first, and the words after them.

    Raises:
        RequestError: One of them is an idea that cannot be used.
    """
    found, rest = [what], [*typed]
    while rest and rest[0] in groups["variant"] and rest[1:2] != ["="]:
        found.append(rest.pop(0))
    for name in found:
        known_variant(name, groups)
    return tuple(dict.fromkeys(found)), rest


def _with_words(request: SweepRequest, typed: Sequence[str]) -> SweepRequest:
    """A request with the words that were typed beside it."""
    words = [(text, text.partition("=")[0].strip()) for text in joined_words(typed)]
    searching = request.search is not None or any(key == "strategy" for _, key in words)
    builder = SweepBuilder()
    axes: list[Axis] = []
    settings: dict[str, Any] = {}
    space: list[Dimension] = []
    seeds: tuple[int, ...] | None = None
    seen: set[str] = set()
    for text, name in words:
        try:
            if not searching and name in SETTINGS:
                raise RequestError(f"{text}: is for a search: add strategy=optuna trials=20")
            key, value = split_typed(text)
            interval = kind_of(value) == "IntervalSweep"
            if not searching and interval:
                raise RequestError(f"{text}: only a search has intervals: add strategy=optuna")
            if seen & {key, *keys_set_by(key)}:
                raise RequestError(Fault(rule=f"'{key}' is given twice", about=(key,)))
            seen |= {key, *keys_set_by(key)}
            if key == "variant":
                rule = "cannot be used: name the variant first, before the overrides"
                raise RequestError(f"override {text!r} {rule}")
            if key == "seed":
                seeds = _seeds(text, builder.groups)
            elif key in SETTINGS:
                settings[key] = read_setting(key, value)
            elif builder.known(key):
                node = Node(raw=value, text=value, value=value)
                values = () if interval else builder.values(key, node)
                if searching and (interval or len(values) > 1):
                    dimension = builder.dimension(key, node)
                    space += [dimension] if dimension else []
                elif values:
                    axes.append(Axis(key=key, values=values))
                    fault = clash(axes[-1], request)
                    builder.add(0, *[fault] if fault else [])
        except RequestError as error:
            builder.add(0, *error.faults)
    builder.check()
    return with_typed(request, axes, settings, space, seeds)


def _seeds(text: str, groups: Groups) -> tuple[int, ...]:
    values = read_override(text, groups)
    wrong = [Fault("seed", item.text, SEED_RULE) for item in values if not is_seed(item.value)]
    if wrong:
        raise RequestError(*wrong)
    return tuple(dict.fromkeys(item.value for item in values))
