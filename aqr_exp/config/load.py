"""A request, from what was typed to the checked run."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from aqr_exp.config import rules
from aqr_exp.config.compose import compose_run
from aqr_exp.config.convert import convert
from aqr_exp.config.schema import RunConfig


def load_run(variant: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Compose, convert and check one run; the data's fingerprint is not filled in yet.

    Args:
        variant: An option of the group `variant`.
        overrides: Hydra's `key=value` and `group=option`.

    Returns:
        The run, with an absolute `data.root`.

    Raises:
        RequestError: One line for each fault.
    """
    config = convert(RunConfig, compose_run(variant, overrides))
    rules.check(config)
    # The training process may run in another folder than the one a relative path was typed in.
    root = os.fspath(Path(config.data.root).expanduser().absolute())
    return dataclasses.replace(config, data=dataclasses.replace(config.data, root=root))
