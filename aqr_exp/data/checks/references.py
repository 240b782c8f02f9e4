"""Tokens that lead nowhere, chains that are broken and times that do not grow."""

from collections.abc import Iterator
from typing import Any

from aqr_exp.data.checks.fault import Fault
from aqr_exp.data.checks.raw_tables import RawTables
from aqr_exp.data.checks.rows import REFERENCES
from aqr_exp.data.classes import CAMERA_NAMES

CHAINS = ("sample", "sample_annotation", "sample_data")
TIMED_CHAINS = ("sample", "sample_data")
# Cameras turn with the LiDAR's sweep: a keyframe's recordings lie within its tenth of a second.
KEYFRAME_WITHIN_S = 0.2
SENSORS = ("LIDAR_TOP", *CAMERA_NAMES)


def dangling_tokens(tables: RawTables) -> Iterator[Fault]:
    """Every reference to a row that does not exist; those to unreadable tables are passed over."""
    for table, columns in REFERENCES.items():
        for column, target, may_be_empty in columns:
            if table not in tables.rows or target not in tables.rows:
                continue
            known = tables.rows[target]
            for token, row in tables.rows[table].items():
                value = getattr(row, column)
                for other in value if isinstance(value, list) else (value,):
                    if other not in known and not (may_be_empty and not other):
                        cause = f"{column} of {token} is {other or 'empty'}, no {target}"
                        yield tables.fault(table, "dangling token", cause)


def unmapped_logs(tables: RawTables) -> Iterator[Fault]:
    """Logs that no map names: the devkit cannot open such tables."""
    if "map" not in tables.rows or "log" not in tables.rows:
        return
    named = {token for row in tables.rows["map"].values() for token in row.log_tokens}
    for token in tables.rows["log"].keys() - named:
        yield tables.fault("map", "dangling token", f"no map names the log {token}")


def broken_chains(tables: RawTables) -> Iterator[Fault]:
    """Neighbours that do not know each other, and times that do not grow; tokens must be sound."""
    for table in CHAINS:
        rows = tables.rows[table]
        for token, row in rows.items():
            if row.next and rows[row.next].prev != token:
                cause = f"next of {token} is {row.next}, whose prev is {rows[row.next].prev or '-'}"
                yield tables.fault(table, "broken chain", cause)
            elif row.next and table in TIMED_CHAINS and not _grows(row, rows[row.next]):
                cause = f"timestamp of {row.next} is not later than that of {token} before it"
                yield tables.fault(table, "timestamp", cause)
            elif row.prev and rows[row.prev].next != token and rows[row.prev].next == "":
                yield tables.fault(table, "broken chain", f"{row.prev} does not lead to {token}")


def _grows(row: Any, following: Any) -> bool:
    return bool(following.timestamp > row.timestamp)


def scene_ends(tables: RawTables) -> Iterator[Fault]:
    """Scenes whose samples are not as many as they say or do not lead from the first to the last."""
    samples = tables.rows["sample"]
    for token, scene in tables.rows["scene"].items():
        at, last, count = scene.first_sample_token, "", 0
        while at and count <= len(samples):
            count, last, at = count + 1, at, samples[at].next
        if count != scene.nbr_samples or last != scene.last_sample_token:
            cause = (
                f"{scene.name} ({token}) says {scene.nbr_samples} samples, the chain has {count}"
            )
            yield tables.fault("scene", "broken chain", cause)


def incomplete_samples(tables: RawTables) -> Iterator[Fault]:
    """Samples without one of the seven sensors, or whose recordings are of another moment."""
    samples = tables.rows["sample"]
    for token, found in tables.keyframes().items():
        lacking = [name for name in SENSORS if name not in found]
        if lacking:
            cause = f"sample {token} has no keyframe of {', '.join(lacking)}"
            yield tables.fault("sample_data", "incomplete sample", cause)
        for channel, row in found.items():
            away_s = abs(row.timestamp - samples[token].timestamp) / 1e6
            if away_s > KEYFRAME_WITHIN_S:
                cause = f"{channel} {row.token} is {away_s:.3f} s away from its sample {token}"
                yield tables.fault("sample_data", "timestamp", cause)
