"""What a table measured, kept for the next time: thousands of comparisons then cost one file.

The cache holds what the last table of each kind was made of, and is as good as none once a run, its match
records, an opponent or the code differs. It may be deleted at any time.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from aqr_exp.errors import AqrExpError
from aqr_exp.results.cache_file import read_cache, write_cache
from aqr_exp.results.collect import RunRow
from aqr_exp.results.inference.cache import code_version
from aqr_exp.results.stamp import Stamp, settled, stamp
from aqr_exp.results.store import Store
from aqr_exp.results.tables.arms import Group
from aqr_exp.results.tables.baselines import Opponent
from aqr_exp.results.tables.measures import Measures, Step, measure
from aqr_exp.results.tables.quantities import Quantity


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
    step: Step | None = None,
) -> Measures:
    """As `measure`, from the cache where nothing it depends on has changed.

    Args:
        groups: The arms.
        opponents: What each is compared with.
        quantities: What is measured.
        store: Where the runs are, and the cache.
        step: Told about progress.
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
    measures = measure(groups, opponents, quantities, store, step)
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
