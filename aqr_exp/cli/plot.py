"""`aqr-exp plot`: figures for a paper from completed runs."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aqr_exp.cli import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from aqr_exp.store.collect import RunRow
    from aqr_exp.store.store import Store

HELP = "Draw what the runs say, as PDF and PNG for a paper."

SWEEP_HELP = """Draw a metric over one or two swept parameters.

Over one it is a curve, over two a heat map. Intervals are bands, arms without the parameter (the
baseline) are lines. Whatever else differs between the runs makes curves of their own.

\b
Examples:
  aqr-exp plot sweep bias_scale --of bias_scale
  aqr-exp plot sweep bias_scale window_size --metric NDS --where 'learnable_scale == false'
  aqr-exp plot sweep variant.bias.scale.constraint --of constraints --output figures/constraints
"""

CURVES_HELP = """Draw training loss and evaluations over epochs.

A run that was resumed is one curve.

\b
Examples:
  aqr-exp plot curves
  aqr-exp plot curves --of baseline-8f,attention_bias-ac --loss loss_cls --metric NDS
"""

CLASSES_HELP = """Draw AP by class for each arm, with intervals.

Ground-truth counts stand beside the classes.

\b
Examples:
  aqr-exp plot classes --of variants
  aqr-exp plot classes --of baseline-8f,attention_bias-ac --width page
"""

SCALE_HELP = """Draw the bias scale over training, beside its bounds.

\b
Examples:
  aqr-exp plot scale
  aqr-exp plot scale --of learnable_scale --output figures/scale
"""


class Width(str, Enum):
    """How wide a figure is."""

    COLUMN = "column"
    PAGE = "page"


Of = Annotated[
    str | None,
    typer.Option(
        "--of",
        help="Sweeps, or beginnings of runs' names, with commas between; all runs without.",
        metavar="NAMES",
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
WidthOption = Annotated[Width, typer.Option("--width", help="One column of a page, or all of it.")]
Metric = Annotated[str, typer.Option("--metric", help="Which metric.", metavar="NAME")]


def build_app() -> typer.Typer:
    """The commands below `aqr-exp plot`."""
    app = typer.Typer(help=HELP, rich_markup_mode=None)
    app.command("sweep", help=SWEEP_HELP)(sweep)
    app.command("curves", help=CURVES_HELP)(curves)
    app.command("classes", help=CLASSES_HELP)(classes)
    app.command("scale", help=SCALE_HELP)(scale)
    return app


def sweep(
    parameters: Annotated[
        list[str],
        typer.Argument(help="One or two swept parameters, as typed.", metavar="PARAMETER..."),
    ],
    metric: Metric = "mAP",
    of: Of = None,
    where: Where = None,
    width: WidthOption = Width.COLUMN,
    path: Output = None,
) -> None:
    """Draw a sweep."""
    store, rows = _rows(of, where)
    from aqr_exp.report.figures.sweep_figure import sweep_figure

    _resample(rows, store, metric)
    figure = sweep_figure(rows, parameters, metric, store=store, width_in=_width_in(width))
    _say_left_out(rows)
    _save(figure, path, store, "-".join(["sweep", *parameters, metric]))


def curves(
    loss: Annotated[
        str, typer.Option("--loss", help="Which scalar of training.", metavar="NAME")
    ] = "loss",
    metric: Metric = "mAP",
    of: Of = None,
    where: Where = None,
    width: WidthOption = Width.PAGE,
    path: Output = None,
) -> None:
    """Draw training and evaluation over epochs."""
    store, rows = _rows(of, where)
    from aqr_exp.report.figures.curves_figure import curves_figure
    from aqr_exp.report.figures.training_curves import arm_curves, without_curves

    arms = arm_curves(rows, store)
    _resample(rows, store, metric)
    figure = curves_figure(arms, store=store, loss=loss, metric=metric, width_in=_width_in(width))
    _say_not_drawn(without_curves(rows, arms))
    _save(figure, path, store, f"curves-{loss}-{metric}")


def classes(
    of: Of = None, where: Where = None, width: WidthOption = Width.COLUMN, path: Output = None
) -> None:
    """Draw AP by class."""
    store, rows = _rows(of, where)
    from aqr_exp.report.figures.classes_figure import classes_figure

    _resample(rows, store)
    figure = classes_figure(rows, store=store, width_in=_width_in(width))
    _say_left_out(rows)
    _save(figure, path, store, "classes")


def scale(
    of: Of = None, where: Where = None, width: WidthOption = Width.COLUMN, path: Output = None
) -> None:
    """Draw the bias scale over training."""
    store, rows = _rows(of, where)
    from aqr_exp.report.figures.curves_figure import bounds_of, scales_figure
    from aqr_exp.report.figures.training_curves import arm_curves, without_curves

    arms = arm_curves(rows, store)
    bounds = [bounds_of(store.folder(arm.runs[0].row.name).read_spec()) for arm in arms]
    figure = scales_figure(arms, bounds, width_in=_width_in(width))
    _say_not_drawn(without_curves(rows, arms))
    _save(figure, path, store, "scale")


def _rows(of: str | None, where: list[str] | None) -> "tuple[Store, Sequence[RunRow]]":
    """The runs to draw; refused at once where nothing can be drawn."""
    from aqr_exp.report.arm_names import selected
    from aqr_exp.report.figures.figure_file import check_matplotlib
    from aqr_exp.report.tables.baselines import Specs
    from aqr_exp.report.tables.rows import meeting, read_conditions
    from aqr_exp.store.collect import collect
    from aqr_exp.store.store import Store, results_root

    check_matplotlib("plot")
    store = Store(results_root())
    names = [name.strip() for name in (of or "").split(",") if name.strip()]
    rows = selected(collect(store), names, store=store)
    if where:
        rows, unread = meeting(rows, read_conditions(where), Specs(store).of_run)
        for note in unread:
            console.say(note)
    return store, rows


def _resample(rows: "Sequence[RunRow]", store: "Store", metric: str = "mAP") -> None:
    """Compute what the intervals need, which takes long the first time."""
    from aqr_exp.cli.console import resample_ahead
    from aqr_exp.evaluate.conditions import CONDITIONS, Condition

    condition = CONDITIONS.get(metric.partition("@")[2], Condition())
    resample_ahead(rows, [condition], store)


def _say_left_out(rows: "Sequence[RunRow]") -> None:
    """Name the runs whose metrics are not drawn."""
    from aqr_exp.report.tables.arms import group_seeds

    _say_not_drawn(group_seeds(rows)[1])


def _say_not_drawn(lines: "Sequence[str]") -> None:
    for line in lines:
        console.say(f"not drawn: {line}")


def _width_in(width: Width) -> float:
    from aqr_exp.report.figures.style import COLUMN_IN, PAGE_IN

    return PAGE_IN if width is Width.PAGE else COLUMN_IN


def _save(figure: "Figure", path: Path | None, store: "Store", name: str) -> None:
    """Write the files and print where they are."""
    from aqr_exp.report.figures.figure_file import PAPER_FORMATS, save_figure

    if path is None:
        path = store.root / "figures" / name.replace("/", "_")
        path.parent.mkdir(parents=True, exist_ok=True)
    elif path.suffix.removeprefix(".") in PAPER_FORMATS:
        path = path.with_suffix("")
    for written in save_figure(figure, path):
        console.data(str(written))
