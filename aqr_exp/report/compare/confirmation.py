"""Selected points of a sweep on fresh seeds: how much of their lead is left."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from aqr_exp.report.arm_names import arm_labels
from aqr_exp.report.tables.cells import (
    Cell,
    MergedColumns,
    Table,
    count_cell,
    interval_cells,
    make_columns,
    number_cell,
    text_cell,
    titled,
)
from aqr_exp.statistics.differences import DEFAULT, arm_interval, compare_arms
from aqr_exp.statistics.estimates import ArmDifference, ArmMean
from aqr_exp.statistics.grouping import origin_notes
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.verdicts import DifferenceResult, decide
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store

INTERVALS = (
    ("confirmed", "confirmed low", "confirmed high"),
    ("shrinkage", "shrinkage low", "shrinkage high"),
    ("confirmed lead", "lead low", "lead high"),
)


@dataclass(frozen=True, kw_only=True)
class ConfirmedPoint:
    """One selected point before and after.

    Attributes:
        selected: Its runs of the sweep, by which it was selected.
        fresh: Its completed runs on fresh seeds.
        selected_baseline: The baseline's runs of the sweep; empty where the sweep has none.
    """

    selected: tuple[RunRow, ...]
    fresh: tuple[RunRow, ...]
    selected_baseline: tuple[RunRow, ...]
    fresh_baseline: tuple[RunRow, ...]


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """One selected point on fresh seeds.

    Attributes:
        selected: The mean that it was selected by.
        confirmed: The mean over fresh seeds.
        shrinkage: Confirmed minus selected; the seeds differ, so that it is unpaired.
        selected_lead: Point minus baseline in the sweep.
        result: Point minus baseline over fresh seeds, corrected for the number of points.
    """

    label: str
    runs: ConfirmedPoint
    selected: ArmMean
    confirmed: ArmMean
    shrinkage: ArmDifference
    selected_lead: ArmDifference
    result: DifferenceResult


def confirm(
    points: Sequence[ConfirmedPoint],
    metric: str,
    *,
    store: Store,
    settings: Resampling = DEFAULT,
) -> list[Confirmed]:
    """Compare the selected points with themselves and with the baseline on fresh seeds."""

    def difference(reference: Sequence[RunRow], other: Sequence[RunRow]) -> ArmDifference:
        return compare_arms(reference, other, [metric], store=store, settings=settings)[metric]

    def mean(rows: Sequence[RunRow]) -> ArmMean:
        return arm_interval(rows, metric, store=store, settings=settings)

    labels = arm_labels([point.selected[0] for point in points])
    results = decide(
        [difference(point.fresh_baseline, point.fresh) for point in points], settings.alpha
    )
    return [
        Confirmed(
            label=label,
            runs=point,
            selected=mean(point.selected),
            confirmed=mean(point.fresh),
            shrinkage=difference(point.selected, point.fresh),
            selected_lead=difference(point.selected_baseline, point.selected),
            result=result,
        )
        for label, point, result in zip(labels, points, results, strict=True)
    ]


def confirmation_table(
    sweep: str, metric: str, found: Sequence[Confirmed], *, candidates: int, planned: int
) -> Table:
    """A confirmation as a table, one line a point."""
    columns = (
        "point",
        "selected on val",
        "n",
        *INTERVALS[0],
        "fresh n",
        *INTERVALS[1],
        "selected lead",
        *INTERVALS[2],
        "p",
        "verdict",
    )
    shown = [runs for item in found for runs in (item.runs.selected, item.runs.fresh)]
    title, synthetic = titled(
        f"Confirmation of {sweep}: the best {len(found)} of {candidates} points by {metric}", shown
    )
    notes = [*_notes(found, metric, candidates, planned), *origin_notes(chain(*shown))]
    return Table(
        title=title,
        columns=make_columns(columns, numeric={*columns} - {"point", "verdict"}),
        rows=tuple(_cells(item) for item in found),
        notes=tuple(notes),
        synthetic=synthetic,
        merged_columns=tuple(
            MergedColumns(value=mean, low=low, high=high) for mean, low, high in INTERVALS
        ),
        block_rules=False,
    )


def _cells(item: Confirmed) -> tuple[Cell, ...]:
    lead, change = item.result.difference, item.shrinkage
    return (
        text_cell(item.label),
        number_cell(item.selected.mean),
        count_cell(item.selected.n),
        *interval_cells(item.confirmed.mean, item.confirmed.low, item.confirmed.high),
        count_cell(item.confirmed.n),
        *interval_cells(change.mean, change.low, change.high),
        number_cell(item.selected_lead.mean),
        *interval_cells(lead.mean, lead.low, lead.high),
        number_cell(item.result.p_holm, decimals=3),
        text_cell(item.result.word if lead.mean is not None else "not confirmed yet"),
    )


def _notes(found: Sequence[Confirmed], metric: str, candidates: int, planned: int) -> list[str]:
    """The meaning of the first numbers, missing seeds, and the verdicts in words."""
    selected = (
        f"selected on val: the first {metric} of each point is the one it was chosen by among "
        f"{candidates}, so it is too good; the confirmed one is of seeds that had no part in the choice"
    )
    meaning = (
        f"shrinkage is confirmed - selected {metric}, leads are over the baseline of the same seeds"
    )
    notes = [selected, meaning]
    for item in found:
        missing = planned - len(item.runs.fresh)
        if missing:
            notes.append(f"{item.label}: {missing} of {planned} fresh seeds are not complete")
        if item.result.difference.mean is not None:
            notes.append(f"{item.label} over the baseline: {item.result.sentence}")
    return notes
