"""`aqr-exp report`: one HTML page of a sweep or of some runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from aqr_exp.cli import completion, console
from aqr_exp.errors import AqrExpError, RequestError, shown
from aqr_exp.files.atomic import replace_text
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.files.text import as_file_name, output_path, typed_path
from aqr_exp.report.page.page import asked_of, differences_between, report_page
from aqr_exp.report.tables.request import TableRequest
from aqr_exp.statistics.metrics import SESOI_POINTS
from aqr_exp.store.collect import collect
from aqr_exp.store.run_folder import utc_now
from aqr_exp.store.store import Store, results_root

HELP = """
Verdicts, differences, the table with its seeds, what is complete, what is fair, curves, classes, sensor
failures, costs, and the commands to run it again. It opens from disk, needs no network and prints. It
counts as a look.

\b
Examples:
  aqr-exp report                          all runs of the results folder
  aqr-exp report variants                 a sweep, into results/reports/variants.html
  aqr-exp report --where 'bias_scale >= 2' --output bias.html
  aqr-exp report --verify results/reports/variants.html
"""

_SWEEP = typer.Argument(
    help="A sweep; all runs without.", metavar="[SWEEP]", autocompletion=completion.started_sweeps
)
_WHERE = typer.Option(
    "--where", help="Only runs of which this is true; may be repeated.", metavar="CONDITION"
)
_OUTPUT = typer.Option(
    "--output", "-o", help="The file; in the results folder's reports/ without.", metavar="FILE"
)
_CONDITIONS = typer.Option(
    "--conditions", help="Also night, rain, distances and others; a minute the first time."
)
_VERIFY = typer.Option(
    "--verify", help="Make a report again and say where the two differ.", metavar="FILE"
)


def command(
    sweep: Annotated[str | None, _SWEEP] = None,
    where: Annotated[list[str] | None, _WHERE] = None,
    output: Annotated[Path | None, _OUTPUT] = None,
    population: console.Population = "val",
    sesoi: console.Sesoi = SESOI_POINTS,
    conditions: Annotated[bool, _CONDITIONS] = False,
    verify: Annotated[Path | None, _VERIFY] = None,
) -> int:
    """Write a report, or verify one; returns the exit code."""
    store = Store(results_root())
    if verify is not None:
        if sweep or where or output:
            raise RequestError("--verify makes the page again that FILE is of: leave the rest out")
        return _verify(store, typed_path(verify, "--verify"))
    request = TableRequest(
        sweep=sweep, where=where or (), population=population, sesoi_points=sesoi
    )
    if sweep is not None and sweep not in (known := store.sweep_names()):
        raise RequestError(f"{shown(sweep)}: no such sweep was started{did_you_mean(sweep, known)}")
    usual = store.root / "reports" / f"{as_file_name(sweep or 'runs')}.html"
    path = output_path(output or usual)
    page = _page(store, request, written=utc_now(), conditions=conditions)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, page)
    console.data(str(path))
    return 0


def _page(store: Store, request: TableRequest, **asked: Any) -> str:
    with console.delayed_progress() as progress:
        return report_page(store, collect(store), request, progress=progress, **asked)


def _verify(store: Store, path: Path) -> int:
    try:
        page = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise AqrExpError(f"{path} is no text") from None
    request, asked = asked_of(page)
    found = list(differences_between(page, _page(store, request, **asked)))
    for line in found[:10]:
        console.data(line)
    console.data(f"{path}: {'differs from' if found else 'as'} what the results folder gives now")
    return 1 if found else 0
