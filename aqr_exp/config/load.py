"""A request, from what was typed to the checked run."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from aqr_exp.config import rules
from aqr_exp.config.checkpoint_identity import with_checkpoint_identity
from aqr_exp.config.compose import compose_run
from aqr_exp.config.convert import convert
from aqr_exp.config.schema import RunConfig
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
    composed = compose_run(variant, overrides)
    try:
        config = convert(RunConfig, composed)
        rules.check(config)
    except RequestError as error:
        raise RequestError(as_typed(str(error), overrides)) from None
    # The training process may run in another folder than the one a relative path was typed in.
    root = os.fspath(Path(config.data.root).expanduser().absolute())
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=root))
    if config.start is None or not config.start.load_from:
        # From scratch there is no start: an empty one would rename every run.
        return dataclasses.replace(config, start=None)
    return with_checkpoint_identity(config)
