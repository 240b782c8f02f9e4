"""`aqr-exp data`: data sets."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aqr_exp.cli import data_check, data_failures, data_prepare, data_show, output

if TYPE_CHECKING:
    from aqr_exp.data.synth.settings import SynthSettings

HELP = "Make, prepare, check and show data sets."

SYNTH_HELP = """Make the synthetic data set: to try things out on.

It has the schema of nuScenes; no number measured on it says anything about nuScenes.

\b
Examples:
  aqr-exp data synth
  aqr-exp data synth --seed 7 --root /somewhere/else
"""


def build_app() -> typer.Typer:
    """The commands below `aqr-exp data`."""
    app = typer.Typer(help=HELP, rich_markup_mode=None)
    app.command("synth", help=SYNTH_HELP)(synth)
    app.command("prepare", help=data_prepare.HELP)(data_prepare.command)
    app.command("check", help=data_check.HELP)(data_check.command)
    app.command("show", help=data_show.HELP)(data_show.command)
    app.command("failures", help=data_failures.HELP)(data_failures.command)
    return app


def synth(
    root: Annotated[
        Path | None,
        typer.Option("--root", help="Where to put it (default: data/synth, or $AQR_EXP_DATA)."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")] = None,
    train_scenes: Annotated[
        int | None, typer.Option("--train-scenes", min=1, help="Scenes to train on.")
    ] = None,
    val_scenes: Annotated[
        int | None, typer.Option("--val-scenes", min=1, help="Scenes to validate on.")
    ] = None,
    keyframes: Annotated[
        int | None, typer.Option("--keyframes", min=1, help="Keyframes of each scene, at 2 Hz.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes (default: one a core).")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a data set made with other settings.")
    ] = False,
) -> None:
    """Make the synthetic data set, unless the same is there already."""
    import dataclasses

    from aqr_exp.cli.progress import counted_progress
    from aqr_exp.data.synth.settings import SynthSettings
    from aqr_exp.errors import RequestError
    from aqr_exp.launch.requirements import fault_of_missing

    typed = {
        "seed": seed,
        "train_scenes": train_scenes,
        "val_scenes": val_scenes,
        "keyframes": keyframes,
    }
    given = {name: value for name, value in typed.items() if value is not None}
    try:
        settings = dataclasses.replace(SynthSettings(), **given)
    except ValueError as error:
        raise RequestError(str(error)) from None
    missing = fault_of_missing("making data")
    if missing:
        raise RequestError(missing)
    target = (root or default_root()).expanduser().absolute()
    if ready(target, settings, force=force):
        output.say(f"{target}: the synthetic data set is there already")
        return
    from aqr_exp.data.synth.generate import generate_dataset

    with counted_progress("scenes") as show:
        generate_dataset(target, settings, workers=workers or os.cpu_count() or 1, progress=show)
    output.say(f"{target}: the synthetic data set is made")


def default_root() -> Path:
    """`synth` below `$AQR_EXP_DATA`, or below `data` in the current folder."""
    return Path(os.environ.get("AQR_EXP_DATA") or "data") / "synth"


def ready(root: Path, settings: "SynthSettings", *, force: bool) -> bool:
    """Whether this very data set is there; refuses to put it where something else is.

    Args:
        root: The data set's folder.
        settings: What is wanted.
        force: Whether a synthetic data set made from other settings may be replaced.

    Returns:
        True when there is nothing to do.

    Raises:
        RequestError: The folder holds other data; names it and what to do.
    """
    from aqr_exp.data.synth.generate import is_generated, stored_settings
    from aqr_exp.errors import RequestError

    if root.exists() and not root.is_dir():
        raise RequestError(f"{root} is no folder: choose another one with --root")
    if not root.exists() or not any(root.iterdir()):
        return False
    if stored_settings(root) is None:
        raise RequestError(f"{root} holds something else: choose another folder with --root")
    if not force and not is_generated(root, settings):
        raise RequestError(f"{root} was made from other settings: --force replaces it")
    return not force
