"""`aqr-exp data prepare`: from a downloaded nuScenes to what training reads."""

import os
from pathlib import Path
from typing import Annotated

import typer

from aqr_exp.cli import arguments, output

HELP = """Prepare a nuScenes folder for training.

Checks it, writes info files and cuts out objects. Version v1.0-mini has the splits mini_train and
mini_val, v1.0-trainval has train and val; others name theirs in splits.json. What is done is not done
again; stopped at any moment, the same command goes on. Objects are what ground-truth sampling
(gt_sampling=cmt) pastes into other samples.

\b
Examples:
  aqr-exp data prepare --root data/nuscenes_mini --version v1.0-mini
  aqr-exp data prepare --root /data/nuscenes --version v1.0-trainval --workers 16
  aqr-exp data prepare --root data/synth
"""

Root = Annotated[
    Path, typer.Option("--root", help="Folder with the version's tables, samples and sweeps.")
]
Version = Annotated[
    str | None,
    typer.Option("--version", help="Such as v1.0-trainval; needed where there are several."),
]


def command(
    root: Root,
    version: Version = None,
    objects: Annotated[
        bool, typer.Option("--objects/--no-objects", help="Cut out objects of the training split.")
    ] = True,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes (default: one a core).")
    ] = None,
    as_json: arguments.Json = False,
) -> None:
    """Prepare, and print what is there by count."""
    from aqr_exp.cli.progress import counted_progress
    from aqr_exp.errors import RequestError
    from aqr_exp.launch.requirements import fault_of_missing

    missing = fault_of_missing("preparing data")
    if missing:
        raise RequestError(missing)
    from aqr_exp.data.preparation import find_version, prepare

    root = root.expanduser().absolute()
    version = find_version(root, version)
    output.say(f"{root}: reading the tables of {version}")
    done = prepare(
        root,
        version,
        workers=workers or os.cpu_count() or 1,
        objects=objects,
        stage=counted_progress,
    )
    if as_json:
        counts = {"counts": done.counts, "splits": done.splits, "objects": done.objects}
        output.print_json({"root": str(root), "version": version, **counts})
        return
    lines = [f"{count:>9,} {name.replace('_', ' ')}" for name, count in done.counts.items()]
    lines += [f"{count:>9,} samples of {split}" for split, count in done.splits.items()]
    for split, classes in done.objects.items():
        lines += [f"{count:>9,} objects of {split}: {name}" for name, count in classes.items()]
    output.data("\n".join(lines))
    output.say(f"{root}: {version} is complete and prepared")
