"""`aqr-exp retry`: run again what failed, and nothing else."""

from typing import Annotated

import typer

from aqr_exp.cli import arguments, rerun

HELP = """Run again what failed, and nothing else.

A run that stopped after an epoch continues from its newest intact checkpoint.

\b
Examples:
  aqr-exp retry --failed              every failed run of the results folder
  aqr-exp retry --failed bias_scale   the failed runs of one sweep
  aqr-exp retry baseline-1a2b3c4d5e6f-s0
"""


def command(
    names: rerun.Names = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Without names: every failed run there is.")
    ] = False,
    slots: arguments.Slots = None,
    detach: arguments.Detach = False,
) -> int:
    """Run failed runs again; returns the exit code."""
    from aqr_exp.errors import RequestError
    from aqr_exp.results.state import RunStatus

    if not names and not failed:
        raise RequestError("name a run or a sweep, or type --failed for every failed run")
    wanted = frozenset({RunStatus.FAILED.value})
    return rerun.rerun("retry", names or [], wanted, slots=slots, detach=detach)
