"""`--by cost`: what detecting in one sample costs each arm, and how that compares with its baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.report.tables.cells import (
    NO_VALUE,
    Line,
    Row,
    Table,
    count_cell,
    make_columns,
    number_cell,
    text_cell,
    titled,
)
from aqr_exp.report.tables.comparison_data import ComparisonData, TableArm
from aqr_exp.report.tables.notes import baseline_notes, unlike_pairs
from aqr_exp.report.tables.request import TableRequest
from aqr_exp.statistics.grouping import Group, data_words
from aqr_exp.store.cost import Cost, median_and_p95, read_cost
from aqr_exp.store.counting import grouped
from aqr_exp.store.store import Store

COLUMNS = ("variant", "identity", "preset", "changes", "data")
SPEED = ("latency (ms)", "p95 (ms)", "latency / baseline")
COSTS = ("params (M)", "GFLOPs", *SPEED, "memory (MB)", "n")


@dataclass(frozen=True, kw_only=True)
class _ArmCost:
    """The cost of an arm: its runs that were measured in one call.

    Attributes:
        costs: Of these runs; none where none was measured.
        ratio: Median latency over that of the baseline's runs of the same call; None without any.
        reason: Why there is none; None where there is, and for a baseline.
    """

    costs: Sequence[Cost] = ()
    ratio: float | None = None
    reason: str | None = None


def refuse_with_cost(request: TableRequest) -> None:
    """Refuse options that say nothing about costs.

    Raises:
        RequestError: Names the first.
    """
    asked = {
        "--metrics": request.metrics,
        "--at-epoch": request.at_epoch,
        "--reference": request.references,
        "--trace": request.trace,
    }
    for option, value in asked.items():
        if value:
            raise RequestError(f"{option} and --by cost cannot be used together")


def cost_table(data: ComparisonData, store: Store) -> Table:
    """One line an arm; what was not measured or cannot be read is in its notes."""
    costs: dict[str, Cost] = {}
    notes, missing = [], []
    for row in (row for group in data.groups for row in group):
        try:
            cost = read_cost(store.folder(row.name))
        except (AqrExpError, OSError) as error:
            notes.append(f"not in the table: the cost of {row.name}: {error}")
            continue
        if cost is None:
            missing.append(row.name)
        else:
            costs[row.name] = cost
    if missing:
        notes.append(f"not measured (`aqr-exp cost RUN...`): {', '.join(missing)}")
    lines = [_line(arm, costs) for arm in data.arms]
    title, synthetic = titled("Cost of detecting in one sample", data.groups)
    return Table(
        title=title,
        columns=make_columns(
            (*COLUMNS, *COSTS), numeric=COSTS, constant={"preset", "changes", "data"}
        ),
        rows=tuple(_cells(arm, line) for arm, line in zip(data.arms, lines, strict=True)),
        lines=tuple(Line(arm=index) for index in range(len(lines))),
        notes=(
            *(_how(lines)),
            *(
                f"{arm.name}: no latency relative to the baseline: {line.reason}"
                for arm, line in zip(data.arms, lines, strict=True)
                if line.reason
            ),
            *notes,
            *unlike_pairs(data),
            *baseline_notes(data),
            *data.left_out,
        ),
        synthetic=synthetic,
    )


def _line(arm: TableArm, costs: dict[str, Cost]) -> _ArmCost:
    own = _by_call(arm.group, costs)
    if not own:
        return _ArmCost()
    if arm.match.group is None:
        return _ArmCost(costs=own[_newest(own)])
    theirs = _by_call(arm.match.group, costs)
    shared = {call: own[call] for call in own if call in theirs}
    if not shared:
        lacking = "it was measured in another call" if theirs else "it was not measured"
        return _ArmCost(costs=own[_newest(own)], reason=lacking)
    call = _newest(shared)
    ours, baseline = shared[call], theirs[call]
    # Every run against one: what differs within an arm spoils its median just as well.
    differing = {
        name
        for cost in (*ours, *baseline)
        for name in cost.hardware.keys() | baseline[0].hardware.keys()
        if cost.hardware.get(name) != baseline[0].hardware.get(name)
    }
    if differing:
        return _ArmCost(costs=ours, reason=f"measured with other {', '.join(sorted(differing))}")
    return _ArmCost(costs=ours, ratio=_latency(ours)[0] / _latency(baseline)[0])


def _by_call(group: Group, costs: dict[str, Cost]) -> dict[str, list[Cost]]:
    return grouped((costs[row.name] for row in group if row.name in costs), lambda cost: cost.call)


def _newest(calls: dict[str, list[Cost]]) -> str:
    return max(calls, key=lambda call: (calls[call][0].measured, call))


def _latency(costs: Sequence[Cost]) -> tuple[float, float]:
    """Median and p95 of the passes of all runs together."""
    return median_and_p95([value for cost in costs for value in cost.latencies_ms])


def _cells(arm: TableArm, line: _ArmCost) -> Row:
    first, costs = arm.first, line.costs
    texts = (first.variant, first.fingerprint, first.preset, first.overrides)
    names = tuple(map(text_cell, (*texts, data_words(arm.group))))
    if not costs:
        return (*names, *[NO_VALUE] * (len(COSTS) - 1), count_cell(0))
    median, p95 = _latency(costs)
    known = [cost.memory_mb for cost in costs if cost.memory_mb is not None]
    return (
        *names,
        number_cell(costs[0].parameters / 1e6, decimals=3),
        number_cell(max(cost.flops for cost in costs) / 1e9, decimals=3),
        number_cell(median, decimals=1),
        number_cell(p95, decimals=1),
        number_cell(line.ratio, decimals=2),
        number_cell(max(known) if known else None, decimals=1),
        count_cell(len(costs)),
    )


def _how(lines: Sequence[_ArmCost]) -> list[str]:
    """The machines and settings of the shown measurements, once for each kind."""
    said: dict[str, None] = {}
    for cost in (cost for line in lines for cost in line.costs):
        hardware, about = cost.hardware, cost.about
        place = hardware.get("processor") if hardware.get("device") == "cpu" else None
        where = place or hardware.get("device") or "an unknown device"
        threads = hardware.get("threads")
        left_out = ", ".join(map(str, about.get("flops_not_counted") or ()))
        said[
            f"costs: {where}, {threads} thread{'s' if threads != 1 else ''}, torch "
            f"{about.get('torch', '?')}: {len(cost.latencies_ms)} passes of one sample each; memory "
            "beyond the idle model" + (f"; GFLOPs without {left_out}" if left_out else "")
        ] = None
    return list(said)
