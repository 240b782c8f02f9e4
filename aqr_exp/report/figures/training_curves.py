"""Scalars of runs over epochs, from their histories: stitched where a run was resumed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aqr_exp.config import BASELINE
from aqr_exp.report.arm_names import arm_labels
from aqr_exp.statistics.grouping import why_left_out
from aqr_exp.store.collect import RunRow
from aqr_exp.store.counting import by_seed, seed_key, shown_run
from aqr_exp.store.history import stitched
from aqr_exp.store.store import Store

Line = Mapping[str, Any]
Series = dict[float, float]
"""A scalar by epoch: 1.5 is half-way through the second."""


@dataclass(frozen=True, kw_only=True)
class RunCurves:
    """The curves of one run's history.

    Attributes:
        lines: By kind: `train` and `arm`, rising by step, and `val`, rising by epoch.
        steps_an_epoch: Training steps of an epoch; 1 for a run without training lines.
    """

    row: RunRow
    lines: Mapping[str, Sequence[Line]]
    steps_an_epoch: float

    def series(self, kind: str, name: str) -> Series:
        """A scalar of a kind of lines by epoch; lines without it are passed over."""
        found = {}
        for line in self.lines[kind]:
            value = line.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                at = float(line["epoch"]) if kind == "val" else line["step"] / self.steps_an_epoch
                found[at] = float(value)
        return found


def run_curves(row: RunRow, store: Store) -> RunCurves:
    """Read a run's history.

    Raises:
        AqrExpError: The history is damaged; names the line.
    """
    history = store.folder(row.name).read_history()
    by_kind: dict[str, list[Line]] = {"train": [], "val": [], "arm": []}
    for line in filter(_has_place, stitched(history)):
        by_kind.setdefault(str(line.get("kind")), []).append(line)
    steps = _steps_an_epoch(row, by_kind["train"], store)
    return RunCurves(row=row, lines=by_kind, steps_an_epoch=steps)


def _has_place(line: Line) -> bool:
    return isinstance(line.get("epoch" if line.get("kind") == "val" else "step"), int)


def _steps_an_epoch(row: RunRow, train: Sequence[Line], store: Store) -> float:
    """Exact for a run that trained to its end, whose last line is its last step."""
    if not train:
        return 1.0
    if not row.completed:
        progress = store.folder(row.name).read_progress() or {}
        steps, epochs = progress.get("steps"), progress.get("epochs")
        if isinstance(steps, int) and isinstance(epochs, int) and epochs > 0:
            return steps / epochs
    # A line of epoch e has at most e epochs of steps behind it.
    shares = [
        line["step"] / epoch
        for line in train
        if isinstance(epoch := line.get("epoch"), int) and epoch > 0
    ]
    return max(shares, default=1.0)


@dataclass(frozen=True, kw_only=True)
class ArmCurves:
    """The runs of one arm, one a seed, and what tells it from the others."""

    label: str
    runs: tuple[RunCurves, ...]

    def words(self) -> str:
        """The label with its seeds, and what has to be known about them."""
        unfinished = sum(not run.row.completed for run in self.runs)
        resumes = sum(run.row.resumed for run in self.runs)
        facts = [f"n = {len(self.runs)}"]
        facts += [f"{unfinished} unfinished"] * bool(unfinished)
        facts += [f"resumed x{resumes}"] * bool(resumes)
        return f"{self.label} ({', '.join(facts)})"


def arm_curves(rows: Sequence[RunRow], store: Store) -> list[ArmCurves]:
    """The histories of runs by arm, the baseline first; one run a seed, as `shown_run` chooses it.

    Args:
        rows: Runs, finished or not; those without a history are passed over.

    Raises:
        AqrExpError: A history is damaged; names the file.
    """
    groups: dict[tuple[str, str], list[RunCurves]] = {}
    for reruns in by_seed(row for row in rows if row.record).values():
        row = shown_run(reruns)
        curves = run_curves(row, store)
        if curves.lines["train"] or curves.lines["val"]:
            groups.setdefault((row.variant, row.fingerprint), []).append(curves)
    order = sorted(groups, key=lambda key: (key[0] != BASELINE, key))
    labels = arm_labels([groups[key][0].row for key in order])
    return [
        ArmCurves(label=label, runs=tuple(sorted(groups[key], key=lambda run: run.row.name)))
        for key, label in zip(order, labels, strict=True)
    ]


def without_curves(rows: Sequence[RunRow], arms: Sequence[ArmCurves]) -> list[str]:
    """A line for each run that is in no arm: its name, and why."""
    drawn = {run.row.name for arm in arms for run in arm.runs}
    seeds = {seed_key(run.row): run.row.name for arm in arms for run in arm.runs}
    lines = []
    for row in rows:
        if row.name in drawn:
            continue
        if not row.record:
            lines.append(why_left_out(row))
        elif seed_key(row) in seeds:
            lines.append(f"{row.name}: the same seed was run again as {seeds[seed_key(row)]}")
        else:
            lines.append(f"{row.name}: {row.status}: no training history")
    return lines


def over_seeds(curves: Sequence[Series]) -> tuple[list[float], list[list[float]]]:
    """The epochs that all curves reach, and their values there."""
    if not curves:
        return [], []
    epochs = sorted(set.intersection(*map(set, curves)))
    return epochs, [[curve[epoch] for curve in curves] for epoch in epochs]


def smoothed(curve: Series, width: int) -> Series:
    """The running mean of a curve over `width` of its points, fewer at its ends; 1 changes nothing."""
    epochs = sorted(curve)
    values = [curve[epoch] for epoch in epochs]
    half = width // 2
    found = {}
    for at, epoch in enumerate(epochs):
        part = values[max(0, at - half) : at + half + 1]
        found[epoch] = sum(part) / len(part)
    return found
