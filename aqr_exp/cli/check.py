"""`aqr-exp check`: what an idea does to the tiny model, in half a minute."""

import tempfile
from dataclasses import asdict
from pathlib import Path

from aqr_exp.cli import console
from aqr_exp.config.load import load_run
from aqr_exp.errors import RequestError, RunFailedError
from aqr_exp.launch.preflight import check_packages

HELP = """
The tiny model is trained for a few steps with the variant and without, on two samples: of the data at
hand, or synthetic ones that are made for it. One line each says ok, or what is wrong, with the hook, its
file and its line. Exits with 1 when a check fails, with 2 when the variant cannot be built.

\b
Examples:
  aqr-exp check my_gain
  aqr-exp check my_gain variant.start=2 --json
"""


def command(
    variant: console.Variant, overrides: console.Overrides = None, as_json: console.Json = False
) -> int:
    """Check; returns the exit code."""
    check_packages("checking")
    typed = ["preset=smoke", *(overrides or ())]
    config = load_run(variant, typed)
    from aqr_exp.train.runner_config import register_plugins

    console.silence_libraries()
    register_plugins()  # before others load the detector's packages, and with them what it leaves out
    from aqr_exp.train.check import check_variant, off_settings, with_data
    from aqr_exp.train.session import set_up_torch

    set_up_torch(1)
    switched = off_settings(config)
    off = None if switched is None else load_run(variant, [*typed, *switched])
    found = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        try:
            ready = None if off is None else with_data(off, folder)
            for each in check_variant(with_data(config, folder), ready):
                found.append(each)
                if not as_json:
                    console.data(each.line)
        except RunFailedError as error:
            raise RequestError(str(error)) from error
    if as_json:
        console.print_json([asdict(each) for each in found])
    return 1 if any(each.ok is False for each in found) else 0
