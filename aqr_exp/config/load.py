"""The loader: from a variant and overrides to a checked run with its identity, once or for many."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aqr_exp.config import rules
from aqr_exp.config.compose import (
    Override,
    changes_of,
    group_options,
    in_quotes,
    known_overrides,
    read_overrides,
)
from aqr_exp.config.composition import Composition, composition
from aqr_exp.config.convert import convert, with_converted
from aqr_exp.config.description import with_description
from aqr_exp.config.identity import fingerprint
from aqr_exp.config.inputs import check_lengths, identified, lengths, with_checkpoint_identity
from aqr_exp.config.schema import DataConfig, RunConfig, StartConfig
from aqr_exp.config.short_names import as_typed
from aqr_exp.config.sources import sources_of
from aqr_exp.config.variant_spec import spec_of
from aqr_exp.errors import Fault, RequestError
from aqr_exp.files.run_name import RunName
from aqr_exp.files.text import typed_path


def load_run(variant: str, typed: Sequence[str] = (), *, begins: bool = False) -> RunConfig:
    """Compose, convert and check one run; the data's fingerprint is not filled in yet.

    Args:
        begins: It is to be trained: see `rules.check_beginning`.

    Returns:
        The run, with an absolute `data.root` and the identity of the checkpoint it starts from.

    Raises:
        RequestError: One fault for each wrong key or value, in the names that were typed.
    """
    loader = ConfigLoader(with_data=False, begins=begins)
    return loader.checked(variant, read_overrides(typed, variant, loader.groups))


@dataclass(frozen=True, kw_only=True)
class LoadedRun:
    """One checked run and its identity.

    Attributes:
        config: The run.
        fingerprint: Its identity beside the seed.
    """

    config: RunConfig
    fingerprint: str

    def name_of(self, seed: int) -> str:
        """The name of its folder with a seed."""
        return str(RunName(self.config.variant.name, self.fingerprint, seed))


def _with_hint(fault: Fault, typed: Mapping[str, Override]) -> Fault:
    """A fault, and how to type the text that was read as a number or a list."""
    item = typed.get(fault.key)
    if item is None or isinstance(item.value, str) or fault.hint:
        return fault
    return replace(fault, hint=in_quotes(item.key, item.text))


def _of_typed(faults: Sequence[Fault], typed: Mapping[str, Override]) -> list[Fault]:
    """The faults without those of keys that take over the value of a typed one."""
    values = {fault.value for fault in faults if fault.key in typed}
    return [fault for fault in faults if fault.key in typed or fault.value not in values]


class ConfigLoader:
    """Loads runs; keep one for a whole plan, whose runs share what they have in common.

    Args:
        with_data: Whether the data's fingerprint is filled in; the data must then be there.
        begins: Whether the runs are to be trained: see `rules.check_beginning`.
    """

    def __init__(self, *, with_data: bool, begins: bool = False) -> None:
        self._with_data = with_data
        self._begins = begins
        self.groups = group_options()
        self._bases: dict[tuple[object, ...], tuple[Composition, RunConfig | None]] = {}
        self._data: dict[DataConfig, DataConfig] = {}
        self._compared: set[str] = set()
        self._lengths: dict[DataConfig, Mapping[str, int]] = {}
        self._starts: dict[StartConfig | None, StartConfig | None] = {}
        self._sources: dict[Path | None, str | None] = {}

    def load(self, variant: str, overrides: Sequence[Override]) -> LoadedRun:
        """One run with its identity.

        Raises:
            RequestError: One fault for each wrong key or value, in the names that were typed.
        """
        known_overrides(overrides, variant, self.groups)
        config = self.checked(variant, overrides)
        return LoadedRun(config=config, fingerprint=fingerprint(config))

    def mapping(self, variant: str, overrides: Sequence[Override]) -> dict[str, Any]:
        """A run as plain values before they are checked, for conditions that skip points.

        Raises:
            RequestError: An unknown key, group or option.
        """
        known_overrides(overrides, variant, self.groups)
        base, _ = self._base(variant, overrides)
        return base.mapping(changes_of(overrides, self.groups))

    def checked(self, variant: str, overrides: Sequence[Override]) -> RunConfig:
        """A run of overrides whose keys are known, with its paths, data and checkpoint.

        Raises:
            RequestError: One fault for each wrong value, in the names that were typed.
        """
        base, base_config = self._base(variant, overrides)
        try:
            mapping = base.mapping(changes_of(overrides, self.groups))
            if base_config is None:
                config = convert(RunConfig, mapping)
            else:  # a part that is the base's own object is not converted again
                new = {key: item for key, item in mapping.items() if item is not base.resolved[key]}
                config = with_converted(base_config, new)
            config = with_description(config)
            if own := rules.norm_processes(config):
                config = replace(config, schedule=replace(config.schedule, norm_processes=own))
            rules.check(config)
            if self._begins:
                rules.check_beginning(config)
        except RequestError as error:
            typed = {item.key: item for item in overrides}
            found = _of_typed(as_typed(error.faults, typed), typed)
            raise RequestError(*(_with_hint(fault, typed) for fault in found)) from error
        return self._finished(config)

    def _base(
        self, variant: str, overrides: Sequence[Override]
    ) -> tuple[Composition, RunConfig | None]:
        """The composition of a choice of groups, and its run where its values convert as they are."""
        chosen = ((item.key, item.value) for item in overrides if item.key in self.groups)
        key = (variant, *chosen)
        if key not in self._bases:
            base = composition(variant, overrides, self.groups)
            try:
                self._bases[key] = base, convert(RunConfig, base.resolved)
            except RequestError:
                self._bases[key] = base, None
        return self._bases[key]

    def _finished(self, config: RunConfig) -> RunConfig:
        """Fill in absolute paths and the identities of data and checkpoint, each read once."""
        if config.data not in self._data:
            # The training process may run in another folder than the one a path was typed in.
            root = os.fspath(typed_path(config.data.root, "data.root"))
            data = replace(config.data, root=root)
            self._data[config.data] = identified(data, self._compared) if self._with_data else data
        if config.start not in self._starts:
            # From scratch there is no start: an empty one would rename every run.
            loads = config.start is not None and config.start.load_from
            self._starts[config.start] = with_checkpoint_identity(config).start if loads else None
        origin = spec_of(config.variant).origin
        if origin not in self._sources:
            self._sources[origin] = None if origin is None else sources_of(origin).digest
        found = replace(
            config,
            data=self._data[config.data],
            start=self._starts[config.start],
            sources=self._sources[origin],
        )
        if self._with_data:
            if found.data not in self._lengths:
                self._lengths[found.data] = lengths(found.data)
            check_lengths(found, self._lengths[found.data])
        return found
