"""`aqr-exp import` and `export`: result files of other detectors, and archives of runs."""

import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from aqr_exp.cli import completion, console
from aqr_exp.errors import Fault, RequestError
from aqr_exp.files.text import as_file_name, output_path, typed_path
from aqr_exp.report.arm_names import selected
from aqr_exp.statistics.metrics import MAIN_METRICS
from aqr_exp.store.archive import is_archive, read_archive, write_archive
from aqr_exp.store.collect import collect, intact_row
from aqr_exp.store.store import Store, results_root

IMPORT_HELP = """
Each FILE is a result file in nuScenes' official format, a .zip that holds one, or a folder in which there
is one results_nusc.json, such as a work folder of mmdet3d. It is checked, scored and kept with its match
records: table, compare, conditions and plots then work as for a run that was trained here, marked as
imported. Several files are seeds of one arm. A file that is there already is not imported again.
An archive that `aqr-exp export` wrote brings its runs as they were.

\b
Examples:
  aqr-exp import results_nusc.json --root /data/nuscenes --version v1.0-trainval --variant bevfusion
  aqr-exp import work_dirs/cmt/seed*/ --root /data/nuscenes --version v1.0-trainval --variant baseline
  aqr-exp import ours.json --root data/nuscenes_mini --variant ours --set bias_scale=2.5 --seed 3
  aqr-exp import variants.zip
"""

EXPORT_HELP = """
NAMES are sweeps, or beginnings of runs' names. The archive holds configurations, histories, metrics, match
records, detections and logs, each with its hash: elsewhere `aqr-exp import` makes the same rows of it, and
`table --verify` holds. Checkpoints go with them where that is asked for.

\b
Examples:
  aqr-exp export variants
  aqr-exp export baseline-8fe737191530 --weights --output for_a_colleague.zip
"""

_NAMES = typer.Argument(
    help="Sweeps, or beginnings of runs' names.",
    metavar="NAMES...",
    autocompletion=completion.runs_or_sweeps,
)
_OUTPUT = typer.Option(
    "--output", help="The archive; the first name with .zip here without.", metavar="FILE"
)
_WEIGHTS = typer.Option("--weights", help="Checkpoints, too.")
_FILES = typer.Argument(
    help="Result files, or archives of runs.", metavar="FILE...", show_default=False
)
_ROOT = typer.Option("--root", help="Of result files: folder with the version's tables.")
_VERSION = typer.Option("--version", help="Such as v1.0-trainval; needed where there are several.")
_SPLIT = typer.Option("--split", help="The split detected in (default: the validation split).")
_VARIANT = typer.Option(
    "--variant", help="Name of the arm (default: that of the first file).", metavar="NAME"
)
_SEED = typer.Option("--seed", help="Of the first file (default: the first that is free).", min=0)
_SET = typer.Option(
    "--set", help="What tells this arm from others of its name; repeatable.", metavar="KEY=VALUE"
)


def import_command(
    files: Annotated[list[Path], _FILES],
    root: Annotated[Path | None, _ROOT] = None,
    version: Annotated[str | None, _VERSION] = None,
    split: Annotated[str | None, _SPLIT] = None,
    variant: Annotated[str | None, _VARIANT] = None,
    seed: Annotated[int | None, _SEED] = None,
    settings: Annotated[list[str] | None, _SET] = None,
    as_json: console.Json = False,
) -> None:
    """Import, and show a line a run."""
    paths = [typed_path(path, "FILE") for path in files]
    archives = [path for path in paths if is_archive(path)]
    results = [path for path in paths if path not in archives]
    if results and root is None:
        raise RequestError(f"{results[0]} is no archive of runs, and result files need --root")
    store = Store(results_root())
    lines = [line for path in archives for line in _of_archive(store, path)]
    if results and root is not None:
        from aqr_exp.data.preparation import find_version
        from aqr_exp.launch.importing import Data, Detector, import_results

        name = name_of(results[0]) if variant is None else variant
        detector = Detector(variant=name, settings=_settings(settings or []))
        root = typed_path(root, "--root")
        data = Data.of(root, find_version(root, version), split)
        for place, path in enumerate(results):
            own = None if seed is None else seed + place
            console.say(f"{path}: scoring it on {data.split}")
            run, new = import_results(store, path, detector, data, own)
            lines.append(_line(store, run.name, path, new=new))
    for line in () if as_json else lines:
        numbers = ", ".join(f"{metric} {_four(line[metric])}" for metric in MAIN_METRICS)
        known = "" if line["new"] else " (imported already)"
        console.data(f"{line['run']}: {numbers}{known}")
    if as_json:
        console.print_json(lines)


def _of_archive(store: Store, path: Path) -> list[dict[str, Any]]:
    with console.delayed_progress() as progress:
        told = partial(progress, "runs imported")
        found = read_archive(path, store, progress=told, say=console.say)
    return [_line(store, name, path, new=new) for name, new in found.items()]


def _line(store: Store, name: str, path: Path, *, new: bool) -> dict[str, Any]:
    row = intact_row(store.folder(name))
    scores = {metric: row.metric(metric) for metric in MAIN_METRICS}
    return {"run": name, "file": str(path), "new": new, **scores}


def _four(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def export_command(
    names: Annotated[list[str], _NAMES],
    output: Annotated[Path | None, _OUTPUT] = None,
    weights: Annotated[bool, _WEIGHTS] = False,
) -> None:
    """Write the archive, and say where it is."""
    store = Store(results_root())
    runs = [row.name for row in selected(collect(store), names, store=store)]
    sweeps = [name for name in names if name in store.sweep_names()]
    if not runs:
        raise RequestError(f"no run of {', '.join(names)} was started")
    path = output_path(output or f"{as_file_name(names[0])}.zip")
    with console.delayed_progress() as progress:
        told = partial(progress, "runs written")
        write_archive(store, runs, sweeps, path, weights=weights, progress=told)
    console.data(str(path))


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
