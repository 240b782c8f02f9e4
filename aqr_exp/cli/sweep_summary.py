"""What is shown when a sweep has ended: its table, its figure and its best point."""

from typing import TYPE_CHECKING

from aqr_exp.cli import output

if TYPE_CHECKING:
    from aqr_exp.results.collect import RunRow
    from aqr_exp.results.store import Store
    from aqr_exp.results.sweep_folder import SweepEntry, SweepFolder
    from aqr_exp.sweep.search import Direction


def summarize(
    sweep: "SweepFolder",
    store: "Store",
    *,
    metric: str = "mAP",
    direction: "Direction | None" = None,
) -> None:
    """Print the table of a sweep's runs, draw its figure, and name its best point.

    Args:
        sweep: The sweep.
        store: Where runs are kept.
        metric: The metric of the figure, by which the best point is chosen.
        direction: Which of its values are better; the largest by default.
    """
    from aqr_exp.errors import AqrExpError
    from aqr_exp.sweep.outcome import best_point
    from aqr_exp.sweep.search import Direction

    entries = sweep.read_plan()
    rows = _rows(entries, store)
    if not any(row.completed for row in rows.values()):
        return
    try:
        _print_table(list(rows.values()))
    except AqrExpError as error:
        output.say(f"{sweep.name}: {error}")
    best = best_point(entries, rows, metric, direction or Direction.MAXIMIZE)
    if best is not None:
        output.say(f"{sweep.name}: {best.words()}")


def _rows(entries: "list[SweepEntry]", store: "Store") -> "dict[str, RunRow]":
    """How the sweep's runs stand, by their names; those that were never made are left out."""
    from aqr_exp.cli.sweep_execute import attempts_beside, folder_of
    from aqr_exp.results.collect import read_row, with_settings

    beside = attempts_beside(store)
    folders = {entry.name: folder_of(entry.name, store, beside) for entry in entries}
    found = {name: read_row(folder) for name, folder in folders.items() if folder.path.exists()}
    return dict(zip(found, with_settings(store, list(found.values())), strict=True))


def _print_table(rows: "list[RunRow]") -> None:
    from aqr_exp.results.arm_table import arm_table
    from aqr_exp.results.formats import TableFormat, render

    output.data(render(arm_table(rows), TableFormat.RICH, terminal=output.on_terminal()))
