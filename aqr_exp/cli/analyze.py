"""`aqr-exp analyze`: what the method does, in numbers and pictures."""

from pathlib import Path
from typing import Annotated

import typer

from aqr_exp.cli import output
from aqr_exp.results.formats import TableFormat

HELP = "Show what the method does: how a bias moves attention."

SOFTMAX_HELP = """Show how attention answers to weights times a bias scale.

Probabilities, entropy and a verdict for each scale; how saturated a bias leaves a key; which share
of the attention a window gets.

\b
Examples:
  aqr-exp analyze softmax
  aqr-exp analyze softmax --weights 0,0.8,-0.6,0.3 --scales 1,2.5,5,10,20
  aqr-exp analyze softmax --keys 56400 --window-keys 25,225 --plot softmax.png
"""


def build_app() -> typer.Typer:
    """The commands below `aqr-exp analyze`."""
    app = typer.Typer(help=HELP, rich_markup_mode=None)
    # With a callback the group stays a group although it has one command.
    app.callback()(lambda: None)
    app.command("softmax", help=SOFTMAX_HELP)(softmax)
    return app


def softmax(
    weights: Annotated[
        str,
        typer.Option("--weights", help="One weight a key, with commas between.", metavar="NUMBERS"),
    ] = "0,0.8,-0.6,0.3",
    scales: Annotated[
        str, typer.Option("--scales", help="Bias scales, with commas between.", metavar="NUMBERS")
    ] = "1,2.5,5,10,20",
    keys: Annotated[int, typer.Option("--keys", help="Keys a query attends to in all.")] = 22_384,
    window_keys: Annotated[
        str,
        typer.Option("--window-keys", help="Keys of a window, with commas between.", metavar="N"),
    ] = "25,64",
    form: Annotated[TableFormat, typer.Option("--format", help="How to print it.")] = (
        TableFormat.RICH
    ),
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw it, too: .png, .pdf or .svg.", metavar="FILE"),
    ] = None,
) -> None:
    """Print the tables, and draw them when asked to."""
    from aqr_exp.analyze.softmax_request import softmax_request

    given = softmax_request(weights, scales, window_keys, keys)
    if plot is not None:
        from aqr_exp.analyze.figure_file import check_target

        check_target(plot)
    from aqr_exp.analyze.softmax import responses
    from aqr_exp.analyze.softmax_tables import (
        mass_biases,
        mass_table,
        response_table,
        saturation_table,
    )
    from aqr_exp.results.formats import render_all

    found = responses(given.weights, given.scales)
    tables = {
        "responses": response_table(given.weights, found),
        "saturation": saturation_table(),
        "mass": mass_table(mass_biases(found), given.windows, given.keys),
    }
    output.data(render_all(tables, form, terminal=output.on_terminal()))
    if plot is not None:
        from aqr_exp.analyze.figure_file import save
        from aqr_exp.analyze.softmax_figure import softmax_figure

        save(softmax_figure(given.weights, given.scales, given.windows, given.keys), plot)
        output.say(f"{plot}: the figure is drawn")
