"""The arms of a table with their baselines, means and differences; estimates are cached."""

import contextlib
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace

import msgspec

from aqr_exp.files.cache import ABSENT, Stamp, read_cache, settled, stamp, write_cache
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.report.tables.baselines import BaselineMatch
from aqr_exp.report.tables.request import Quantity
from aqr_exp.statistics.differences import (
    DEFAULT,
    arm_intervals,
    compare_arms,
    record_looks,
    standings,
)
from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.grouping import Group, arm_name, further_arms
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.run_scores import code_version
from aqr_exp.statistics.verdicts import ArmDifference
from aqr_exp.store.collect import RunRow
from aqr_exp.store.counting import grouped
from aqr_exp.store.looks import Looks
from aqr_exp.store.store import Store


@dataclass(frozen=True, kw_only=True)
class ArmEstimates:
    """The estimates of one arm, by a quantity's name; an arm compared with nothing has no differences.

    Attributes:
        unrecorded: Why the look at it could not be written down; empty where it was.
    """

    means: dict[str, ArmMean] = field(default_factory=dict)
    differences: dict[str, ArmDifference] = field(default_factory=dict)
    unrecorded: str = ""


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
        left_out: Runs that are not in it, by name and reason.
    """

    arms: Sequence[TableArm]
    quantities: Sequence[Quantity] = ()
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
    settings: Resampling = DEFAULT,
    progress: Progress = no_progress,
    looks: Looks | None = None,
) -> list[ArmEstimates]:
    """Estimate all arms' means and their differences to their baselines.

    Each metric of the arms with one baseline is a family of its own: what else is shown beside it
    changes no verdict. All seeds of arms with the same setting tell of noise.
    """
    found = [ArmEstimates() for _ in groups]
    # Quantities of the same data together: their runs are resampled once.
    for condition in dict.fromkeys(item.condition for item in quantities):
        asked = [item for item in quantities if item.condition == condition]
        metrics = [item.metric for item in asked]
        for done, group in enumerate(groups, start=1):
            ours = arm_intervals(
                group, metrics, store=store, condition=condition, settings=settings
            )
            found[done - 1].means.update({item.name: ours[item.metric] for item in asked})
            progress(done, len(groups))
        for reference, members in _families(matches):
            others = [groups[at] for at in members]
            both = compare_arms(
                reference,
                others,
                metrics,
                further=further_arms(groups, [reference, *others]),
                store=store,
                condition=condition,
                settings=settings,
                looks=looks,
            )
            for place, at in enumerate(members):
                found[at].differences.update({q.name: both[q.metric][place] for q in asked})
    return found


def _families(matches: Sequence[BaselineMatch]) -> list[tuple[Group, list[int]]]:
    """Each reference, and the places of the arms that are compared with it: declared ones are a family."""
    places = grouped(
        [at for at, match in enumerate(matches) if match.group is not None],
        lambda at: (matches[at].undeclared, *(row.name for row in matches[at].group or ())),
    )
    return [(matches[each[0]].group or [], each) for each in places.values()]


def cached_estimates(
    groups: Sequence[Group],
    matches: Sequence[BaselineMatch],
    quantities: Sequence[Quantity],
    store: Store,
    settings: Resampling = DEFAULT,
    progress: Progress = no_progress,
    planned: Collection[str] = (),
) -> list[ArmEstimates]:
    """As `estimate_arms`, from the cache where nothing it depends on has changed; the look is recorded.

    Args:
        planned: The runs of the sweep that the arms are of.
    """
    looks = Looks(store.root, planned)
    found = _cached(groups, matches, quantities, store, settings, progress, looks)
    for reference, members in _families(matches):
        others = [groups[at] for at in members]
        shown = [found[at].differences.values() for at in members]
        for at, why in zip(members, record_looks(looks, reference, others, shown), strict=True):
            found[at] = replace(found[at], unrecorded=why)
    return found


def _cached(
    groups: Sequence[Group],
    matches: Sequence[BaselineMatch],
    quantities: Sequence[Quantity],
    store: Store,
    settings: Resampling,
    progress: Progress,
    looks: Looks,
) -> list[ArmEstimates]:
    stamps = {row.name: _records_stamp(store, row) for group in groups for row in group}
    arms = [
        [
            [str(match.undeclared), *(row.name for row in match.group or ())],
            [_row_facts(row, quantities, stamps[row.name]) for row in group],
        ]
        for group, match in zip(groups, matches, strict=True)
    ]
    seen = [
        [one.stamp for one in standings(store, looks, reference, [groups[at] for at in members])]
        for reference, members in _families(matches)
    ]
    key = _digest([asdict(settings), arms, seen])
    # One file for each kind of table: the newest of that kind replaces the one before.
    names = _digest([item.name for item in quantities])
    path = store.index_path.with_name(f"table-{names[:16]}.bin")
    kept = read_cache(path, tuple[str, list[ArmEstimates]])
    if kept is not None and kept[0] == key:
        return kept[1]
    estimates = estimate_arms(groups, matches, quantities, store, settings, progress, looks)
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
    facts = [row.name, row.seed, row.updated, row.setting, row.data, records, values]
    return [*facts, row.metrics.get("records_sha256"), row.own]


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode([code_version(), value])).hexdigest()
