"""`aqr-exp list` and `aqr-exp show`: the runs of the results folder, and everything about one."""

from collections.abc import Iterator
from typing import Any

from aqr_exp.cli import console
from aqr_exp.cli.console import progress_line
from aqr_exp.errors import AqrExpError
from aqr_exp.report.tables.cells import (
    SYNTHETIC_MARK,
    Table,
    count_cell,
    make_columns,
    number_cell,
    text_cell,
)
from aqr_exp.store.collect import RunRow, collect, read_row
from aqr_exp.store.history import Joint, joints
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store, file_hashes, results_root
from aqr_exp.store.verify import check_run

LIST_HELP = """
\b
Examples:
  aqr-exp list
  aqr-exp list --json
"""


def list_command(as_json: console.Json = False) -> None:
    """List all runs of the results folder."""
    store = Store(results_root())
    rows = collect(store)
    if as_json:
        console.print_json([row_as_json(row) for row in rows])
    elif not rows:
        console.say(f"no runs in {store.runs_dir}: `aqr-exp run baseline` makes one")
    else:
        console.print_table(runs_table(rows))


def row_as_json(row: RunRow) -> dict[str, object]:
    """One run of a list for programs."""
    state = ("name", "status", "reason", "attempt", "updated")
    identity = ("variant", "fingerprint", "seed", "preset", "synthetic")
    values = {name: getattr(row, name) for name in (*state, *identity)}
    return values | {name: row.metric(name) for name in ("mAP", "NDS")}


def runs_table(rows: list[RunRow]) -> Table:
    """One line a run."""
    synthetic = any(row.synthetic for row in rows)
    return Table(
        title=f"Runs ({SYNTHETIC_MARK})" if synthetic else "Runs",
        columns=make_columns(
            ("run", "status", "attempt", "mAP", "NDS", "data", "updated (UTC)", "reason"),
            numeric={"attempt", "mAP", "NDS"},
            constant={"attempt", "data", "reason"},
        ),
        rows=tuple(
            (
                text_cell(row.name),
                text_cell(row.status),
                count_cell(row.attempt),
                number_cell(row.metric("mAP")),
                number_cell(row.metric("NDS")),
                text_cell(row.data if row.completed else ""),
                text_cell(row.updated[:16].replace("T", " ")),
                text_cell(" ".join((row.reason or "").split())),
            )
            for row in rows
        ),
        synthetic=synthetic,
    )


SHOW_HELP = """
\b
Examples:
  aqr-exp show baseline-1a2b3c4d5e6f-s0
  aqr-exp show baseline
  aqr-exp show baseline --json
"""


def show_command(run: console.RunName, as_json: console.Json = False) -> None:
    """Show one run of the results folder."""
    store = Store(results_root())
    folder = store.find(run)
    row = read_row(folder)
    with file_hashes(store) as sha256_of:
        integrity = check_run(folder, sha256_of)
    if as_json:
        console.print_json(run_as_json(folder, row) | {"integrity": integrity.as_json()})
        return
    console.data("\n".join([*describe(folder, row), f"integrity: {integrity}"]))
    if row.completed:
        print_metrics(row)
    warned = list(warning_lines(folder))
    if warned:
        console.data("\n".join(["warnings while training:", *warned]))


def run_as_json(folder: RunFolder, row: RunRow) -> dict[str, Any]:
    """One run for programs."""
    return {
        "name": row.name,
        "folder": str(folder.path),
        "status": row.status,
        "reason": row.reason,
        "attempt": row.attempt,
        "resumed": row.resumed,
        "joints": [
            {"attempt": joint.attempt, "epoch": joint.epoch, "step": joint.step}
            for joint in resume_points(folder)
        ],
        "updated": row.updated,
        "record": row.record,
        "metrics": row.metrics,
        "warnings": list(warning_lines(folder)),
    }


def describe(folder: RunFolder, row: RunRow) -> Iterator[str]:
    """A run in lines of `name: value`."""
    started = f" (attempt {row.attempt}, resumed x{row.resumed})" if row.resumed else ""
    yield f"run: {row.name}"
    yield f"status: {row.status}{started}" + (f": {row.reason}" if row.reason else "")
    yield f"folder: {folder.path}"
    if row.record:
        yield from describe_record(row)
    joined = resume_points(folder)
    if joined:
        yield f"curve joined: {', '.join(map(str, joined))}"
    if row.status is RunStatus.RUNNING:
        yield f"progress: {found_progress(folder)}"


def describe_record(row: RunRow) -> Iterator[str]:
    """The origin of a run, in lines of `name: value`."""
    record = row.record
    overrides = record.get("overrides")
    typed = " ".join(map(str, overrides)) if isinstance(overrides, list) else ""
    yield f"preset: {row.preset}, overrides: {typed or 'none'}"
    parts = (record.get(name) for name in ("data", "code"))
    data, code = (part if isinstance(part, dict) else {} for part in parts)
    yield f"data: {data.get('name')} {data.get('version')} ({data.get('fingerprint')})"
    revision = str(code["revision"])[:12] if code.get("revision") else "installed package"
    yield f"code: {revision}" + (" with changes" if code.get("dirty") else "")
    yield f"created: {record.get('created')} on {record.get('host')}"


def resume_points(folder: RunFolder) -> list[Joint]:
    """Resume points of a run; none when its history is damaged."""
    try:
        return joints(folder.read_history())
    except (AqrExpError, OSError):
        return []


def found_progress(folder: RunFolder) -> str:
    """The progress of a run, or why it cannot be read."""
    try:
        return progress_line(folder.read_progress() or {})
    except (AqrExpError, OSError) as error:
        return str(error)


def warning_lines(folder: RunFolder) -> Iterator[str]:
    """Warnings of the training, one line each; what a resumed run repeated, once."""
    try:
        history = folder.read_history()
    except (AqrExpError, OSError) as error:
        yield str(error)
        return
    seen = set()
    for entry in history:
        if entry.get("kind") != "warning":
            continue
        places = [f"{name} {entry[name]}" for name in ("epoch", "step") if name in entry]
        message = " ".join(str(entry.get("message", "no message")).split())
        line = f"{', '.join(places)}: {message}" if places else message
        if line not in seen:
            seen.add(line)
            yield line


def print_metrics(row: RunRow) -> None:
    """Print one run's metrics and class APs."""
    from aqr_exp.report.tables.metric_table import one_run_table

    console.data("")
    console.print_table(one_run_table(row))
