"""What a table is made of: arms, what each is compared with, and what is measured of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from aqr_exp.errors import AqrExpError
from aqr_exp.files.cache import Stamp, read_cache, settled, stamp, write_cache
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.report.tables.arms import Group, arm_name
from aqr_exp.report.tables.baselines import Opponent
from aqr_exp.report.tables.measures import Measured, Measures, measure
from aqr_exp.report.tables.request import Quantity
from aqr_exp.statistics.run_scores import code_version
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One line of a table, or one line a block.

    Attributes:
        group: Its runs, one a seed.
        opponent: What it is compared with.
        measured: Its means, and its differences to the opponent.
    """

    group: Group
    opponent: Opponent
    measured: Measured

    @property
    def first(self) -> RunRow:
        """The run that stands for what all of them share."""
        return self.group[0]

    @property
    def name(self) -> str:
        """In words."""
        return arm_name(self.group)


@dataclass(frozen=True, kw_only=True)
class Study:
    """All arms of a table.

    Attributes:
        arms: In the order of the lines.
        quantities: What is measured, in the order of the columns or blocks.
        seeds_for_wanted: See `Measures`.
        left_out: Runs that are not in it, by name and reason.
    """

    arms: Sequence[Arm]
    quantities: Sequence[Quantity]
    seeds_for_wanted: dict[str, int | None] = field(default_factory=dict)
    left_out: Sequence[str] = ()

    @property
    def groups(self) -> list[Group]:
        """The arms' runs."""
        return [arm.group for arm in self.arms]

    @property
    def compares(self) -> bool:
        """Whether any arm is, or should have been, compared with another."""
        return any(arm.opponent.group or arm.opponent.reason for arm in self.arms)


def study_of(
    groups: Sequence[Group],
    opponents: Sequence[Opponent],
    quantities: Sequence[Quantity],
    measures: Measures,
    left_out: Sequence[str],
) -> Study:
    """Put together what belongs to each arm.

    Args:
        groups: The arms.
        opponents: What each is compared with.
        quantities: What was measured.
        measures: The numbers.
        left_out: Runs that are not among them.
    """
    arms = [
        Arm(group=group, opponent=opponent, measured=measured)
        for group, opponent, measured in zip(groups, opponents, measures.arms, strict=True)
    ]
    return Study(
        arms=arms,
        quantities=quantities,
        seeds_for_wanted=measures.seeds_for_wanted,
        left_out=left_out,
    )


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What the cache holds.

    Attributes:
        key: The digest of all that the measures depend on.
        measures: The measures.
    """

    key: str
    measures: Measures


def measured_once(
    groups: Sequence[Group],
    opponents: Sequence[Opponent],
    quantities: Sequence[Quantity],
    store: Store,
    progress: Progress = no_progress,
) -> Measures:
    """As `measure`, from the cache where nothing it depends on has changed.

    Args:
        groups: The arms.
        opponents: What each is compared with.
        quantities: What is measured.
        store: Where the runs are, and the cache.
        progress: Called with the arms or runs done, and all.
    """
    stamps = {row.name: _records_stamp(store, row) for group in groups for row in group}
    key = _digest(
        [
            _facts(group, opponent, quantities, stamps)
            for group, opponent in zip(groups, opponents, strict=True)
        ]
    )
    path = _path(store, quantities)
    kept = read_cache(path, Kept)
    if kept is not None and kept.key == key:
        return kept.measures
    measures = measure(groups, opponents, quantities, store, progress)
    # Records that were written a moment ago may change again without showing it.
    if settled(stamps.values()):
        write_cache(path, Kept(key=key, measures=measures))
    return measures


def _path(store: Store, quantities: Sequence[Quantity]) -> Path:
    """One file for each kind of table: the newest of that kind replaces the one before."""
    names = _digest([item.name for item in quantities])
    return store.index_path.with_name(f"table-{names[:16]}.bin")


def _records_stamp(store: Store, row: RunRow) -> Stamp:
    try:
        return stamp(f"{store.runs_dir}/{row.name}/records.npz")
    except OSError as error:
        raise AqrExpError(f"{error.filename} cannot be read: {error.strerror}") from None


def _facts(
    group: Group,
    opponent: Opponent,
    quantities: Sequence[Quantity],
    stamps: dict[str, Stamp],
) -> list[object]:
    """What an arm's measures depend on."""
    others = [row.name for row in opponent.group or ()]
    return [others, [_row_facts(row, quantities, stamps[row.name]) for row in group]]


def _row_facts(row: RunRow, quantities: Sequence[Quantity], records: Stamp) -> list[object]:
    values = [row.metric(item.name) for item in quantities]
    return [row.name, row.seed, row.updated, row.metrics.get("records_sha256"), records, values]


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode([code_version(), value])).hexdigest()
