"""`aqr-exp compare`: two arms or runs, what differs in them and what that did to the numbers."""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from aqr_exp.cli import completion, console
from aqr_exp.cli.console import delayed_progress
from aqr_exp.config.variant_spec import example_lines
from aqr_exp.errors import RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.files.text import typed_path
from aqr_exp.report.arm_names import one_arm, same_setting
from aqr_exp.report.compare.comparison import PARTS, Comparison, Request, compare_two
from aqr_exp.report.compare.tables import comparison_tables
from aqr_exp.report.tables.formats import TableFormat
from aqr_exp.report.tables.request import question
from aqr_exp.statistics.metrics import SESOI_POINTS
from aqr_exp.store.collect import collect
from aqr_exp.store.store import Store, results_root

HELP = f"""
Configuration, metrics with intervals, classes, conditions and scenes, block by block.
An arm is the beginning of its runs' names, a run is its whole name. All their seeds count, and those of
other arms with the same setting tell how large noise is. Two
result files of any detector are compared on the data in --root, and not kept: `aqr-exp import` keeps them.
Differences are B - A. The first time, scenes are drawn again a thousand times for every run; what was
computed is kept.

\b
Examples:
  aqr-exp compare baseline-8fe737191530-s0 baseline-8fe737191530-s1 --by scene --scenes 20
{example_lines("compare")}
  aqr-exp compare theirs.json ours.json --root /data/nuscenes --version v1.0-trainval
"""


_REFERENCE = console.argument("A", "The reference: an arm or run.", completion.arms_or_runs)
_OTHER = console.argument("B", "What is compared with it.", completion.arms_or_runs)
_BY = typer.Option(
    "--by", help="Of metric, class, condition, scene; commas between.", metavar="PARTS"
)
_METRICS = typer.Option(
    "--metrics",
    help="In place of mAP, NDS and the errors; the first also by condition.",
    metavar="NAMES",
)
_FACTOR = typer.Option(
    "--factor",
    help="What the two may differ in besides the variant; may be repeated.",
    metavar="KEY",
)
_STRICT = typer.Option("--strict", help="Refuse a confounded comparison with exit code 2.")
_FORM = typer.Option("--format", help="How to print it.")
_ROOT = typer.Option("--root", help="Of result files: folder with the version's tables.")
_VERSION = typer.Option("--version", help="Of result files; needed where --root has several.")
_SPLIT = typer.Option("--split", help="Of result files (default: the validation split).")
_RESAMPLES = typer.Option(
    "--resamples", help="How often scenes are drawn again.", min=100, max=100_000
)


def command(
    reference: Annotated[str, _REFERENCE],
    other: Annotated[str, _OTHER],
    by: Annotated[str, _BY] = "metric,class,condition,scene",
    metrics: Annotated[str | None, _METRICS] = None,
    scenes: Annotated[
        int, typer.Option("--scenes", help="How many scenes.", min=1, max=10_000)
    ] = 10,
    factor: Annotated[list[str] | None, _FACTOR] = None,
    strict: Annotated[bool, _STRICT] = False,
    population: console.Population = "val",
    sesoi: console.Sesoi = SESOI_POINTS,
    paired: console.Paired = False,
    resamples: Annotated[int, _RESAMPLES] = 1000,
    form: Annotated[Literal["rich", "md", "json"], _FORM] = "rich",
    root: Annotated[Path | None, _ROOT] = None,
    version: Annotated[str | None, _VERSION] = None,
    split: Annotated[str | None, _SPLIT] = None,
) -> None:
    """Print a comparison."""
    request = Request(
        metrics=tuple(console.names_in(metrics)) or Request.metrics,
        errors=metrics is None,
        parts=_parts(by),
        factors=tuple(factor or ()),
        strict=strict,
        settings=question(population, sesoi, paired=paired, resamples=resamples),
    )
    if root is None:
        if version or split:
            raise RequestError("--version and --split are of result files: name --root too")
        for name in (reference, other):
            if Path(name).suffix in {".json", ".zip"}:
                raise RequestError(f"'{name}' is a result file: name its data with --root")
        found = _compared(reference, other, Store(results_root()), request)
    else:
        found = _compared_files((reference, other), root, version, split, request)
    tables = comparison_tables(found, scenes)
    if form != "json":
        for name in [name for name, table in tables.items() if not table.rows]:
            table = tables.pop(name)
            console.data("\n".join([table.title, *table.notes, ""]))
    console.print_tables(tables, TableFormat(form))


def _compared(reference: str, other: str, store: Store, request: Request) -> Comparison:
    rows = collect(store)
    arms, lines = zip(*(one_arm(rows, name) for name in (reference, other)), strict=True)
    if {row.name for row in arms[0]} & {row.name for row in arms[1]}:
        raise RequestError(f"'{reference}' and '{other}' have runs in common: nothing to compare")
    left_out = [line for each in lines for line in each]
    with delayed_progress() as progress:
        return compare_two(
            *arms,
            store=store,
            request=request,
            further=same_setting(store, rows, arms),
            left_out=left_out,
            progress=progress,
        )


def _compared_files(
    files: tuple[str, str], root: Path, version: str | None, split: str | None, request: Request
) -> Comparison:
    """Compare two result files in a store of their own, which goes afterwards."""
    from aqr_exp.cli.evaluate import measured
    from aqr_exp.cli.importing import name_of
    from aqr_exp.data.preparation import find_version
    from aqr_exp.evaluate.own_metric_files import load_metric, metric_files
    from aqr_exp.launch.importing import Data, Detector, import_results

    root = typed_path(root, "--root")
    paths = [typed_path(file, "FILE") for file in files]
    names = [name_of(path) for path in paths]
    names = names if names[0] != names[1] else ["A", "B"]
    data = Data.of(root, find_version(root, version), split)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        try:
            for name, path in zip(names, paths, strict=True):
                console.say(f"{path}: scoring it on {data.split}")
                import_results(store, path, Detector(variant=name), data)
            own = metric_files(results_root()).keys() & {*request.metrics}
            measured(store, collect(store), [load_metric(one, results_root()) for one in own])
            return _compared(f"{names[0]}-", f"{names[1]}-", store, request)
        finally:
            shutil.rmtree(store.cache_dir, ignore_errors=True)


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(console.names_in(text))
    for part in parts:
        if part not in PARTS:
            hint = did_you_mean(part, PARTS)
            raise RequestError(f"--by '{part}'{hint} (available: {', '.join(PARTS)})")
    if not parts:
        raise RequestError(f"--by names nothing (available: {', '.join(PARTS)})")
    return parts
