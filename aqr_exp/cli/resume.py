"""`aqr-exp resume`: go on with what was interrupted, cancelled or never started."""

from typing import Annotated

import typer

from aqr_exp.cli import arguments, rerun

HELP = """Go on with what was interrupted, cancelled or never started.

A run continues from its newest intact checkpoint and ends with the numbers it would have had. A run
that says `unknown` is held by a process on another machine or in another container that beats no
more: nobody can tell from here whether it lives. --steal takes it over once you know that it is dead.

\b
Examples:
  aqr-exp resume                      everything that was interrupted or cancelled
  aqr-exp resume bias_scale           what a sweep still lacks
  aqr-exp resume baseline-1a2b3c4d5e6f-s0 --steal
"""


def command(
    names: rerun.Names = None,
    slots: arguments.Slots = None,
    detach: arguments.Detach = False,
    steal: Annotated[
        bool, typer.Option("--steal", help="Take over the named runs whose holder is unknown.")
    ] = False,
) -> int:
    """Resume runs; returns the exit code."""
    from aqr_exp.errors import RequestError
    from aqr_exp.results.state import INTERRUPTED, RunStatus

    if steal and not names:
        raise RequestError("--steal needs the names of the runs or sweeps it may take from")
    wanted = frozenset({INTERRUPTED, RunStatus.CANCELLED.value, RunStatus.PLANNED.value})
    return rerun.rerun("resume", names or [], wanted, slots=slots, detach=detach, steal=steal)
