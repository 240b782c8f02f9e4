"""`aqr-exp table`: all results over seeds, with intervals and verdicts."""

import sys
from functools import partial
from typing import Annotated

import typer

from aqr_exp.cli import completion, console
from aqr_exp.cli.console import delayed_progress
from aqr_exp.errors import RequestError
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.comparison_data import ComparisonData
from aqr_exp.report.tables.formats import TableFormat, parquet_bytes
from aqr_exp.report.tables.request import By, TableRequest
from aqr_exp.report.tables.tracing import verify_cells
from aqr_exp.statistics.metrics import SESOI_POINTS
from aqr_exp.store.collect import collect
from aqr_exp.store.store import Store, results_root

HELP = """
One line an arm of completed runs: means, differences to the baseline, training time relative to it,
memory, stability and final scale. What confounds a comparison is marked at the difference and named
below; so are runs without metrics.

\b
Examples:
  aqr-exp table
  aqr-exp table --metrics mAP,mAVE,mAP@night --sort mAP
  aqr-exp table --by metric           one block a metric; also class, condition, range, failure
  aqr-exp table --by cost             what detecting costs, once `aqr-exp cost` has measured it
  aqr-exp table --where 'bias_scale >= 2' --where 'seed < 3'
  aqr-exp table --sweep bias_scale    the runs of a sweep; its best point is marked
  aqr-exp table --strict --factor data
  aqr-exp table --at-epoch last-common
  aqr-exp table --population scenes   verdicts that hold on other scenes as well
  aqr-exp table --reference --format latex > table.tex
  aqr-exp table --format parquet > table.parquet
  aqr-exp table --verify
"""

_FORM = typer.Option("--format", help="How to print it.")
_BY = typer.Option(
    "--by",
    help="One line an arm, or one block a metric, class, condition, range, failure; or costs.",
)
_METRICS = typer.Option("--metrics", help="Metric names with commas between.", metavar="NAMES")
_WHERE = typer.Option(
    "--where", help="Only runs of which this is true; may be repeated.", metavar="CONDITION"
)
_SWEEP = typer.Option(
    "--sweep",
    help="Only the runs of a sweep.",
    metavar="NAME",
    autocompletion=completion.started_sweeps,
)
_SORT = typer.Option(
    "--sort", help="A column, the best metric first; -COLUMN turns it round.", metavar="COLUMN"
)
_BASELINE = typer.Option(
    "--baseline",
    help="Compare all arms with this one: an identity, variant or run.",
    metavar="ARM",
    autocompletion=completion.arms_or_runs,
)
_FACTOR = typer.Option(
    "--factor", help="What arms may differ in besides the variant; may be repeated.", metavar="KEY"
)
_STRICT = typer.Option("--strict", help="Refuse a confounded comparison with exit code 2.")
_REFERENCE = typer.Option("--reference", help="Published numbers below, never compared with.")
_EPOCH = typer.Option(
    "--at-epoch", help="All runs after this epoch, or `last-common`.", metavar="EPOCH"
)
_TRACE = typer.Option("--trace", help="Name the runs, files and hashes behind every cell.")
_VERIFY = typer.Option("--verify", help="Recompute all cells from the stored predictions.")


def command(
    form: Annotated[TableFormat, _FORM] = TableFormat.RICH,
    by: Annotated[By, _BY] = By.ARM,
    metrics: Annotated[str | None, _METRICS] = None,
    where: Annotated[list[str] | None, _WHERE] = None,
    sweep: Annotated[str | None, _SWEEP] = None,
    sort: Annotated[str | None, _SORT] = None,
    baseline: Annotated[str | None, _BASELINE] = None,
    factor: Annotated[list[str] | None, _FACTOR] = None,
    strict: Annotated[bool, _STRICT] = False,
    reference: Annotated[bool, _REFERENCE] = False,
    at_epoch: Annotated[str | None, _EPOCH] = None,
    population: console.Population = "val",
    sesoi: console.Sesoi = SESOI_POINTS,
    paired: console.Paired = False,
    trace: Annotated[bool, _TRACE] = False,
    verify: Annotated[bool, _VERIFY] = False,
) -> int:
    """Print the table of the runs of the results folder; returns the exit code."""
    names = [name.strip() for name in metrics.split(",") if name.strip()] if metrics else None
    request = TableRequest(
        by=by,
        metrics=names,
        where=where or (),
        sweep=sweep,
        factors=factor or (),
        baseline=baseline,
        strict=strict,
        sort=sort,
        references=reference,
        trace=trace,
        at_epoch=at_epoch,
        population=population,
        sesoi_points=sesoi,
        paired=paired,
    )
    return _run(request, form, verify=verify)


def _run(request: TableRequest, form: TableFormat, *, verify: bool) -> int:
    if form is TableFormat.PARQUET and console.on_terminal():
        raise RequestError("--format parquet is not text: write it to a file, `> table.parquet`")
    if verify and request.at_epoch is not None:
        raise RequestError(
            "--verify and --at-epoch cannot be used together: a curve is not recomputed"
        )
    if request.by is By.FAILURE:
        _refuse_of_record(request, verify=verify)
    if verify and request.by is By.COST:
        raise RequestError(
            "--verify and --by cost cannot be used together: costs are not recomputed"
        )
    store = Store(results_root())
    rows = collect(store)
    with delayed_progress() as progress:
        built = build_table(store, rows, request, progress=partial(progress, "arms compared"))
    if verify:
        return _verify(built.data, store, as_json=form is TableFormat.JSON)
    table = built.table
    if not any(row.completed for row in rows):
        console.say(f"no completed runs in {store.runs_dir}: `aqr-exp run baseline` makes one")
    printed = bool(table.all_rows) or form is not TableFormat.RICH
    if form in {TableFormat.CSV, TableFormat.PARQUET} or not printed:
        for note in table.notes:
            console.say(note)
    if printed:
        if form is TableFormat.PARQUET:
            sys.stdout.buffer.write(parquet_bytes(table))
            sys.stdout.flush()
        else:
            console.print_table(table, form)
    return 0


def _refuse_of_record(request: TableRequest, *, verify: bool) -> None:
    """Refuse with `--by failure` what is about the evaluation of record alone."""
    given = {
        "--verify": verify,
        "--trace": request.trace,
        "--reference": request.references,
        "--at-epoch": request.at_epoch is not None,
    }
    for option, is_given in given.items():
        if is_given:
            raise RequestError(
                f"{option} and --by failure cannot be used together: it is about the evaluation of "
                "record; <run>/failures/<case>/metrics.json names a case's files and hashes"
            )


def _verify(data: ComparisonData, store: Store, *, as_json: bool) -> int:
    """Recompute the cells; the exit code says whether they hold."""
    with delayed_progress() as progress:
        found = verify_cells(data, store, progress=partial(progress, "runs verified"))
    if as_json:
        console.print_json(found.as_json())
    else:
        console.data("\n".join(found.lines()))
    for note in data.left_out:
        console.say(note)
    return 1 if found.problems else 0
