"""The arms of a table with their baselines, means and differences; estimates are cached."""

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from aqr_exp.files.cache import ABSENT, Stamp, read_cache, settled, stamp, write_cache
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.report.tables.baselines import BaselineMatch
from aqr_exp.report.tables.request import Quantity
from aqr_exp.statistics.differences import arm_intervals, compare_arms
from aqr_exp.statistics.estimates import ArmDifference, ArmMean
from aqr_exp.statistics.grouping import Group, arm_name
from aqr_exp.statistics.metrics import in_points
from aqr_exp.statistics.run_scores import code_version
from aqr_exp.statistics.verdicts import DifferenceResult, decide
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store

ALPHA = 0.05
TARGET_EFFECT = 0.003
"""The effect that seeds are planned for: 0.3 points, about what reports in this field turn on."""


@dataclass(frozen=True, kw_only=True)
class ArmEstimates:
    """The estimates of one arm, by a quantity's name; an arm compared with nothing has no differences."""

    means: dict[str, ArmMean] = field(default_factory=dict)
    differences: dict[str, DifferenceResult] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TableEstimates:
    """The estimates of all arms of a table.

    Attributes:
        arms: In the order of the arms.
        seeds_for_target: By a quantity's name, how many seeds would show a difference of `TARGET_EFFECT`
            in the comparison that can show least; None where no number would.
    """

    arms: list[ArmEstimates]
    seeds_for_target: dict[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TableArm:
    """One line of a table, or one line a block.

    Attributes:
        match: The baseline it is compared with.
    """

    group: Group
    match: BaselineMatch
    estimates: ArmEstimates = field(default_factory=ArmEstimates)

    @property
    def first(self) -> RunRow:
        """A run, for what all of them share."""
        return self.group[0]

    @property
    def name(self) -> str:
        """Variant and identity."""
        return arm_name(self.group)


@dataclass(frozen=True, kw_only=True)
class ComparisonData:
    """All arms of a table.

    Attributes:
        arms: In the order of the lines.
        quantities: What is measured, in the order of the columns or blocks.
        seeds_for_target: See `TableEstimates`.
        left_out: Runs that are not in it, by name and reason.
    """

    arms: Sequence[TableArm]
    quantities: Sequence[Quantity] = ()
    seeds_for_target: dict[str, int | None] = field(default_factory=dict)
    left_out: Sequence[str] = ()

    @property
    def groups(self) -> list[Group]:
        """The arms' runs."""
        return [arm.group for arm in self.arms]

    @property
    def compares(self) -> bool:
        """Whether any arm is, or should have been, compared with another."""
        return any(arm.match.group or arm.match.reason for arm in self.arms)


def estimate_arms(
    groups: Sequence[Group],
    matches: Sequence[BaselineMatch],
    quantities: Sequence[Quantity],
    store: Store,
    progress: Progress = no_progress,
) -> TableEstimates:
    """Estimate all arms' means and differences to their baselines; verdicts are corrected for all."""
    found: list[dict[str, ArmDifference]] = []
    means: list[dict[str, ArmMean]] = []
    for done, (group, match) in enumerate(zip(groups, matches, strict=True), start=1):
        means.append({})
        found.append({})
        # Quantities of the same data together: their runs are resampled once.
        for condition in dict.fromkeys(item.condition for item in quantities):
            asked = [item for item in quantities if item.condition == condition]
            metrics = [item.metric for item in asked]
            ours = arm_intervals(group, metrics, store=store, condition=condition)
            means[-1] |= {item.name: ours[item.metric] for item in asked}
            if match.group is not None:
                both = compare_arms(match.group, group, metrics, store=store, condition=condition)
                found[-1] |= {item.name: both[item.metric] for item in asked}
        progress(done, len(groups))
    decided = iter(decide([each for one in found for each in one.values()], alpha=ALPHA))
    arms = [
        ArmEstimates(means=one, differences={name: next(decided) for name in two})
        for one, two in zip(means, found, strict=True)
    ]
    return TableEstimates(arms=arms, seeds_for_target=_plans(arms, quantities))


def least_sensitive(arms: Iterable[ArmEstimates], name: str) -> ArmDifference | None:
    """Of the comparisons of a quantity the one that could show least."""
    known = [arm.differences[name].difference for arm in arms if name in arm.differences]
    return max(known, key=lambda each: each.mde or 0.0, default=None)


def _plans(arms: Sequence[ArmEstimates], quantities: Sequence[Quantity]) -> dict[str, int | None]:
    """The number of seeds that would show the target effect, where these cannot."""
    plans = {}
    for item in quantities:
        least = least_sensitive(arms, item.name)
        if in_points(item.metric) and least is not None and (least.mde or 0.0) > TARGET_EFFECT:
            plans[item.name] = least.seeds_for(TARGET_EFFECT)
    return plans


def cached_estimates(
    groups: Sequence[Group],
    matches: Sequence[BaselineMatch],
    quantities: Sequence[Quantity],
    store: Store,
    progress: Progress = no_progress,
) -> TableEstimates:
    """As `estimate_arms`, from the cache where nothing it depends on has changed."""
    stamps = {row.name: _records_stamp(store, row) for group in groups for row in group}
    key = _digest(
        [
            [
                [row.name for row in match.group or ()],
                [_row_facts(row, quantities, stamps[row.name]) for row in group],
            ]
            for group, match in zip(groups, matches, strict=True)
        ]
    )
    # One file for each kind of table: the newest of that kind replaces the one before.
    names = _digest([item.name for item in quantities])
    path = store.index_path.with_name(f"table-{names[:16]}.bin")
    kept = read_cache(path, tuple[str, TableEstimates])
    if kept is not None and kept[0] == key:
        return kept[1]
    estimates = estimate_arms(groups, matches, quantities, store, progress)
    # Records that were written a moment ago may change again without showing it.
    if settled(stamps.values()):
        write_cache(path, (key, estimates))
    return estimates


def _records_stamp(store: Store, row: RunRow) -> Stamp:
    # One that cannot be looked at is none: whoever reads it says so of its run alone.
    with contextlib.suppress(OSError):
        return stamp(f"{store.runs_dir}/{row.name}/records.npz")
    return ABSENT


def _row_facts(row: RunRow, quantities: Sequence[Quantity], records: Stamp) -> list[object]:
    values = [row.metric(item.name) for item in quantities]
    return [row.name, row.seed, row.updated, row.metrics.get("records_sha256"), records, values]


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode([code_version(), value])).hexdigest()
