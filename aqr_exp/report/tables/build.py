"""Tables from requests: selection, grouping, baselines, estimates, layout and order of lines."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aqr_exp.errors import RequestError
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.files.suggest import did_you_mean, some
from aqr_exp.report.tables.arm_table import KEPT, SELECTED, arm_table
from aqr_exp.report.tables.baselines import (
    BaselineMatch,
    Baselines,
    Specs,
    chosen_arm,
)
from aqr_exp.report.tables.cells import Table
from aqr_exp.report.tables.comparison_data import (
    ArmEstimates,
    ComparisonData,
    TableArm,
    cached_estimates,
)
from aqr_exp.report.tables.corruption_table import failure_table
from aqr_exp.report.tables.cost_table import cost_table, refuse_with_cost
from aqr_exp.report.tables.epochs import CURVE_MARK, at_epoch, read_epoch, without_records
from aqr_exp.report.tables.metric_table import block_table
from aqr_exp.report.tables.notes import (
    Marks,
    baseline_notes,
    code_notes,
    statistics_notes,
    unlike_pairs,
)
from aqr_exp.report.tables.references import with_references
from aqr_exp.report.tables.request import By, Quantity, TableRequest, quantities
from aqr_exp.report.tables.rows import (
    choose,
    meeting,
    read_conditions,
    rows_of_sweep,
    selected_on_val,
    selection_notes,
)
from aqr_exp.report.tables.tracing import with_trace
from aqr_exp.statistics.confounders import check_factors
from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.grouping import (
    Group,
    arm_name,
    by_setting,
    group_seeds,
    origin_notes,
)
from aqr_exp.statistics.metrics import PRIMARY, is_own, lower_is_better
from aqr_exp.statistics.own_metrics import with_own_metrics
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.run_scores import GroundTruths
from aqr_exp.store.collect import RunRow, with_settings
from aqr_exp.store.counting import grouped
from aqr_exp.store.store import Store


def sorted_table(table: Table, asked: str) -> Table:
    """The table with its lines in another order; blocks stay together where they are.

    Args:
        asked: A column's name: a metric's column has the best first, others rise; a `-` in front
            turns the order round.

    Raises:
        RequestError: There is no such column; names the nearest.
    """
    backwards = asked.startswith("-")
    name = asked.removeprefix("-")
    if name not in table.names:
        guess = did_you_mean(name, table.names)
        raise RequestError(f"--sort {asked!r}: no such column{guess} (there: {some(table.names)})")
    place = table.names.index(name)
    column = table.columns[place]
    heads = [index for index, each in enumerate(table.columns) if each.head]
    blocks = grouped(
        range(len(table.rows)), lambda index: tuple(table.rows[index][at].text for at in heads)
    )
    order: list[int] = []
    for block in blocks.values():
        best_down = column.of_line and not lower_is_better(table.lines[block[0]].metric)
        falling = (column.highest_first or best_down) != backwards
        values = {index: table.rows[index][place].value for index in block}
        given = [index for index in block if values[index] is not None]
        given.sort(key=lambda index: _order(values[index]), reverse=falling)
        order += [*given, *(index for index in block if values[index] is None)]
    return replace(
        table,
        rows=tuple(table.rows[index] for index in order),
        lines=tuple(table.lines[index] for index in order),
    )


def _order(value: Any) -> tuple[int, Any]:
    """Numbers by their size, before texts."""
    if isinstance(value, (int, float)):
        return 0, (value,)
    return (0, value) if isinstance(value, tuple) else (1, str(value))


@dataclass(frozen=True, kw_only=True)
class Built:
    """A table and the arms behind its lines."""

    table: Table
    data: ComparisonData


def build_table(
    store: Store, rows: Sequence[RunRow], request: TableRequest, *, progress: Progress = no_progress
) -> Built:
    """Make the table of a store's runs; those that are not in it are among its notes.

    Raises:
        RequestError: Something that was asked for does not exist; or, when strict, a comparison is
            confounded.
    """
    if request.by is By.COST:
        refuse_with_cost(request)
    chosen = _chosen_rows(store, rows, request)
    groups, lines = group_seeds(chosen.rows)
    groups = by_setting(groups)
    shown = [row for group in groups for row in group]
    left_out = [
        *origin_notes(shown, strict=request.strict),
        *(f"not in the table: {line}" for line in lines),
        *chosen.notes,
    ]
    matches = _opponents(groups, chosen, request)
    if chosen.declared is not None:
        matches = [
            replace(match, undeclared=group[0].name not in chosen.declared)
            for group, match in zip(groups, matches, strict=True)
        ]
    if request.strict:
        refuse_confounded(groups, matches)
    if request.by is By.COST:
        pairs = zip(groups, matches, strict=True)
        arms = [TableArm(group=group, match=match) for group, match in pairs]
        data = ComparisonData(arms=arms, left_out=left_out)
        table = cost_table(data, store)
    elif request.by is By.FAILURE:
        # Its cells come from evaluations beside those of record.
        asked = quantities(request.by, request.metrics, chosen.rows, groups)
        data = ComparisonData(arms=(), quantities=asked, left_out=left_out)
        table = failure_table(groups, [item.metric for item in asked], store, matches)
        table = replace(table, notes=(*table.notes, *left_out))
    else:
        asked = quantities(request.by, request.metrics, chosen.rows, groups)
        if (
            request.sort is not None
        ):  # a column that there is not is refused before anything is estimated
            nothing = ArmEstimates(means={item.name: ArmMean(n=0) for item in asked})
            pairs = zip(groups, matches, strict=True)
            arms = [TableArm(group=group, match=each, estimates=nothing) for group, each in pairs]
            empty = ComparisonData(arms=arms, quantities=asked)
            sorted_table(_laid_out(GroundTruths(), empty, request, chosen), request.sort)
        estimates = _estimates(groups, matches, asked, store, request.settings, chosen, progress)
        data = ComparisonData(
            arms=[
                TableArm(group=group, match=match, estimates=each)
                for group, match, each in zip(groups, matches, estimates, strict=True)
            ],
            quantities=asked,
            left_out=left_out,
        )
        table = _laid_out(GroundTruths(store), data, request, chosen)
        if request.sweep is not None and request.by is By.ARM and chosen.epoch is None:
            table = _with_answers(table, data, request, chosen.primary, store)
    if request.sort is not None:
        table = sorted_table(table, request.sort)
    if request.trace:
        table = with_trace(table, data, store)
    if request.references:
        table = with_references(table, store.root, data.quantities)
    return Built(table=table, data=data)


def _with_answers(
    table: Table, data: ComparisonData, request: TableRequest, primary: str, store: Store
) -> Table:
    """The table with what its sweep says of the numbers it varied."""
    from aqr_exp.report.tables.sweep_answers import sweep_answers

    sweep, settings = request.sweep or "", request.settings
    answers = sweep_answers(data, sweep, primary, settings, store)
    lines = [line for one in answers for line in one.lines(sweep, settings.alpha)]
    said = tuple(one.as_json() for one in answers)
    notes = tuple(
        dict.fromkeys((*lines, *table.notes))
    )  # all say the same of an unwritable journal
    return replace(table, notes=notes, sweep=said)


def _estimates(
    groups: Sequence[Group],
    matches: Sequence[BaselineMatch],
    asked: Sequence[Quantity],
    store: Store,
    settings: Resampling,
    chosen: "_Chosen",
    progress: Progress,
) -> list[ArmEstimates]:
    epoch = chosen.epoch
    if epoch is not None:
        groups = [without_records(group, epoch) for group in groups]
        matches = [
            replace(item, group=item.group and without_records(item.group, epoch))
            for item in matches
        ]
    planned = chosen.planned or ()
    return cached_estimates(groups, matches, asked, store, settings, progress, planned)


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """The runs a table is of.

    Attributes:
        notes: Runs that cannot be among them, and those that are there for comparison.
        references: The names of the latter.
        epoch: After which epoch they stand; None where they are those of record.
        planned: The names of the sweep's runs; None where the table is of no sweep.
        primary: The metric that the sweep declared.
        factors: What was asked for or, without that, what the sweep declared.
        declared: The runs of the arms that it declared; None of all.
    """

    rows: Sequence[RunRow]
    specs: Specs
    notes: Sequence[str]
    references: Collection[str]
    epoch: int | None
    planned: Sequence[str] | None
    primary: str
    factors: Sequence[str]
    declared: frozenset[str] | None


def _chosen_rows(store: Store, rows: Sequence[RunRow], request: TableRequest) -> _Chosen:
    specs = Specs(store)
    notes: list[str] = []
    epoch = planned = None
    factors = request.factors
    if request.sweep is not None:
        planned = _planned(store, request.sweep)
        factors = factors or store.sweep(request.sweep).factors()
        rows, notes = rows_of_sweep(rows, planned, store)
    met = choose(rows, request.where, specs, factors=factors, baseline=request.baseline)
    rows = met.rows
    if request.at_epoch is not None:
        rows, epoch = at_epoch(rows, read_epoch(request.at_epoch), store, specs)
    rows, own = with_own_metrics(store, rows, () if epoch is not None else request.metrics or ())
    measured = [name for name in request.metrics or () if is_own(name)]
    if measured and request.by is By.FAILURE:
        raise RequestError(f"--by failure has no {measured[0]}: it is measured on clean data alone")
    rows = with_settings(store, rows)
    notes = [*notes, *met.notes, *own]
    primary, arms = store.sweep(request.sweep).declared() if request.sweep else (None, None)
    family = [
        meeting(rows, [one], specs.of_arm)[0]
        for one in read_conditions(arms or (), rows, specs.of_arm)
    ]
    return _Chosen(
        rows=rows,
        specs=specs,
        notes=notes,
        references=met.references,
        epoch=epoch,
        planned=planned,
        primary=primary or PRIMARY,
        factors=factors,
        declared=frozenset(row.name for one in family for row in one) if family else None,
    )


def _planned(store: Store, sweep: str) -> list[str]:
    known = store.sweep_names()
    if sweep not in known:
        there = ", ".join(known) or "none"
        raise RequestError(
            f"--sweep {sweep!r}: no such sweep was started{did_you_mean(sweep, known)} (there: {there})"
        )
    return list(dict.fromkeys(entry.name for entry in store.sweep(sweep).read_plan()))


def _opponents(
    groups: Sequence[Group], chosen: _Chosen, request: TableRequest
) -> list[BaselineMatch]:
    declared = check_factors(chosen.factors)
    asked = None if request.baseline is None else chosen_arm(groups, request.baseline)
    baselines = Baselines(groups, chosen.specs, declared, asked)
    return [baselines.of(group) for group in groups]


def refuse_confounded(groups: Sequence[Group], matches: Sequence[BaselineMatch]) -> None:
    """Refuse comparisons in which not only the declared factor differs.

    Raises:
        RequestError: Names the first arm, the first confounders and how many comparisons there are.
    """
    found = [
        (group, match) for group, match in zip(groups, matches, strict=True) if match.confounders
    ]
    if not found:
        return
    group, match = found[0]
    assert match.group is not None  # noqa: S101  # our own law: confounders are of a pair
    shown = ", ".join(map(str, match.confounders[:3]))
    more = len(match.confounders) - 3
    rest = f" and {more} more" if more > 0 else ""
    raise RequestError(
        f"--strict: {arm_name(group)} and {arm_name(match.group)} differ in {shown}{rest} "
        f"({len(found)} of {sum(item.group is not None for item in matches)} comparisons are confounded)"
    )


def _laid_out(
    truths: GroundTruths, data: ComparisonData, request: TableRequest, chosen: _Chosen
) -> Table:
    marks = Marks()
    notes: list[str] = []
    if request.by is By.ARM:
        sweep, primary = chosen.planned, chosen.primary
        selected = set() if sweep is None else selected_on_val(data, sweep, primary)
        words = {
            index: KEPT
            for index, arm in enumerate(data.arms)
            if any(row.name in chosen.references for row in arm.group)
        } | dict.fromkeys(selected, SELECTED)
        shown = words if sweep is not None or words else None
        table = arm_table(data, marks, costs=chosen.epoch is None, selection=shown)
        notes = selection_notes(data, selected, primary)
    else:
        table = block_table(data, request.by, marks, truths)
    if chosen.epoch is not None:
        table = replace(table, title=f"After epoch {chosen.epoch} ({CURVE_MARK}): {table.title}")
    return replace(
        table,
        notes=(
            *marks.notes(),
            *notes,
            *statistics_notes(data, chosen.primary),
            *unlike_pairs(data),
            *baseline_notes(data),
            *code_notes(data),
            *table.notes,
            *data.left_out,
        ),
    )
