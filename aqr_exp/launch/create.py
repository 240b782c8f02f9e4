"""Making a run's folder: what it is and where it came from, written down before it starts."""

import contextlib
import sys
from collections.abc import Sequence

from aqr_exp.config.identity import to_yaml
from aqr_exp.config.schema import RunConfig
from aqr_exp.launch.record import build_record
from aqr_exp.results.run_folder import RunFolder


def create_run(folder: RunFolder, config: RunConfig, overrides: Sequence[str]) -> None:
    """Make the run's folder; one that another process made meanwhile is as good.

    Args:
        folder: The run's folder; one for a forced attempt has another name than the run.
        config: The run, with its data's fingerprint.
        overrides: What was typed after the variant.

    Raises:
        OSError: It could not be written; nothing is left behind.
    """
    record = {**build_record(config, overrides=overrides, argv=sys.argv), "name": folder.name}
    with contextlib.suppress(FileExistsError):
        folder.create(to_yaml(config), record)
