"""`aqr-exp import`: result files of other detectors as runs of the results folder."""

import re
from pathlib import Path
from typing import Annotated

import typer

from aqr_exp.cli import console
from aqr_exp.errors import Fault, RequestError
from aqr_exp.files.text import typed_path
from aqr_exp.store.collect import intact_row
from aqr_exp.store.store import Store, results_root

HELP = """
Each FILE is a result file in nuScenes' official format, a .zip that holds one, or a folder in which there
is one results_nusc.json, such as a work folder of mmdet3d. It is checked, scored and kept with its match
records: table, compare, conditions and plots then work as for a run that was trained here, marked as
imported. Several files are seeds of one arm. A file that is there already is not imported again.

\b
Examples:
  aqr-exp import results_nusc.json --root /data/nuscenes --version v1.0-trainval --variant bevfusion
  aqr-exp import work_dirs/cmt/seed*/ --root /data/nuscenes --version v1.0-trainval --variant baseline
  aqr-exp import ours.json --root data/nuscenes_mini --variant ours --set bias_scale=2.5 --seed 3
"""

_FILES = typer.Argument(help="Result files.", metavar="FILE...", show_default=False)
_ROOT = typer.Option("--root", help="Folder with the version's tables.")
_VERSION = typer.Option("--version", help="Such as v1.0-trainval; needed where there are several.")
_SPLIT = typer.Option("--split", help="The split detected in (default: the validation split).")
_VARIANT = typer.Option(
    "--variant", help="Name of the arm (default: that of the first file).", metavar="NAME"
)
_SEED = typer.Option("--seed", help="Of the first file (default: the first that is free).", min=0)
_SET = typer.Option(
    "--set", help="What tells this arm from others of its name; repeatable.", metavar="KEY=VALUE"
)


def command(
    files: Annotated[list[Path], _FILES],
    root: Annotated[Path, _ROOT],
    version: Annotated[str | None, _VERSION] = None,
    split: Annotated[str | None, _SPLIT] = None,
    variant: Annotated[str | None, _VARIANT] = None,
    seed: Annotated[int | None, _SEED] = None,
    settings: Annotated[list[str] | None, _SET] = None,
    as_json: console.Json = False,
) -> None:
    """Import, and show a line a file."""
    from aqr_exp.data.preparation import find_version
    from aqr_exp.launch.importing import Data, Detector, import_results

    paths = [typed_path(path, "FILE") for path in files]
    name = name_of(paths[0]) if variant is None else variant
    detector = Detector(variant=name, settings=_settings(settings or []))
    root = typed_path(root, "--root")
    store = Store(results_root())
    lines = []
    data = Data.of(root, find_version(root, version), split)
    for place, path in enumerate(paths):
        own = None if seed is None else seed + place
        console.say(f"{path}: scoring it on {data.split}")
        run, new = import_results(store, path, detector, data, own)
        row = intact_row(run)
        lines.append(
            {"run": run.name, "file": str(path), "new": new}
            | {metric: row.metric(metric) for metric in ("mAP", "NDS")}
        )
        if not as_json:
            mean_ap, nds = (f"{row.metric(metric):.4f}" for metric in ("mAP", "NDS"))
            known = "" if new else " (imported already)"
            console.data(f"{run.name}: mAP {mean_ap}, NDS {nds}{known}")
    if as_json:
        console.print_json(lines)


def name_of(path: Path) -> str:
    """A file's or folder's name, as that of an arm."""
    return re.sub(r"\W", "_", path.absolute().stem) or "_"


def _settings(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        key, mark, value = text.partition("=")
        if not mark or not re.fullmatch(r"\w[\w.]*", key) or not value:
            raise RequestError(Fault("--set", text, "must be KEY=VALUE, such as bias_scale=2.5"))
        if found.setdefault(key, value) != value:
            raise RequestError(Fault("--set", text, f"{key} is set to {found[key]} already"))
    return found
