"""`aqr-exp watch`: how a sweep stands, from another terminal."""

import time
from dataclasses import asdict
from typing import Annotated

import typer

from aqr_exp.cli import console
from aqr_exp.cli.console import progress_line
from aqr_exp.cli.sweep_view import screen, totals_line
from aqr_exp.errors import RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.store.counting import RunFolders
from aqr_exp.store.state import RunStatus
from aqr_exp.store.store import Store, results_root
from aqr_exp.store.sweep_folder import SweepFolder
from aqr_exp.sweep.watched import COMPLETED, TO_DO, RunLine, SweepStatus, WatchedRun, left_s, totals

HELP = """
Only the runs' files are read: it works from any terminal and machine that sees the results, and
Ctrl-C ends the watching alone. It ends by itself when nothing is running or waiting any more.

\b
Examples:
  aqr-exp watch                       every run of the results folder
  aqr-exp watch bias_scale            the runs of one sweep
  aqr-exp watch bias_scale --once     how it stands now
  aqr-exp watch bias_scale --json
"""

LOOK_EVERY_S = 0.5
# A sweep that was just started has registered nobody yet.
SETTLING_S = 3.0


def command(
    sweep: Annotated[
        str | None, typer.Argument(help="The sweep's name; every run without.", metavar="[SWEEP]")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    as_json: console.Json = False,
) -> int:
    """Watch the runs of a sweep or of the results folder; returns the exit code."""
    store = Store(results_root())
    folder = find_sweep(store, sweep) if sweep else None
    status = SweepStatus(watched_runs(store, folder))
    if as_json:
        console.print_json(as_values(status.look(), folder))
        return 0
    if once:
        say_once(status.look(), folder)
        return 0
    started = time.monotonic()
    with screen(status) as shown:
        first = True
        while True:
            standing = {line.status for line in status.look()}
            waiting = TO_DO in standing and (folder is None or bool(folder.schedulers()))
            going_on = RunStatus.RUNNING.value in standing or waiting
            if not going_on and time.monotonic() - started > SETTLING_S:
                break
            # Where nothing goes on the last words, below, say it all.
            shown.refresh(now=first and going_on)
            first = first and not going_on
            time.sleep(LOOK_EVERY_S)
    say_once(status.look(), folder)
    return 0


def find_sweep(store: Store, name: str) -> SweepFolder:
    """A sweep that was started, by its name.

    Raises:
        RequestError: There is none; names the nearest.
    """
    names = store.sweep_names()
    if name in names:
        return store.sweep(name)
    known = f" (started: {', '.join(names)})" if names else ": no sweep was started here"
    raise RequestError(f"unknown sweep '{name}'{did_you_mean(name, names)}{known}")


def watched_runs(store: Store, sweep: SweepFolder | None) -> list[WatchedRun]:
    """The runs of a sweep, or all."""
    if sweep is None:
        return [WatchedRun(folder=folder, label=folder.name) for folder in store]
    folders = RunFolders(store)
    return [
        WatchedRun(folder=folders.of(entry.name), label=entry.label, expected_s=entry.expected_s)
        for entry in sweep.read_plan()
    ]


def say_once(lines: list[RunLine], sweep: SweepFolder | None) -> None:
    """Print how every run that is not complete or waiting stands, who works, and the totals."""
    for line in lines:
        if line.status == RunStatus.RUNNING.value:
            console.data(f"{line.name} running: {progress_line(line.progress)}")
        elif line.status not in {COMPLETED, TO_DO}:
            reason = " ".join((line.reason or "").split())
            console.data(f"{line.name} {line.status}" + (f": {reason}" if reason else ""))
    if sweep is not None:
        workers = ", ".join(map(str, sweep.schedulers())) or "nobody"
        console.data(f"worked on by: {workers}")
    console.data(totals_line(lines))


def as_values(lines: list[RunLine], sweep: SweepFolder | None) -> dict[str, object]:
    """How a sweep stands, for programs."""
    return {
        "sweep": sweep.name if sweep else None,
        "schedulers": [str(standing) for standing in sweep.schedulers()] if sweep else [],
        "totals": totals(lines),
        "left_s": left_s(lines),
        "runs": [asdict(line) for line in lines],
    }
