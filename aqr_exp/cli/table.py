"""`aqr-exp table`: all results over seeds, with intervals."""

from enum import Enum
from typing import Annotated

import typer

from aqr_exp.cli import output
from aqr_exp.results.tables.formats import TableFormat

HELP = """Tabulate completed runs over seeds, every mean with its n and 95 % interval.

One line an arm, with training time relative to the baseline, memory, stability and final scale.
Runs without metrics are listed below the table by name and reason.

\b
Examples:
  aqr-exp table
  aqr-exp table --metrics mAP,mAVE
  aqr-exp table --by metric           one block a metric, with standard deviations
  aqr-exp table --by class
  aqr-exp table --format latex > table.tex
"""


class By(str, Enum):
    """What a block of the table is."""

    ARM = "arm"
    METRIC = "metric"
    CLASS = "class"


def command(
    form: Annotated[TableFormat, typer.Option("--format", help="How to print it.")] = (
        TableFormat.RICH
    ),
    by: Annotated[
        By, typer.Option("--by", help="One line an arm, one block a metric, or AP by class.")
    ] = By.ARM,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", help="Metric names with commas between.", metavar="NAMES"),
    ] = None,
) -> None:
    """Print the table of all runs of the results folder."""
    from aqr_exp.errors import RequestError
    from aqr_exp.results.collect import collect, with_settings
    from aqr_exp.results.store import Store, results_root
    from aqr_exp.results.tables.arm_table import arm_table
    from aqr_exp.results.tables.formats import render
    from aqr_exp.results.tables.metric_table import class_table, metrics_table

    if by is By.CLASS and metrics:
        raise RequestError("--metrics and --by class cannot be used together: the latter shows AP")
    store = Store(results_root())
    rows = collect(store)
    names = [name.strip() for name in metrics.split(",") if name.strip()] if metrics else None
    if by is By.ARM:
        table = arm_table(with_settings(store, rows), names)
    else:
        table = class_table(rows) if by is By.CLASS else metrics_table(rows, names)
    if not table.rows:
        output.say(f"no completed runs in {store.runs_dir}: `aqr-exp run baseline` makes one")
    if form is TableFormat.CSV or not table.rows:
        for note in table.notes:
            output.say(note)
    if table.rows or form is not TableFormat.RICH:
        output.data(render(table, form, terminal=output.on_terminal()))
