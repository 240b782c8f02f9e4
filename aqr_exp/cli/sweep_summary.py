"""What is shown when a sweep has ended: its table, its figure and its best point."""

from collections.abc import Sequence

from aqr_exp.cli import console
from aqr_exp.errors import AqrExpError
from aqr_exp.report.figures.figure_file import check_matplotlib, save_figure
from aqr_exp.report.figures.sweep_figure import sweep_figure
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.formats import TableFormat, render
from aqr_exp.report.tables.request import TableRequest
from aqr_exp.report.tables.rows import rows_of_sweep
from aqr_exp.store.collect import RunRow, collect, with_settings
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepFolder
from aqr_exp.sweep.request import Direction


def summarize(
    sweep: SweepFolder,
    store: Store,
    *,
    metric: str = "mAP",
    direction: Direction | None = None,
    parameters: Sequence[str] = (),
) -> None:
    """Print the table of a sweep's runs, draw its figure, and name its best point.

    Args:
        sweep: The sweep.
        store: Where runs are kept.
        metric: The metric of the figure, by which the best point is chosen.
        direction: Which of its values are better; the largest by default.
        parameters: Keys it is drawn against; by default one or two that the sweep varied.
    """
    from aqr_exp.sweep.outcome import MOST_PARAMETERS, best_point, by_entry, swept_keys

    entries = sweep.read_plan()
    everything = collect(store)
    rows, _ = rows_of_sweep(everything, [entry.name for entry in entries], store)
    rows = with_settings(store, rows)
    if not any(row.completed for row in rows):
        return
    try:
        _print_table(sweep, everything, store)
        _draw(sweep, rows, metric, parameters or swept_keys(entries)[:MOST_PARAMETERS], store)
    except AqrExpError as error:  # what cannot be shown does not make the sweep a failure
        console.say(f"{sweep.name}: {error}")
    best = best_point(entries, by_entry(entries, rows), metric, direction or Direction.MAXIMIZE)
    if best is not None:
        console.say(f"{sweep.name}: {best.words()}")


def _print_table(sweep: SweepFolder, rows: Sequence[RunRow], store: Store) -> None:

    table = build_table(store, rows, TableRequest(sweep=sweep.name)).table
    console.data(render(table, TableFormat.RICH, terminal=console.on_terminal()))


def _draw(
    sweep: SweepFolder,
    rows: Sequence[RunRow],
    metric: str,
    parameters: Sequence[str],
    store: Store,
) -> None:
    """Draw the metric against what was swept, and say where; nothing where nothing was swept."""
    if not parameters:
        return
    check_matplotlib("the figure")
    figure = sweep_figure(rows, parameters, metric, store=store)
    paths = save_figure(figure, sweep.figure_stem(metric))
    console.say(f"{sweep.name}: drawn in {' and '.join(map(str, paths))}")
