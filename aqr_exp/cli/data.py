"""`aqr-exp data`: data sets."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aqr_exp.cli import output

if TYPE_CHECKING:
    from aqr_exp.data.synth.settings import SynthSettings

HELP = "Make and check data sets."

SYNTH_HELP = """Make the synthetic nuScenes data set: for trying things out, not for results.

\b
Examples:
  aqr-exp data synth
  aqr-exp data synth --seed 7 --root /somewhere/else
"""


def build_app() -> typer.Typer:
    """The commands below `aqr-exp data`."""
    app = typer.Typer(help=HELP, rich_markup_mode=None)
    # With a callback the group stays a group although it has one command.
    app.callback()(lambda: None)
    app.command("synth", help=SYNTH_HELP)(synth)
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
    target = (root or default_root()).expanduser().absolute()
    if ready(target, settings, force=force):
        output.say(f"{target}: the synthetic data set is there already")
        return
    with counted_progress("scenes") as show:
        make_synthetic(target, settings, workers or os.cpu_count() or 1, show)
    output.say(f"{target}: the synthetic data set is made")


def default_root() -> Path:
    """`synth` below `$AQR_EXP_DATA`, or below `data` in the current folder."""
    return Path(os.environ.get("AQR_EXP_DATA") or "data") / "synth"


def settings_path(root: Path) -> Path:
    """The file that says what a synthetic data set was made from."""
    return root / "aqr_infos" / "synth_settings.json"


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
    from aqr_exp.config.data_identity import identity_path
    from aqr_exp.errors import RequestError
    from aqr_exp.results.atomic import read_json

    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    if not settings_path(root).is_file():
        raise RequestError(f"{root} holds something else: choose another folder with --root")
    made_from: dict[str, Any] = read_json(settings_path(root))
    if made_from == settings.as_dict() and identity_path(root).is_file() and not force:
        return True
    if not force:
        raise RequestError(f"{root} was made from other settings: --force replaces it")
    return False


def make_synthetic(
    root: Path, settings: "SynthSettings", workers: int, show: Callable[[int, int], None]
) -> None:
    """Generate beside the folder and put the whole data set in place in one step.

    Args:
        root: The data set's folder; a synthetic data set that is there is replaced.
        settings: What is wanted.
        workers: Processes.
        show: Called with how many scenes of how many are done.
    """
    import secrets

    from aqr_exp.data.synth.generate import generate_dataset
    from aqr_exp.results.atomic import replace_json

    root.parent.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(4)
    draft, old = (root.with_name(f".{root.name}.{mark}.{kind}") for kind in ("tmp", "old"))
    try:
        generate_dataset(draft, settings, workers=workers, progress=show)
        replace_json(settings_path(draft), settings.as_dict())
        if root.exists():
            root.rename(old)
        draft.rename(root)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if old.exists() and not root.exists():
            old.rename(root)
