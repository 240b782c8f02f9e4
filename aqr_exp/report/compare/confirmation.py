"""Selected points of a sweep on fresh seeds: how much of their lead is left."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from aqr_exp.report.arm_names import arm_labels
from aqr_exp.report.tables.cells import (
    NO_VALUE,
    Cell,
    MergedColumns,
    Table,
    count_cell,
    interval_cells,
    make_columns,
    metric_cell,
    number_cell,
    text_cell,
    titled,
)
from aqr_exp.report.tables.notes import rule_notes, unrecorded_note
from aqr_exp.statistics.differences import DEFAULT, arm_interval, compare_arms, record_looks
from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.grouping import origin_notes
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.verdicts import ArmDifference
from aqr_exp.store.collect import RunRow
from aqr_exp.store.counting import grouped
from aqr_exp.store.looks import CONFIRMED, Looks
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
        shrinkage: Confirmed minus selected.
        selected_lead: Point minus baseline in the sweep.
        result: Point minus baseline over fresh seeds, judged together with the other points.
    """

    label: str
    runs: ConfirmedPoint
    selected: ArmMean
    confirmed: ArmMean
    shrinkage: ArmDifference
    selected_lead: ArmDifference
    result: ArmDifference


def confirm(
    points: Sequence[ConfirmedPoint],
    metric: str,
    *,
    store: Store,
    settings: Resampling = DEFAULT,
) -> list[Confirmed]:
    """Compare the selected points with themselves and with the baseline on fresh seeds."""
    # The seeds of every arm tell of noise, whichever is compared.
    arms = {_names(rows): rows for point in points for rows in vars(point).values() if rows}

    def differences(
        reference: Sequence[RunRow],
        others: Sequence[Sequence[RunRow]],
        looks: Looks | None = None,
    ) -> list[ArmDifference]:
        compared = {_names(rows) for rows in (reference, *others)}
        further = [rows for names, rows in arms.items() if names not in compared]
        found = compare_arms(
            reference,
            others,
            [metric],
            further=further,
            store=store,
            settings=settings,
            looks=looks,
        )
        return found[metric]

    def mean(rows: Sequence[RunRow]) -> ArmMean:
        return arm_interval(rows, metric, store=store, settings=settings)

    labels = arm_labels([point.selected[0] for point in points])
    places = range(len(points))
    results: dict[int, ArmDifference] = {}
    looks = Looks(store.root, question=CONFIRMED)
    for family in grouped(places, lambda at: _names(points[at].fresh_baseline)).values():
        fresh = [points[at].fresh for at in family]
        reference = points[family[0]].fresh_baseline
        judged = differences(reference, fresh, looks)
        unrecorded = record_looks(looks, reference, fresh, [[one] for one in judged])
        for at, one, why in zip(family, judged, unrecorded, strict=True):
            note = "; ".join(filter(None, (one.note, why and unrecorded_note(why))))
            results[at] = replace(one, note=note)
    return [
        Confirmed(
            label=labels[at],
            runs=point,
            selected=mean(point.selected),
            confirmed=mean(point.fresh),
            shrinkage=differences(point.selected, [point.fresh])[0],
            selected_lead=differences(point.selected_baseline, [point.selected])[0],
            result=results[at],
        )
        for at, point in enumerate(points)
    ]


def _names(rows: Sequence[RunRow]) -> tuple[str, ...]:
    return tuple(row.name for row in rows)


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
        "on other scenes",
    )
    shown = [runs for item in found for runs in (item.runs.selected, item.runs.fresh)]
    title, synthetic = titled(
        f"Confirmation of {sweep}: the best {len(found)} of {candidates} points by {metric}", shown
    )
    notes = [*_notes(found, metric, candidates, planned), *origin_notes(chain(*shown))]
    return Table(
        title=title,
        columns=make_columns(columns, numeric={*columns} - {"point", "verdict", "on other scenes"}),
        rows=tuple(_cells(item) for item in found),
        notes=tuple(notes),
        synthetic=synthetic,
        merged_columns=tuple(
            MergedColumns(value=mean, low=low, high=high) for mean, low, high in INTERVALS
        ),
        block_rules=False,
    )


def _cells(item: Confirmed) -> tuple[Cell, ...]:
    lead, change = item.result, item.shrinkage
    metric = lead.metric
    return (
        text_cell(item.label),
        metric_cell(metric, item.selected.mean),
        count_cell(item.selected.n),
        *interval_cells(metric, item.confirmed.mean, item.confirmed.low, item.confirmed.high),
        count_cell(item.confirmed.n),
        *interval_cells(metric, change.mean, change.low, change.high, signed=True),
        metric_cell(metric, item.selected_lead.mean, signed=True),
        *interval_cells(metric, lead.mean, lead.low, lead.high, signed=True),
        number_cell(lead.p, decimals=3),
        text_cell(lead.word if lead.mean is not None else "not confirmed yet"),
        text_cell(lead.on_other_scenes) if lead.on_other_scenes else NO_VALUE,
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
        if item.result.mean is not None:
            notes.append(f"{item.label} over the baseline: {item.result.sentence}")
            notes += [f"{item.label}: {item.result.note}"] if item.result.note else []
    return [*notes, *rule_notes([item.result for item in found if item.result.mean is not None])]
