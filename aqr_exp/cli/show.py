"""`aqr-exp list` and `aqr-exp show`: the runs of the results folder, and everything about one."""

import os
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from aqr_exp.cli import console
from aqr_exp.cli.console import progress_line
from aqr_exp.config import IMPORTED
from aqr_exp.errors import AqrExpError, Fault, RequestError, cut
from aqr_exp.files.atomic import draft_of, replace_bytes
from aqr_exp.files.text import printable
from aqr_exp.report.tables.cells import (
    SYNTHETIC_MARK,
    Table,
    count_cell,
    make_columns,
    number_cell,
    text_cell,
)
from aqr_exp.statistics.grouping import data_words, origin_notes, variant_words
from aqr_exp.store.collect import RunRow, collect, read_row
from aqr_exp.store.history import Joint, Line, joints
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store, file_hashes, results_root
from aqr_exp.store.submissions import Jobs
from aqr_exp.store.verify import check_run

LIST_HELP = """
\b
Examples:
  aqr-exp list
  aqr-exp list --where 'mAP > 0.3' --where "status == 'completed'"
  aqr-exp list --json
"""
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", help="Only runs of which this is true; may be repeated.", metavar="CONDITION"
    ),
]


def list_command(where: Where = None, as_json: console.Json = False) -> None:
    """List all runs of the results folder."""
    store = Store(results_root())
    rows = with_jobs(collect(store), store)
    if where:
        rows, notes = _meeting(store, rows, where)
        for note in notes:
            console.say(note)
    if as_json:
        console.print_json([row_as_json(row) for row in rows])
    elif not rows and not where:
        console.say(f"no runs in {store.runs_dir}: `aqr-exp run baseline` makes one")
    elif rows:
        console.print_table(runs_table(rows))


def with_jobs(rows: list[RunRow], store: Store) -> list[RunRow]:
    """The runs, with what Slurm says of those that its jobs run or are to run."""
    jobs = Jobs(store.root)
    found = ((row, jobs.look(store.folder(row.name), row.status)) for row in rows)
    return [
        msgspec.structs.replace(row, status=it[0], reason=it[1]) if it else row for row, it in found
    ]


def _meeting(store: Store, rows: list[RunRow], where: list[str]) -> tuple[list[RunRow], list[str]]:
    """The runs that meet conditions, on their scores too: nothing is concluded from a list."""
    from aqr_exp.report.tables.baselines import Specs
    from aqr_exp.report.tables.rows import meeting, read_conditions

    read = Specs(store).of_run
    met, notes = meeting(rows, read_conditions(where, rows, read, outcomes=True), read)
    if rows and not met:
        notes.append(f"none of {len(rows)} runs meets {cut(' and '.join(where), 100)}")
    return met, [note.replace("table", "list") for note in notes]


def row_as_json(row: RunRow) -> dict[str, object]:
    """One run of a list for programs."""
    state = ("name", "status", "reason", "attempt", "updated")
    identity = ("variant", "fingerprint", "seed", "preset", "synthetic", "verified")
    values = {name: getattr(row, name) for name in (*state, *identity)}
    return values | {name: row.metric(name) for name in ("mAP", "NDS")}


def runs_table(rows: list[RunRow]) -> Table:
    """One line a run."""
    synthetic = any(row.synthetic for row in rows)
    marked = [row for row in rows if variant_words(row, rows) != row.variant]
    editions = ("edition",) * bool(marked)
    return Table(
        title=f"Runs ({SYNTHETIC_MARK})" if synthetic else "Runs",
        columns=make_columns(
            (
                "run",
                *editions,
                "status",
                "attempt",
                "mAP",
                "NDS",
                "data",
                "updated (UTC)",
                "reason",
            ),
            numeric={"attempt", "mAP", "NDS"},
            constant={"attempt", "data", "reason"},
        ),
        rows=tuple(
            (
                text_cell(row.name),
                *(text_cell(f"edition {row.edition}" if row in marked else "") for _ in editions),
                text_cell(row.status),
                count_cell(row.attempt),
                number_cell(row.metric("mAP")),
                number_cell(row.metric("NDS")),
                text_cell(data_words([row]) if row.completed else ""),
                text_cell(row.updated[:16].replace("T", " ")),
                text_cell(row.reason or ""),
            )
            for row in rows
        ),
        notes=tuple(origin_notes(rows)),
        synthetic=synthetic,
    )


SHOW_HELP = """
\b
Examples:
  aqr-exp show baseline-1a2b3c4d5e6f-s0
  aqr-exp show baseline
  aqr-exp show baseline --json
  aqr-exp show my_gain --sources old_gain       the idea's files, as they were
"""


_SOURCES = typer.Option(
    "--sources", help="Write the files of its idea into a new folder, and nothing else."
)


def show_command(
    run: console.RunName,
    as_json: console.Json = False,
    sources: Annotated[Path | None, _SOURCES] = None,
) -> None:
    """Show one run of the results folder."""
    store = Store(results_root())
    folder = store.find(run)
    if sources is not None:
        write_sources(folder, sources)
        return
    (row,) = with_jobs([read_row(folder)], store)
    seen = Seen(folder)
    with file_hashes(store) as sha256_of:
        integrity = check_run(folder, sha256_of, seen.lines())
    if as_json:
        console.print_json(run_as_json(folder, row, seen) | {"integrity": integrity.as_json()})
        return
    lines = [*describe(folder, row, seen), f"integrity: {integrity}"]
    console.data("\n".join(map(printable, lines)))
    if row.completed:
        print_metrics(row)
    if seen.warnings:
        console.data("\n".join(["warnings while training:", *seen.warnings]))


def write_sources(folder: RunFolder, target: Path) -> None:
    """Write the files of a run's idea into a folder that is not there yet, all of them or none.

    Raises:
        RequestError: The run is not of an idea, or the folder is there.
        AqrExpError: The run's sources are damaged.
    """
    files = folder.read_sources()
    if not files:
        raise RequestError(f"{folder.name} is of no idea: it has no sources of its own")
    if os.path.lexists(target):
        raise RequestError(Fault("--sources", str(target), "is there already: name a new folder"))
    draft = draft_of(target.absolute())
    try:
        for name, content in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            replace_bytes(draft / name, content)
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    counted = "1 file" if len(files) == 1 else f"{len(files)} files"
    console.say(f"{target}: {counted} of {folder.name}; AQR_EXP_PATH={target} finds the idea there")


class Seen:
    """What is shown of a run's history, in which one pass is made.

    Attributes:
        joints: Its resume points; none when it is damaged.
        warnings: Of the training, one line each; what a resumed run repeated, once. Also its damage.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.joints: list[Joint] = []
        self.warnings: dict[str, None] = {}

    def lines(self) -> Iterator[object]:
        """Go through the history; nothing is known before."""
        try:
            self.joints = joints(self._noted())
        except AqrExpError as error:
            self.warnings = {printable(str(error)): None}
            raise
        yield from ()

    def _noted(self) -> Iterator[Line]:
        for line in self._folder.history_lines():
            if line.get("kind") == "warning" and len(self.warnings) <= _MOST_WARNINGS:
                self.warnings[_warning(line)] = None
            yield line
        if len(self.warnings) > _MOST_WARNINGS:
            self.warnings.popitem()
            self.warnings["and more"] = None


_MOST_WARNINGS = 1000


def _warning(entry: Line) -> str:
    places = [f"{name} {entry[name]}" for name in ("epoch", "step") if name in entry]
    message = str(entry.get("message", "no message"))
    return printable(f"{', '.join(places)}: {message}" if places else message)


def run_as_json(folder: RunFolder, row: RunRow, seen: Seen | None = None) -> dict[str, Any]:
    """One run for programs."""
    if seen is None:
        seen = Seen(folder)
        with suppress(AqrExpError):
            deque(seen.lines())
    return {
        "name": row.name,
        "folder": str(folder.path),
        "status": row.status,
        "reason": row.reason,
        "attempt": row.attempt,
        "resumed": row.resumed,
        "joints": [
            {"attempt": joint.attempt, "epoch": joint.epoch, "step": joint.step}
            for joint in seen.joints
        ],
        "updated": row.updated,
        "record": row.record,
        "metrics": row.metrics,
        "warnings": list(seen.warnings),
    }


def describe(folder: RunFolder, row: RunRow, seen: Seen) -> Iterator[str]:
    """A run in lines of `name: value`."""
    started = f" (attempt {row.attempt}, resumed x{row.resumed})" if row.resumed else ""
    yield f"run: {row.name}"
    yield f"status: {row.status}{started}" + (f": {row.reason}" if row.reason else "")
    yield f"folder: {folder.path}"
    if row.record:
        yield from describe_record(row)
    if seen.joints:
        yield f"curve joined: {', '.join(map(str, seen.joints))}"
    if row.status is RunStatus.RUNNING:
        yield f"progress: {found_progress(folder)}"


def describe_record(row: RunRow) -> Iterator[str]:
    """The origin of a run, in lines of `name: value`."""
    record = row.record
    overrides = record.get("overrides")
    typed = " ".join(map(str, overrides)) if isinstance(overrides, list) else ""
    parts = (record.get(name) for name in ("data", "code", IMPORTED))
    data, code, imported = (part if isinstance(part, dict) else {} for part in parts)
    if row.imported:
        fingerprint = data.get("fingerprint") or "not prepared"
        yield f"imported: {imported.get('file')} (sha256 {str(imported.get('sha256'))[:12]})"
        yield f"settings, as typed: {typed or 'none'}; how it was trained is not known"
        yield f"data: {data.get('name')} {data.get('version')} ({fingerprint})"
        yield f"created: {record.get('created')} on {record.get('host')}"
        return
    yield f"preset: {row.preset}, overrides: {typed or 'none'}"
    yield f"data: {data.get('name')} {data.get('version')} ({data.get('fingerprint')})"
    revision = str(code["revision"])[:12] if code.get("revision") else "installed package"
    yield f"code: {revision}" + (" with changes" if code.get("dirty") else "")
    yield f"created: {record.get('created')} on {record.get('host')}"


def found_progress(folder: RunFolder) -> str:
    """The progress of a run, or why it cannot be read."""
    try:
        return progress_line(folder.read_progress() or {})
    except (AqrExpError, OSError) as error:
        return str(error)


def print_metrics(row: RunRow) -> None:
    """Print one run's metrics and class APs."""
    from aqr_exp.report.tables.metric_table import one_run_table

    console.data("")
    console.print_table(one_run_table(row))
