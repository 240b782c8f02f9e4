"""`aqr-exp logs`, `du` and `rm`: what runs printed, the room they take, and their removal."""

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from aqr_exp.cli import completion, console
from aqr_exp.cli.show import with_jobs
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.atomic import draft_of
from aqr_exp.files.suggest import some
from aqr_exp.files.text import printable_lines
from aqr_exp.report.arm_names import selected
from aqr_exp.report.tables.cells import Table, make_columns, number_cell, text_cell
from aqr_exp.store.collect import RunRow, collect, intact_row
from aqr_exp.store.run_files import files_in
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import IN_HAND, RunStatus
from aqr_exp.store.store import Store, results_root

LOGS_HELP = """
NAME is a run or the beginning of its name.

\b
Examples:
  aqr-exp logs baseline-3f
  aqr-exp logs baseline-3f --lines 50 --follow
"""

DU_HELP = """
Checkpoints, detections, match records, evaluations under sensor failures and all else; the largest
runs first.

\b
Examples:
  aqr-exp du
  aqr-exp du variants --json
"""

RM_HELP = """
NAMES are sweeps, or beginnings of runs' names. What is to go is said first. A run at which a process works
or that waits for a job of Slurm stays. With --checkpoints runs stay as they are but for their weights,
which are gone: of those that are completed, since others go on from theirs.

\b
Examples:
  aqr-exp rm baseline-8fe737191530-s2
  aqr-exp rm variants --checkpoints --yes
"""

KINDS = ("checkpoints", "predictions", "records", "failures")


def logs_command(
    name: Annotated[str, console.argument("NAME", "The run.", completion.run_names)],
    lines: Annotated[
        int | None, typer.Option("--lines", help="Only the last.", min=1, metavar="N")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the run has ended.")
    ] = False,
) -> None:
    """Print what a run's training process printed, in all attempts."""
    folder = Store(results_root()).find(name)
    path = folder.train_log_path
    if not path.is_file() and not follow:
        raise AqrExpError(f"{folder.name}: no training process has printed anything ({path})")
    for part in _parts(folder, path, lines, follow=follow):
        sys.stdout.write(printable_lines(part))
        sys.stdout.flush()


def _parts(folder: RunFolder, path: Path, lines: int | None, *, follow: bool) -> Iterator[str]:
    """The log, then what is added while the run is in hand."""
    at = 0
    while True:
        going = follow and folder.effective_status() in IN_HAND | {RunStatus.PLANNED}
        with suppress(FileNotFoundError), path.open("rb") as file:
            file.seek(at)
            content = file.read()
            at += len(content)
            text = content.decode("utf-8", "replace")
            if lines is not None:
                text, lines = "".join(text.splitlines(keepends=True)[-lines:]), None
            yield text
        if not going:
            return
        time.sleep(0.5)


def du_command(
    names: Annotated[
        list[str] | None,
        console.argument(
            "[NAMES]...",
            "Sweeps, or beginnings of runs' names; all without.",
            completion.runs_or_sweeps,
        ),
    ] = None,
    as_json: console.Json = False,
) -> None:
    """Show the room that runs take."""
    store = Store(results_root())
    rows = selected(collect(store), names or [], store=store)
    sizes = {row.name: _sizes(store.folder(row.name)) for row in rows}
    order = sorted(sizes, key=lambda name: -sizes[name].total())
    if as_json:
        console.print_json({name: dict(sizes[name]) for name in order})
        return
    if not rows:
        console.say(f"no runs in {store.runs_dir}")
        return
    whole: Counter[str] = Counter()
    for each in sizes.values():
        whole += each
    columns = (*KINDS, "all else", "total")
    lines = [(name, sizes[name]) for name in order]
    lines += [(f"{len(rows)} runs", whole)] if len(rows) > 1 else []
    console.print_table(
        Table(
            title=f"Megabytes in {store.runs_dir}",
            columns=make_columns(("run", *columns), numeric=columns),
            rows=tuple(
                (
                    text_cell(name),
                    *(number_cell(each[kind] / 1e6, 1) for kind in columns[:-1]),
                    number_cell(each.total() / 1e6, 1),
                )
                for name, each in lines
            ),
        )
    )


def _sizes(folder: RunFolder) -> Counter[str]:
    """Bytes in a run's folder by kind."""
    found: Counter[str] = Counter()
    for place, _, files in os.walk(folder.path):
        inside = Path(place).relative_to(folder.path)
        for file in files:
            first = (inside / file).parts[0].removesuffix(".npz")
            with suppress(OSError):
                size = os.lstat(f"{place}/{file}").st_size
                found[first if first in KINDS else "all else"] += size
    return found


def rm_command(
    names: Annotated[
        list[str],
        console.argument(
            "NAMES...", "Sweeps, or beginnings of runs' names.", completion.runs_or_sweeps
        ),
    ],
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Only weights.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
) -> int:
    """Remove runs, or their checkpoints; returns the exit code."""
    store = Store(results_root())
    rows = with_jobs(selected(collect(store), names, store=store), store)
    chosen = [
        row
        for row in rows
        if _may_go(row, checkpoints=checkpoints) and not store.folder(row.name).path.is_symlink()
    ]
    for row in rows:
        if row not in chosen:
            console.say(f"{row.name} stays: {row.status}{f', {row.reason}' if row.reason else ''}")
    if not chosen:
        raise RequestError(f"nothing to remove of {some(names)}")
    folders = [store.folder(row.name) for row in chosen]
    kinds = [_sizes(folder) for folder in folders]
    size = sum(each["checkpoints"] if checkpoints else each.total() for each in kinds)
    what = f"{'the checkpoints of ' * checkpoints}{', '.join(row.name for row in chosen)}"
    console.say(f"to be removed: {what} ({size / 1e6:.1f} MB)")
    for line in () if checkpoints else _still_meant(store, chosen):
        console.say(line)
    if not yes:
        if not sys.stdin.isatty():
            raise RequestError("rm asks before it removes: --yes says that it may")
        if not typer.confirm("Remove?", err=True):
            return 1
    for folder in folders:
        _remove(folder, checkpoints=checkpoints)
    console.say(f"removed: {size / 1e6:.1f} MB")
    return 0


def _may_go(row: RunRow, *, checkpoints: bool) -> bool:
    if checkpoints:
        return row.completed
    return row.status not in IN_HAND | {RunStatus.UNKNOWN, RunStatus.SUBMITTED}


def _still_meant(store: Store, rows: Sequence[RunRow]) -> Iterator[str]:
    """Of each sweep that means some of the runs, what will come of it."""
    gone = {row.name for row in rows}
    for name in store.sweep_names():
        meant: set[str] = set()
        with suppress(AqrExpError):  # a plan that cannot be read means nothing
            meant = gone & {entry.name for entry in store.sweep(name).read_plan()}
        if meant:
            yield f"sweep {name} means {len(meant)} of them: run again, it trains them anew"


def _remove(folder: RunFolder, *, checkpoints: bool) -> None:
    """Remove a run in one step, or its checkpoints one by one; nobody begins to work on it meanwhile."""
    with folder.launch_lock(), folder.lock():
        if checkpoints:
            if not intact_row(folder).completed:
                raise RequestError(f"{folder.name} was started again: its checkpoints stay")
            for path in files_in(folder.checkpoints_dir):
                path.unlink()
            return
        gone = draft_of(folder.path)
        folder.path.rename(gone)
    shutil.rmtree(gone)
