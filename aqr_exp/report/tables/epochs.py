"""Runs as if training had ended after an epoch (`--at-epoch`), from the evaluations while they trained."""

from collections.abc import Mapping, Sequence

import msgspec

from aqr_exp.errors import AqrExpError, RequestError, shown
from aqr_exp.report.tables.baselines import Specs
from aqr_exp.statistics.grouping import Group
from aqr_exp.store.collect import RunRow
from aqr_exp.store.history import curve_of
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store

LAST_COMMON = "last-common"
CURVE_MARK = "curve, not the metric of record"
SYNTHETIC_DATA = "synth"
NO_CURVE = "not evaluated during training (schedule.validate_every_epochs)"

Curve = Mapping[int, Mapping[str, float]]
"""Metrics by the number of epochs trained."""


def read_epoch(asked: str) -> int | None:
    """The epoch of `--at-epoch`; None for the last that all runs have.

    Raises:
        RequestError: It is neither.
    """
    if asked == LAST_COMMON:
        return None
    if not asked.isdecimal() or len(asked) > 9 or int(asked) < 1:
        raise RequestError(
            f"--at-epoch {shown(asked)}: write an epoch, 1 or more, or {LAST_COMMON}"
        )
    return int(asked)


def at_epoch(
    rows: Sequence[RunRow], epoch: int | None, store: Store, specs: Specs
) -> tuple[list[RunRow], int]:
    """The rows as if training had ended after an epoch.

    Args:
        epoch: Counted from 1; None takes the last that all runs with a curve have.

    Returns:
        Runs evaluated then, completed with that evaluation's metrics alone, the others with the
        reason why they are left out; and the epoch.

    Raises:
        RequestError: No run was evaluated then, or there is no epoch all runs have.
    """
    curves: dict[str, Curve] = {}
    damaged: dict[str, str] = {}
    for row in rows:
        try:
            damage = row.status is RunStatus.DAMAGED
            curves[row.name] = {} if damage else curve_of(store.folder(row.name).history_lines())
        except AqrExpError as error:
            damaged[row.name] = str(error)
    epoch = epoch if epoch is not None else _last_common(curves)
    if not any(epoch in curve for curve in curves.values()):
        raise RequestError(f"no run was evaluated after epoch {epoch}{_there(curves)}")
    return [
        msgspec.structs.replace(row, status=RunStatus.DAMAGED, reason=damaged[row.name])
        if row.name in damaged
        else _at(row, curves[row.name], epoch, specs)
        for row in rows
    ], epoch


def without_records(group: Group, epoch: int) -> Group:
    """The runs under names that no folder has: the records of the finished run are not the curve's."""
    return [msgspec.structs.replace(row, name=f"{row.name} after epoch {epoch}") for row in group]


def _last_common(curves: Mapping[str, Curve]) -> int:
    given = [set(curve) for curve in curves.values() if curve]
    common = set.intersection(*given) if given else set()
    if not common:
        raise RequestError(f"there is no epoch that all runs were evaluated after{_there(curves)}")
    return max(common)


def _there(curves: Mapping[str, Curve]) -> str:
    epochs = sorted({epoch for curve in curves.values() for epoch in curve})
    return f" (there: {', '.join(map(str, epochs))})" if epochs else f": they were {NO_CURVE}"


def _at(row: RunRow, curve: Curve, epoch: int, specs: Specs) -> RunRow:
    if epoch not in curve:
        if row.status is RunStatus.DAMAGED:
            return row
        after = f"not evaluated after epoch {epoch}" if curve else NO_CURVE
        reason = f"{row.reason}; {after}" if row.reason else after
        status = RunStatus.LEFT_OUT if row.completed else row.status
        return msgspec.structs.replace(row, status=status, reason=reason, metrics={})
    if row.completed:
        about = {name: row.metrics.get(name) for name in ("split", "synthetic")}
    else:
        data = (specs.of_arm(row) or {}).get("data")
        known = data if isinstance(data, Mapping) else {}
        synthetic = known.get("name") == SYNTHETIC_DATA
        about = {"split": known.get("val_split", "?"), "synthetic": synthetic}
    metrics = {**curve[epoch], **about}
    return msgspec.structs.replace(row, status=RunStatus.COMPLETED, reason=None, metrics=metrics)
