"""`aqr-exp eval`: trained runs under sensor failures, and by own metrics."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from aqr_exp.cli import completion, console
from aqr_exp.cli.console import counted_progress
from aqr_exp.config.description import stored_views
from aqr_exp.config.identity import from_spec
from aqr_exp.config.inputs import with_data_identity
from aqr_exp.data.corruptions.cases import CorruptionCase, read_cases
from aqr_exp.errors import RequestError
from aqr_exp.evaluate.ground_truth import GroundTruth, load_ground_truth
from aqr_exp.evaluate.own_metric_files import OwnMetric, load_metric
from aqr_exp.launch.measuring import evaluate_corruptions
from aqr_exp.launch.preflight import input_faults
from aqr_exp.report.arm_names import selected
from aqr_exp.report.tables.cells import (
    SYNTHETIC_MARK,
    Table,
    make_columns,
    number_cell,
    text_cell,
    titled,
)
from aqr_exp.statistics.grouping import unverified_notes, why_left_out
from aqr_exp.statistics.own_metrics import measure_run, stored_facts
from aqr_exp.store.collect import RunRow, collect, intact_row
from aqr_exp.store.corruption_results import missing_cases, ratio, read_evaluation
from aqr_exp.store.lease import LockHeldError, standing
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store, results_root
from aqr_exp.store.verify import scored_place

HELP = """
An own metric (docs/metrics.md) is measured on the stored detections: nothing is trained and no GPU needed.
RUN may then be a sweep, or the beginning of several names; `aqr-exp table --metrics NAME` shows the
results. Under sensor failures each case reads the validation split as a failing sensor would deliver it,
by draws that are equal for all runs; `aqr-exp table --by failure` shows the results. RA (resistance
ability) is the case's NDS over that of the run's own clean evaluation. multicorrupt, robo3d and nuscenes_r
stand for the failures of these publications, all for those of this project.
What is there already is not repeated.

\b
Examples:
  aqr-exp eval baseline-1a2b3c4d5e6f-s0 --failures all
  aqr-exp eval baseline attention --failures beams,lidar_drop@empty
  aqr-exp eval baseline --failures multicorrupt
  aqr-exp eval baseline --failures view_drop@front+back_left --json
  aqr-exp eval baseline attention --metric near_recall
"""


_METRIC = typer.Option(
    "--metric",
    help="Own metrics, files in metrics/, with commas between.",
    metavar="NAMES",
    autocompletion=completion.own_metrics,
)
_RUNS = console.argument("RUN...", "Runs, or the beginnings of their names.", completion.run_names)
_FAILURES = typer.Option(
    "--failures",
    help="all, multicorrupt, robo3d, nuscenes_r, NAME or NAME@SEVERITY, with commas between.",
    metavar="CASES",
    autocompletion=completion.corruption_cases,
)


def command(
    runs: Annotated[list[str], _RUNS],
    failures: Annotated[str | None, _FAILURES] = None,
    metric: Annotated[str | None, _METRIC] = None,
    as_json: console.Json = False,
) -> int:
    """Evaluate, under failures in one child process a run; returns the exit code."""
    if (failures is None) == (metric is None):
        raise RequestError("type either --failures CASES or --metric NAMES")
    if failures is None:
        return _measure(runs, console.names_in(metric), as_json=as_json)
    store = Store(results_root())
    folders = [store.find(name) for name in dict.fromkeys(runs)]
    cases = {folder: read_cases(failures, stored_views(folder.read_spec())) for folder in folders}
    rows = {folder: _trained(folder) for folder in folders}
    cleans = {folder: row.metrics for folder, row in rows.items()}
    missing = {
        folder: missing_cases(folder, cases[folder], clean) for folder, clean in cleans.items()
    }
    for folder, todo in missing.items():
        if todo:
            _check_ready(folder)
    for folder, todo in missing.items():
        console.say(f"{folder.name}: {len(todo)} of {len(cases[folder])} cases to evaluate")
        if todo:
            _evaluate(folder, todo, cleans[folder])
        folder.clear_dead_leases()
    lines = [line for folder in folders for line in _results(folder, cases[folder], cleans[folder])]
    for note in unverified_notes(rows.values()):
        console.say(note)
    if as_json:
        console.print_json(lines)
    else:
        synthetic = any(clean.get("synthetic") for clean in cleans.values())
        console.print_table(_table(lines, synthetic=synthetic))
    return 0


def _measure(names: list[str], metrics: list[str], *, as_json: bool) -> int:
    """Compute own metrics of runs from their stored detections, those that are not there yet."""
    store = Store(results_root())
    rows = selected(collect(store), names, store=store)
    done = [row for row in rows if row.completed]
    left_out = [why_left_out(row) for row in rows if not row.completed]
    if not done:
        raise RequestError(f"no completed run to measure: {left_out[0]}")
    found = measured(store, done, [load_metric(name, store.root) for name in metrics])
    for line in left_out:
        console.say(f"not measured: {line}")
    if as_json:
        console.print_json([{"run": run, **values} for run, values in found.items()])
        return 0
    title, synthetic = titled("Own metrics", [done])
    columns = make_columns(("run", *metrics), numeric=set(metrics))
    lines = tuple(
        (text_cell(run), *(number_cell(values[name][""]) for name in metrics))
        for run, values in found.items()
    )
    console.print_table(Table(title=title, columns=columns, rows=lines, synthetic=synthetic))
    return 0


def measured(
    store: Store, rows: Sequence[RunRow], metrics: Sequence[OwnMetric]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Own metrics of completed runs by run, name and condition; what is missing is computed and kept."""
    found: dict[str, dict[str, dict[str, float | None]]] = {row.name: {} for row in rows}
    truths: dict[tuple[str, ...], GroundTruth] = {}
    for row, metric in ((row, metric) for metric in metrics for row in rows):
        folder = store.folder(row.name)
        facts, _ = stored_facts(folder, row.metrics, metric.name)
        if facts is None or facts.source != metric.source:
            path, *place = scored_place(folder, row.metrics, row.record.get("data") or {})
            key = tuple(map(str, place))
            if key not in truths:
                truths[key] = load_ground_truth(Path(key[0]), *key[1:])
            console.say(f"{row.name}: {metric.name}")
            with counted_progress(f"samples of {metric.name}") as progress:
                facts = measure_run(folder, metric, path, truths[key], row.metrics, progress)
        found[row.name][metric.name] = facts.values
    return found


def _trained(folder: RunFolder) -> RunRow:
    """The row of a run; one without a clean evaluation to compare with is refused."""
    row = intact_row(folder)
    if not row.completed:
        raise RequestError(
            f"{folder.name} is {row.status}: only completed runs have weights and a clean evaluation"
        )
    return row


def _check_ready(folder: RunFolder) -> None:
    """Refuse a run that another process evaluates, or whose data or folders are not as they were."""
    folder.check_folders()
    for holder in standing([folder.failures_lease_path]):
        raise LockHeldError(f"{folder.name}: its evaluation is worked on by {holder}")
    try:
        config = with_data_identity(from_spec(folder.read_spec()))
    except RequestError as error:
        raise RequestError(f"{folder.name}: {error}") from None
    if faults := [*input_faults(config)]:
        raise RequestError(*faults)


def _evaluate(folder: RunFolder, cases: list[CorruptionCase], clean: dict[str, Any]) -> None:
    launcher = from_spec(folder.read_spec()).launcher
    threads = launcher.threads or os.cpu_count() or 1
    finished = 0
    with counted_progress(f"samples x {len(cases)} cases") as show:
        for answer in evaluate_corruptions(folder, cases, threads=threads, device=launcher.device):
            if "metrics" in answer:
                finished += 1
                nds, ra = answer["metrics"].get("NDS"), _ratio(answer["metrics"], clean)
                console.say(f"  {answer['case']}: NDS {_digits(nds)}, RA {_digits(ra)}")
            else:
                show(finished * answer["total"] + answer["done"], len(cases) * answer["total"])


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _ratio(metrics: dict[str, Any], clean: dict[str, Any]) -> float | None:
    return ratio(metrics.get("NDS"), clean.get("NDS"))


def _results(
    folder: RunFolder, cases: list[CorruptionCase], clean: dict[str, Any]
) -> list[dict[str, Any]]:
    """Results of the cases that were evaluated, as plain values."""
    found = [(case, read_evaluation(folder, case, clean)) for case in cases]
    return [
        {
            "run": folder.name,
            "case": case.name,
            "failure": case.corruption,
            "severity": case.severity,
            "mAP": metrics.get("mAP"),
            "NDS": metrics.get("NDS"),
            "clean_NDS": clean.get("NDS"),
            "RA": _ratio(metrics, clean),
            "folder": str(folder.failure_paths(case.name).path),
        }
        for case, metrics in found
        if metrics is not None
    ]


def _table(lines: list[dict[str, Any]], *, synthetic: bool) -> Table:
    numbers = {"mAP": "mAP", "NDS": "NDS", "clean NDS": "clean_NDS", "RA": "RA"}
    mark = f" ({SYNTHETIC_MARK})" if synthetic else ""
    return Table(
        title=f"Under sensor failures{mark}",
        columns=make_columns(("run", "case", *numbers), numeric=set(numbers)),
        rows=tuple(
            (
                text_cell(line["run"]),
                text_cell(line["case"]),
                *(number_cell(line[key]) for key in numbers.values()),
            )
            for line in lines
        ),
        synthetic=synthetic,
    )
