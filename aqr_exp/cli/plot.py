"""`aqr-exp plot`: figures for a paper from completed runs."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from aqr_exp.cli import completion, console
from aqr_exp.config.compose import group_options, known_variant
from aqr_exp.config.variant_spec import example_lines
from aqr_exp.errors import Fault, RequestError, cut, shown
from aqr_exp.evaluate.conditions import CONDITIONS, DataCondition
from aqr_exp.files.own_code import call_own, fail_in, kind_of
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.files.text import as_file_name
from aqr_exp.report.arm_names import selected
from aqr_exp.report.figures.classes_figure import classes_figure
from aqr_exp.report.figures.curves_figure import (
    bounds_of,
    curves_figure,
    loss_curves,
    scales_figure,
)
from aqr_exp.report.figures.differences_figure import differences_figure
from aqr_exp.report.figures.figure_file import (
    PAPER_FORMATS,
    check_matplotlib,
    paper_targets,
    save_figure,
)
from aqr_exp.report.figures.looks_figure import looks_figure
from aqr_exp.report.figures.style import COLUMN_IN, PAGE_IN
from aqr_exp.report.figures.sweep_figure import sweep_figure
from aqr_exp.report.figures.swept import swept
from aqr_exp.report.figures.training_curves import arm_curves, without_curves
from aqr_exp.report.tables.baselines import Specs
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.request import TableRequest
from aqr_exp.report.tables.rows import choose
from aqr_exp.statistics.grouping import group_seeds, origin_notes
from aqr_exp.statistics.metrics import SESOI_POINTS, is_own
from aqr_exp.statistics.own_metrics import with_own_metrics
from aqr_exp.statistics.sequential import check_decisions, said
from aqr_exp.store.collect import RunRow, collect
from aqr_exp.store.decisions import read_decided
from aqr_exp.store.store import Store, results_root

if TYPE_CHECKING:
    from matplotlib.figure import Figure


SWEEP_HELP = """
Over one it is a curve, over two a heat map. Intervals are bands, arms without the parameter (the
baseline) are lines. Through three numbers or more goes a Gaussian process, with the interval of the best
value. Whatever else differs between the runs makes curves of their own.

\b
Examples:
  aqr-exp plot sweep bias_scale --of bias_scale
  aqr-exp plot sweep bias_scale window_size --metric NDS --where 'learnable_scale == false'
  aqr-exp plot sweep variant.bias.scale.constraint --of constraints --output figures/constraints
"""

CURVES_HELP = f"""
A run that was resumed is one curve.

\b
Examples:
  aqr-exp plot curves
{example_lines("plot curves")}
"""

CLASSES_HELP = f"""
Ground-truth counts are shown beside the classes.

\b
Examples:
  aqr-exp plot classes --of variants
{example_lines("plot classes")}
"""

DIFFERENCES_HELP = """
One row an arm, as `aqr-exp table` judges it: the difference to its reference with the simultaneous
interval, each seed as a dot, what these seeds can detect shaded around 0, and the verdict. What is to be
known of it is said as below the table. It counts as a look.

\b
Examples:
  aqr-exp plot differences --of variants
  aqr-exp plot differences --metric NDS --where 'bias_scale >= 2'
  aqr-exp plot differences --of bias_scale --sesoi 1 --width column --output figures/forest
"""

LOOKS_HELP = """
A panel is an arm: its difference to the reference after each seed, the bounds beyond which it was better or
worse, those within which it was out (futility), and a ring where it was decided.

\b
Examples:
  aqr-exp plot looks variants
  aqr-exp plot looks variants --width column --output figures/looks
"""

SCALE_HELP = """
\b
Examples:
  aqr-exp plot scale
  aqr-exp plot scale --of learnable_scale --output figures/scale
"""

IDEA_HELP = """
The idea's own function draws it, from the histories of its completed runs, one a seed.

\b
Examples:
  aqr-exp plot idea my_gain
  aqr-exp plot idea my_gain --of gains --output figures/gain
"""


WIDTHS_IN = {"column": COLUMN_IN, "page": PAGE_IN}
Of = Annotated[
    str | None,
    typer.Option(
        "--of",
        help="Sweeps, or beginnings of runs' names, with commas between; all runs without.",
        metavar="NAMES",
        autocompletion=completion.listed_runs_or_sweeps,
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        help="Only runs of which this is true, such as 'window_size == 8'; may be repeated.",
        metavar="CONDITION",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        help="The files' name without .pdf and .png; in the results folder's figures/ without.",
        metavar="PATH",
    ),
]
Width = Annotated[
    Literal["column", "page"], typer.Option("--width", help="One column of a page, or all of it.")
]
Metric = Annotated[str, typer.Option("--metric", help="Which metric.", metavar="NAME")]


def sweep_command(
    parameters: Annotated[
        list[str],
        typer.Argument(help="One or two swept parameters, as typed.", metavar="PARAMETER..."),
    ],
    metric: Metric = "mAP",
    of: Of = None,
    where: Where = None,
    width: Width = "column",
    path: Output = None,
) -> None:
    """Draw a sweep."""
    store, rows = _rows(of, where, path)
    swept(rows, parameters, store=store)  # refused before time is spent on intervals
    rows = _resample(rows, store, metric)
    figure = sweep_figure(rows, parameters, metric, store=store, width_in=WIDTHS_IN[width])
    _say_not_drawn(rows, group_seeds(rows)[1])
    _save(figure, path, store, "-".join(["sweep", *parameters, metric]))


def curves_command(
    loss: Annotated[
        str, typer.Option("--loss", help="Which scalar of training.", metavar="NAME")
    ] = "loss",
    metric: Metric = "mAP",
    of: Of = None,
    where: Where = None,
    width: Width = "page",
    path: Output = None,
) -> None:
    """Draw training and evaluation over epochs."""
    store, rows = _rows(of, where, path)
    loss_curves(arm_curves(rows, store), loss)
    rows = _resample(rows, store, metric)
    if is_own(metric):
        raise RequestError(
            f"{metric} is measured after training alone: `aqr-exp plot sweep` draws it"
        )
    arms = arm_curves(rows, store)
    figure = curves_figure(arms, store=store, loss=loss, metric=metric, width_in=WIDTHS_IN[width])
    _say_not_drawn(rows, without_curves(rows, arms))
    _save(figure, path, store, f"curves-{loss}-{metric}")


def classes_command(
    of: Of = None, where: Where = None, width: Width = "column", path: Output = None
) -> None:
    """Draw AP by class."""
    store, rows = _rows(of, where, path)
    _resample(rows, store)
    figure = classes_figure(rows, store=store, width_in=WIDTHS_IN[width])
    _say_not_drawn(rows, group_seeds(rows)[1])
    _save(figure, path, store, "classes")


def differences_command(
    metric: Metric = "mAP",
    of: Of = None,
    where: Where = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            help="Compare all arms with this one: an identity, variant or run.",
            metavar="ARM",
            autocompletion=completion.arms_or_runs,
        ),
    ] = None,
    population: console.Population = "val",
    sesoi: console.Sesoi = SESOI_POINTS,
    paired: console.Paired = False,
    width: Width = "page",
    path: Output = None,
) -> None:
    """Draw differences to the reference."""
    store, rows = _store_and_runs(of, path)
    names = console.names_in(of)
    request = TableRequest(
        metrics=[metric],
        where=where or (),
        # The table of one sweep has its declared family and factors.
        sweep=names[0] if len(names) == 1 and names[0] in store.sweep_names() else None,
        baseline=baseline,
        population=population,
        sesoi_points=sesoi,
        paired=paired,
    )
    with console.delayed_progress() as progress:
        built = build_table(store, rows, request, progress=partial(progress, "arms compared"))
    figure = differences_figure(built.data, metric, width_in=WIDTHS_IN[width])
    for note in built.table.notes:
        console.say(note)
    _save(figure, path, store, f"differences-{metric}")


def looks_command(
    name: Annotated[
        str,
        typer.Argument(
            help="A sweep that runs until it is decided.",
            metavar="SWEEP",
            autocompletion=completion.started_sweeps,
        ),
    ],
    width: Width = "page",
    path: Output = None,
) -> None:
    """Draw the looks at a sweep."""
    store, rows = _store_and_runs(None, path)
    known = store.sweep_names()
    if name not in known:
        raise RequestError(f"{shown(name)}: no such sweep was started{did_you_mean(name, known)}")
    decided = read_decided(store.sweep(name))
    if decided is None:
        rule = "it has no plan of looks: `aqr-exp sweep FILE --until-decided` makes one"
        raise RequestError(f"sweep '{cut(name)}': {rule}")
    check_decisions(decided)
    figure = looks_figure(decided, rows, width_in=WIDTHS_IN[width])
    for line in said(decided):
        console.say(line)
    _save(figure, path, store, f"looks-{name}")


def scale_command(
    of: Of = None, where: Where = None, width: Width = "column", path: Output = None
) -> None:
    """Draw the bias scale over training."""
    store, rows = _rows(of, where, path)
    arms = arm_curves(rows, store)
    bounds = [bounds_of(store.folder(arm.runs[0].row.name).read_spec()) for arm in arms]
    figure = scales_figure(arms, bounds, width_in=WIDTHS_IN[width])
    _say_not_drawn(rows, without_curves(rows, arms))
    _save(figure, path, store, "scale")


def idea_command(
    name: Annotated[
        str,
        typer.Argument(
            help="A variant's name.", metavar="NAME", autocompletion=completion.variants
        ),
    ],
    of: Of = None,
    where: Where = None,
    path: Output = None,
) -> None:
    """Draw an idea's own figure."""
    spec = known_variant(name, group_options())
    if spec.figure is None:
        rule = "draws no figure of its own (its module has no `figure`)"
        raise RequestError(Fault(f"variant {name}", None, rule))
    store, rows = _rows(of, where, path)
    rows = [row for row in rows if row.variant == name]
    curves = [run for arm in arm_curves(rows, store) for run in arm.runs if run.row.completed]
    if not curves:
        raise RequestError(f"variant {name}: no completed run with a history")
    lines = [(run.row.name, list(chain(*run.lines.values()))) for run in curves]
    figure = call_own(spec.figure, "figure", lines)
    if not hasattr(figure, "savefig"):
        fail_in(spec.figure, "figure", f"must return a Matplotlib figure, not {kind_of(figure)}")
    _say_not_drawn(rows, [])
    _save(figure, path, store, f"idea-{name}")


def _rows(
    of: str | None, where: list[str] | None, path: Path | None
) -> tuple[Store, Sequence[RunRow]]:
    """The runs to draw, also by conditions."""
    store, rows = _store_and_runs(of, path)
    found = choose(rows, where or (), Specs(store))
    for note in found.notes:
        console.say(note)
    return store, found.rows


def _store_and_runs(of: str | None, path: Path | None) -> tuple[Store, list[RunRow]]:
    """The runs to draw; refused at once where nothing can be drawn, or written."""
    check_matplotlib("plot")
    if path is not None:
        paper_targets(_stem(path))
    store = Store(results_root())
    return store, selected(collect(store), console.names_in(of), store=store)


def _resample(rows: Sequence[RunRow], store: Store, metric: str = "mAP") -> Sequence[RunRow]:
    """The rows with the metric's values where it is an own one; else what its intervals need."""
    rows, notes = with_own_metrics(store, rows, [metric])
    for note in notes:
        console.say(note)
    if not is_own(metric):
        console.resample(rows, store, CONDITIONS.get(metric.partition("@")[2], DataCondition()))
    return rows


def _say_not_drawn(rows: Sequence[RunRow], lines: Sequence[str]) -> None:
    """Name the runs whose metrics are not drawn, and those that are unverified."""
    for line in (*(f"not drawn: {line}" for line in lines), *origin_notes(rows)):
        console.say(line)


def _save(figure: "Figure", path: Path | None, store: Store, name: str) -> None:
    """Write the files and print where they are."""
    if path is None:
        # A metric's name, for one, is stored text.
        path = store.root / "figures" / as_file_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
    for written in save_figure(figure, _stem(path)):
        console.data(str(written))


def _stem(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.removeprefix(".") in PAPER_FORMATS else path
