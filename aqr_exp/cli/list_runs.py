"""`aqr-exp list`: every run and how it stands."""

from aqr_exp.cli import console
from aqr_exp.report.tables.arms import SYNTHETIC_MARK
from aqr_exp.report.tables.cells import Table, count_cell, number_cell, text_cell
from aqr_exp.report.tables.formats import TableFormat, render
from aqr_exp.store.collect import RunRow, collect
from aqr_exp.store.store import Store, results_root

HELP = """
\b
Examples:
  aqr-exp list
  aqr-exp list --json
"""


def command(as_json: console.Json = False) -> None:
    """List all runs of the results folder."""
    store = Store(results_root())
    rows = collect(store)
    if as_json:
        console.print_json([row_as_json(row) for row in rows])
    elif not rows:
        console.say(f"no runs in {store.runs_dir}: `aqr-exp run baseline` makes one")
    else:
        table = runs_table(rows)
        console.data(render(table, TableFormat.RICH, terminal=console.on_terminal()))


def row_as_json(row: RunRow) -> dict[str, object]:
    """One run for programs."""
    return {
        "name": row.name,
        "status": row.status,
        "reason": row.reason,
        "attempt": row.attempt,
        "updated": row.updated,
        "variant": row.variant,
        "fingerprint": row.fingerprint,
        "seed": row.seed,
        "preset": row.preset,
        "synthetic": row.synthetic,
        "mAP": row.metric("mAP"),
        "NDS": row.metric("NDS"),
    }


def runs_table(rows: list[RunRow]) -> Table:
    """One line a run."""
    synthetic = any(row.synthetic for row in rows)
    return Table(
        title=f"Runs ({SYNTHETIC_MARK})" if synthetic else "Runs",
        columns=("run", "status", "attempt", "mAP", "NDS", "data", "updated (UTC)", "reason"),
        numeric=frozenset({"attempt", "mAP", "NDS"}),
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
        context=frozenset({"attempt", "data", "reason"}),
    )
