"""`aqr-exp analyze`: what the method does, in numbers and pictures."""

from pathlib import Path
from typing import Annotated

import typer

from aqr_exp.analyze.softmax import (
    mass_biases,
    mass_table,
    response_table,
    responses,
    saturation_table,
    softmax_request,
)
from aqr_exp.analyze.softmax_figure import softmax_figure
from aqr_exp.cli import console
from aqr_exp.cli.console import counted_progress
from aqr_exp.config.load import load_run
from aqr_exp.config.variant_spec import example_lines, spec_of
from aqr_exp.errors import RequestError
from aqr_exp.report.figures.figure_file import check_target, save
from aqr_exp.report.tables.formats import TableFormat
from aqr_exp.store.collect import intact_row
from aqr_exp.store.store import Store, results_root

SOFTMAX_HELP = """
Probabilities, entropy and a verdict for each scale; how saturated a bias leaves a key; which share
of the attention a window gets.

\b
Examples:
  aqr-exp analyze softmax
  aqr-exp analyze softmax --weights 0,0.8,-0.6,0.3 --scales 1,2.5,5,10,20
  aqr-exp analyze softmax --keys 56400 --window-keys 25,225 --plot softmax.png
"""

WINDOWS_HELP = f"""
Takes what `aqr-exp run` takes, and draws the windows of the bias, or of the router with --router.

\b
Examples:
{example_lines("analyze windows")}
"""

BIAS_HELP = f"""
The bias of some queries over the BEV and the six images; the weights by class, distance and condition;
scale, weights and attention over training. Files go to the run's folder figures/ by default.

\b
Examples:
{example_lines("analyze bias")}
"""

_WEIGHTS = typer.Option(
    "--weights", help="One weight a key, with commas between.", metavar="NUMBERS"
)
_SCALES = typer.Option("--scales", help="Bias scales, with commas between.", metavar="NUMBERS")
_WINDOW_KEYS = typer.Option(
    "--window-keys", help="Keys of a window, with commas between.", metavar="N"
)
_FORM = typer.Option("--format", help="How to print it.")
_PLOT = typer.Option("--plot", help="Draw it, too: .png, .pdf or .svg.", metavar="FILE")


def softmax_command(
    weights: Annotated[str, _WEIGHTS] = "0,0.8,-0.6,0.3",
    scales: Annotated[str, _SCALES] = "1,2.5,5,10,20",
    keys: Annotated[int, typer.Option("--keys", help="Keys a query attends to in all.")] = 22_384,
    window_keys: Annotated[str, _WINDOW_KEYS] = "25,64",
    form: Annotated[TableFormat, _FORM] = TableFormat.RICH,
    plot: Annotated[Path | None, _PLOT] = None,
) -> None:
    """Print the tables, and draw them with --plot."""
    given = softmax_request(weights, scales, window_keys, keys)
    if plot is not None:
        check_target(plot)

    found = responses(given.weights, given.scales)
    tables = {
        "responses": response_table(given.weights, found),
        "saturation": saturation_table(),
        "mass": mass_table(mass_biases(found), given.windows, given.keys),
    }
    console.print_tables(tables, form)
    if plot is not None:
        save(softmax_figure(given.weights, given.scales, given.windows, given.keys), plot)
        console.say(f"{plot}: the figure is drawn")


Sample = Annotated[int, typer.Option("--sample", help="Which sample of the split.", min=0)]
Split = Annotated[
    str | None, typer.Option("--split", help="Which split; the validation split by default.")
]

_FOLDER = typer.Option("--output", help="Folder for the pictures.", metavar="FOLDER")


def windows_command(
    variant: console.Variant,
    overrides: console.Overrides = None,
    sample: Sample = 0,
    boxes: Annotated[int, typer.Option("--boxes", help="How many boxes.", min=1, max=100)] = 10,
    split: Split = None,
    router: Annotated[bool, typer.Option("--router", help="The router's windows.")] = False,
    folder: Annotated[Path, _FOLDER] = Path(),
) -> None:
    """Draw windows_bev.png and windows_cameras.png."""
    config = load_run(variant, overrides or ())
    part = "router" if router else "bias"
    windows_of = spec_of(config.variant).windows.get(part)
    if windows_of is None:
        raise RequestError(f"variant '{variant}' has no {part}, so no windows of one")
    check_target(folder / "windows_bev.png")
    from aqr_exp.analyze.samples import SampleReader
    from aqr_exp.analyze.windows import draw_windows, windows_of_boxes

    console.silence_libraries()
    seen = SampleReader(config, split or config.data.val_split).sample(sample)
    if not len(seen.boxes):
        raise RequestError(f"sample {sample} has no boxes within the model's range")
    drawn = windows_of_boxes(seen, boxes, windows_of(config.variant, config.model))
    for path in draw_windows(seen, drawn, folder):
        console.data(str(path))


_QUERIES = typer.Option("--queries", help="How many queries of it.", min=0, max=50)
_SAMPLES = typer.Option(
    "--samples", help="How many samples the weights are read from.", min=1, max=100_000
)


def bias_command(
    run: console.RunName,
    sample: Sample = 0,
    queries: Annotated[int, _QUERIES] = 3,
    samples: Annotated[int, _SAMPLES] = 40,
    folder: Annotated[Path | None, _FOLDER] = None,
) -> None:
    """Draw the bias, the weights and how both came about."""
    found = Store(results_root()).find(run)
    intact_row(found)
    folder = folder or found.figures_dir
    check_target(folder / "training.png")
    from aqr_exp.analyze.bias_report import (
        draw_biases,
        draw_history,
        draw_weights,
        open_run,
        weights_of_boxes,
    )
    from aqr_exp.analyze.samples import SampleReader

    console.silence_libraries()
    opened = open_run(found)
    split = SampleReader(opened.config, opened.config.data.val_split)
    # Spread over the split: neighbours are half a second apart and look alike.
    chosen = [place * len(split) // samples for place in range(min(samples, len(split)))]
    files = draw_history(opened, folder)
    files += draw_biases(opened, split, sample, queries, folder)
    with counted_progress("samples") as show:
        boxes = weights_of_boxes(opened, split, chosen, show)
    files += draw_weights(opened, boxes, folder)
    for path in files:
        console.data(str(path))
