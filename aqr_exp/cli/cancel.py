"""`aqr-exp cancel`: stop a run or a sweep from another terminal or machine."""

import getpass
import socket
from typing import Annotated

import typer

from aqr_exp.cli import console
from aqr_exp.errors import RequestError
from aqr_exp.store.counting import RunFolders
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.state import INTERRUPTED, RunStatus
from aqr_exp.store.store import Store, results_root
from aqr_exp.store.sweep_folder import SweepFolder
from aqr_exp.sweep.watched import WatchedRun, line_of

HELP = """
The request is a file that they look for. A running training stops within seconds and says
`cancelled`; one that waits is not started. A sweep is stopped as Ctrl-C in its own terminal does it.
`aqr-exp resume` and the sweep itself go on later.

\b
Examples:
  aqr-exp cancel baseline-1a2b3c4d5e6f-s0
  aqr-exp cancel bias_scale
"""


def command(
    names: Annotated[list[str], typer.Argument(help="Runs or sweeps.", metavar="NAME...")],
) -> int:
    """Stop runs and sweeps; returns the exit code."""
    store = Store(results_root())
    # Everything is found before anything is stopped.
    found = [store.find_run_or_sweep(name) for name in names]
    for item in found:
        console.say(_cancel(item, store))
    return 0


def _cancel(item: RunFolder | SweepFolder, store: Store) -> str:

    return cancel_sweep(item, store) if isinstance(item, SweepFolder) else cancel_run(item)


def cancel_sweep(sweep: SweepFolder, store: Store) -> str:
    """Ask everybody who works on a sweep to stop, and its runs that nobody watches over.

    Returns:
        What was done.

    Raises:
        RequestError: Nobody works on it and none of its runs is running: there is nothing to stop.
    """
    workers, folders = sweep.schedulers(), RunFolders(store)
    running = [
        run.folder
        for entry in sweep.read_plan()
        if line_of(run := WatchedRun(folder=folders.of(entry.name), label="")).status
        == RunStatus.RUNNING.value
    ]
    if not workers and not running:
        raise RequestError(f"nobody works on sweep {sweep.name}: there is nothing to cancel")
    sweep.request_cancel()
    for folder in running:
        folder.request_cancel(_reason())
    asked = ", ".join(map(str, workers)) or "nobody works on it"
    return f"sweep {sweep.name}: asked to stop ({asked}; {len(running)} runs running)"


def cancel_run(folder: RunFolder) -> str:
    """Ask whoever trains a run to stop, or keep it from being started.

    Returns:
        What was done.

    Raises:
        RequestError: The run has ended: there is nothing to stop.
    """
    status = folder.effective_status()
    if status in {RunStatus.PLANNED.value, INTERRUPTED}:
        with folder.launch_lock(), folder.lock():
            folder.request_cancel(_reason())
            folder.write_state(RunStatus.CANCELLED, reason=_reason())
        return f"{folder.name}: cancelled"
    holder = folder.holder()
    if holder is None:
        raise RequestError(f"{folder.name} is {status}: there is nothing to cancel")
    folder.request_cancel(_reason())
    return f"{folder.name}: asked to stop ({holder})"


def _reason() -> str:
    return f"cancelled by {getpass.getuser()} on {socket.gethostname()}"
