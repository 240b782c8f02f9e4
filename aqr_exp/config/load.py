"""A request, from what was typed to the checked run."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aqr_exp.config import rules
from aqr_exp.config.compose import compose_run
from aqr_exp.config.convert import convert
from aqr_exp.config.inputs import with_checkpoint_identity
from aqr_exp.config.schema import DataConfig, RunConfig
from aqr_exp.config.short_names import as_typed
from aqr_exp.errors import RequestError


def load_run(variant: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Compose, convert and check one run; the data's fingerprint is not filled in yet.

    Args:
        variant: An option of the group `variant`.
        overrides: Hydra's `key=value` and `group=option`, and the short names.

    Returns:
        The run, with an absolute `data.root` and the identity of the checkpoint it starts from.

    Raises:
        RequestError: One line for each fault, in the names that were typed.
    """
    return finish(check_composed(compose_run(variant, overrides), overrides))


def check_composed(composed: Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Convert and check what was composed.

    Args:
        composed: Nested dicts and lists of scalars, resolved.
        overrides: What was typed.

    Raises:
        RequestError: One line for each fault, in the names that were typed.
    """
    try:
        config = convert(RunConfig, composed)
        rules.check(config)
    except RequestError as error:
        raise RequestError(*as_typed(error.faults, overrides)) from None
    return config


def finish(config: RunConfig) -> RunConfig:
    """Fill in what a checked run takes from where it is asked for: paths and its checkpoint.

    Raises:
        RequestError: The checkpoint is missing, cannot be read or is another one.
    """
    return with_checkpoint(dataclasses.replace(config, data=with_absolute_root(config.data)))


def with_absolute_root(data: DataConfig) -> DataConfig:
    """The same data by an absolute path."""
    # The training process may run in another folder than the one a relative path was typed in.
    root = os.fspath(Path(data.root).expanduser().absolute())
    return dataclasses.replace(data, root=root)


def with_checkpoint(config: RunConfig) -> RunConfig:
    """The run with the identity of the checkpoint it starts from, or without a start."""
    if config.start is None or not config.start.load_from:
        # From scratch there is no start: an empty one would rename every run.
        return dataclasses.replace(config, start=None)
    return with_checkpoint_identity(config)
