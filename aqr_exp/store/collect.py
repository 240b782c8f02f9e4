"""Collection: one row for each run of a store, through an index so that thousands read one file.

The folders stay the truth: a row is used only while each of the files it was read from has the same
inode, size and times. The index may be deleted at any moment, and is: a damaged one, or one of another
version, is as good as none. It is replaced in one step, so several processes may write it at once:
the last one wins, and what it did not know is read again. Where it cannot be written there is none.
"""

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from aqr_exp.config import IMPORTED, MODULES, SOURCES
from aqr_exp.errors import AqrExpError, is_shortage
from aqr_exp.files.cache import ABSENT, Stamp, read_cache, settled, stamp, write_cache
from aqr_exp.store.run_files import (
    IDENTIFYING,
    METRICS,
    MetricsFile,
    check_sizes,
    read_metrics_file,
    read_spec_text,
)
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import NOT_CACHED, RunStatus
from aqr_exp.store.store import Store

# Reading so many runs anew, or so large a part of them, costs about as much as writing the index.
WORTH_RUNS, WORTH_PART = 16, 0.02
PEAK_MEMORY = "peak_memory_mb"
PEAK_GPU_MEMORY = "peak_gpu_memory_mb"
FINAL_SCALE = "aqr/final_scale"
# Where text would be damage; classes and conditions are recognised by their beginnings.
NUMERIC = ("train_time_s", PEAK_MEMORY, PEAK_GPU_MEMORY, "AP/", "gt/", "stability/")
MEAN_METRICS = ("mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE")
AVERAGED_METRIC = re.compile(r"(mAP|NDS)_(ema|last[1-9]\d*)")
"""Names of what averages over a training: its weights, or its last evaluations."""


UNVERIFIED = "unverified"
"""The word beside numbers of runs whose files do not say of which run they are."""


class RunRow(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The content of one run's folder, as tables need it and as the index keeps it.

    Attributes:
        status: Its effective status; damaged when a file cannot be read.
        reason: Why it failed, was cancelled or cannot be read.
        attempt: How often it was started.
        updated: When its state was last written.
        record: `record.json`; empty when damaged.
        metrics: `metrics.json` of a completed run; empty otherwise.
        sizes: Bytes of the larger files by path in the run's folder, as they were on completion.
        verified: Whether every file the row was read from is certainly of this run; those of older
            versions do not say.
        own: Of own metrics whose values were added to `metrics`, the hashes of what computed them.
    """

    name: str
    status: RunStatus
    reason: str | None = None
    attempt: int = 1
    updated: str = ""
    record: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    verified: bool = False
    own: dict[str, str] = {}

    @property
    def resumed(self) -> int:
        """The number of restarts after the first start."""
        return self.attempt - 1

    @property
    def completed(self) -> bool:
        """Whether the row has metrics of record."""
        return self.status is RunStatus.COMPLETED

    @property
    def variant(self) -> str:
        """The arm of the comparison."""
        return str(self.record.get("variant", "?"))

    @property
    def fingerprint(self) -> str:
        """The identity without the seed."""
        return str(self.record.get("fingerprint", "?"))

    @property
    def preset(self) -> str:
        """The preset it was asked for with."""
        return str(self.record.get("preset", "?"))

    @property
    def seed(self) -> int | None:
        """The replicate."""
        seed = self.record.get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def overrides(self) -> str:
        """The overrides as typed, except the seed."""
        typed = self.record.get("overrides")
        words = map(str, typed if isinstance(typed, list) else [])
        return " ".join(word for word in words if not word.startswith("seed="))

    @property
    def synthetic(self) -> bool:
        """Whether it was scored on synthetic data."""
        return self.metrics.get("synthetic") is True

    @property
    def imported(self) -> bool:
        """Whether a result file of another detector was scored here: nothing is known of its training."""
        return IMPORTED in self.record

    @property
    def data(self) -> str:
        """The split it was scored on, marked when synthetic."""
        split = str(self.metrics.get("split", "?"))
        return f"{split} (synthetic)" if self.synthetic else split

    @property
    def setting(self) -> str | None:
        """The setting that comparable arms share; None when unknown."""
        setting = self.record.get("setting")
        return setting if isinstance(setting, str) else None

    @property
    def hardware(self) -> dict[str, Any]:
        """The hardware facts that its training time depends on; empty when unknown."""
        hardware = self.record.get("hardware")
        return hardware if isinstance(hardware, dict) else {}

    @property
    def modules(self) -> dict[str, str]:
        """The hash of each module of the package that it may have loaded; empty when unknown."""
        code = self.record.get("code")
        found: dict[str, str] = code.get(MODULES, {}) if isinstance(code, dict) else {}
        return found

    @property
    def edition(self) -> str:
        """A few digits of the hash of its idea's sources; empty of a shipped variant."""
        sources = self.record.get(SOURCES)
        return str(sources.get("digest", ""))[:4] if isinstance(sources, dict) else ""

    @property
    def final_scales(self) -> list[float]:
        """The bias scale training ended with, one or several; empty for a run without."""
        scales = _flat(self.metrics.get(FINAL_SCALE))
        return [float(value) for value in scales if value is not None]

    def metric(self, name: str) -> float | None:
        """A metric's value; None when it is absent or was no number."""
        value = self.metrics.get(name)
        return float(value) if isinstance(value, (int, float)) else None


Entry = tuple[list[Stamp], RunRow]
"""A row, and the stamps of the files it was read from."""


class Index(msgspec.Struct, frozen=True, array_like=True):
    """What is cached: sets of modules, each once, and rows whose records have the number of theirs."""

    modules: list[dict[str, str]]
    entries: list[Entry]


def read_row(folder: RunFolder) -> RunRow:
    """One run's row; whatever is wrong with its files becomes status and reason.

    Raises:
        OSError: As `is_shortage` has it.
    """
    try:
        return _read_row(folder)
    except (AqrExpError, OSError) as error:
        if isinstance(error, OSError) and is_shortage(error):
            raise
        return RunRow(name=folder.name, status=RunStatus.DAMAGED, reason=str(error))


def intact_row(folder: RunFolder) -> RunRow:
    """One run's row.

    Raises:
        AqrExpError: A file is damaged; names it.
    """
    row = read_row(folder)
    if row.status is RunStatus.DAMAGED:
        raise AqrExpError(row.reason or f"{folder.path} is damaged")
    return row


def _read_row(folder: RunFolder) -> RunRow:
    stored = folder.read_checked_state()
    state, status = stored.value, folder.effective_status()
    if status is not state.status:
        state = folder.read_state()  # it may have ended between the two looks
    record = folder.read_checked_record()
    check_modules(record.value, folder.record_path)
    verified = [stored.verified, record.verified, read_spec_text(folder).verified]
    measured = MetricsFile(metrics={}, files={}, verified=True)
    if status is RunStatus.COMPLETED:
        measured = read_metrics_file(folder)
        check_numbers(measured.metrics, folder.metrics_path)
        check_sizes(str(folder.path), measured.sizes)
    reason = state.reason
    if status is RunStatus.INTERRUPTED is not state.status:
        reason = "its process ended without saying so"
    elif status is RunStatus.UNKNOWN:
        reason = f"held by {folder.owner()}"
    return RunRow(
        name=folder.name,
        status=status,
        reason=reason,
        attempt=state.attempt,
        updated=state.updated,
        record=record.value,
        metrics=measured.metrics,
        sizes=measured.sizes,
        verified=all(verified) and measured.verified,
    )


def check_modules(record: Mapping[str, Any], where: Path) -> None:
    """Refuse a record whose modules are no hashes by name; one of an older version has none.

    Raises:
        AqrExpError: Names the file.
    """
    code = record.get("code")
    try:
        msgspec.convert(code.get(MODULES, {}) if isinstance(code, dict) else {}, dict[str, str])
    except msgspec.ValidationError:
        raise AqrExpError(f"{where} is damaged: {MODULES} does not name modules") from None


def check_numbers(metrics: dict[str, Any], where: Path) -> None:
    """Refuse metrics that hold text where a number belongs.

    Raises:
        AqrExpError: Names file, metric and value.
    """
    for name, value in metrics.items():
        numeric = (
            name in MEAN_METRICS or name.startswith(NUMERIC) or AVERAGED_METRIC.fullmatch(name)
        )
        if numeric and not (value is None or _is_number(value)):
            raise AqrExpError(f"{where} is damaged: {name} is {value!r}, not a number")
    scales = _flat(metrics.get(FINAL_SCALE))
    if not all(value is None or _is_number(value) for value in scales):
        raise AqrExpError(f"{where} is damaged: {FINAL_SCALE} is {scales!r}, not numbers")


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _flat(value: Any) -> list[Any]:
    """A value, or the values of nested lists, in order."""
    if not isinstance(value, list):
        return [value]
    return [item for part in value for item in _flat(part)]


def collect(store: Store) -> list[RunRow]:
    """Every run of a store, in the order of their names.

    What the index knows and what has not changed since is not read again; runs that somebody may be
    working on always are.
    """
    index = _unpacked(read_cache(store.index_path, Index))
    known = {row.name: (stamps, row) for stamps, row in index}
    rows: list[RunRow] = []
    kept: dict[str, Entry] = {}
    fresh = 0
    for name in store.folder_names():
        folder = f"{store.runs_dir}/{name}"
        stamps = _stamps(folder)
        if stamps is not None and all(found == ABSENT for found in stamps[: len(IDENTIFYING)]):
            continue
        entry = known.get(name)
        if entry is not None and _is_current(entry, stamps, folder):
            kept[name] = entry
            rows.append(entry[1])
            continue
        row = read_row(store.folder(name))
        rows.append(row)
        if stamps is not None and row.status not in NOT_CACHED and settled(stamps):
            kept[name] = (stamps, row)
            fresh += 1
    changed = fresh + len(known.keys() - kept.keys())
    if changed >= max(WORTH_RUNS, WORTH_PART * len(rows)):
        write_cache(store.index_path, _packed(kept.values()))
    return rows


def _packed(entries: Iterable[Entry]) -> Index:
    numbers: dict[tuple[tuple[str, str], ...], int] = {}
    packed = []
    for stamps, row in entries:
        if row.modules:
            number = numbers.setdefault(tuple(row.modules.items()), len(numbers))
            code = row.record["code"] | {MODULES: number}
            packed.append(
                (stamps, msgspec.structs.replace(row, record=row.record | {"code": code}))
            )
        else:
            packed.append((stamps, row))
    return Index([dict(items) for items in numbers], packed)


def _unpacked(index: Index | None) -> list[Entry]:
    if index is None:
        return []
    for _, row in index.entries:
        code = row.record.get("code")
        if isinstance(code, dict) and isinstance(code.get(MODULES), int):
            code[MODULES] = index.modules[code[MODULES]]
    return index.entries


def _stamps(folder: str) -> list[Stamp] | None:
    """Of the files a row is read from; None when they cannot be looked at."""
    try:
        if os.path.islink(folder):  # noqa: PTH114 - ten thousand of these
            return None
        return [stamp(f"{folder}/{name}") for name in (*IDENTIFYING, METRICS)]
    except OSError:
        return None


def _is_current(entry: Entry, stamps: list[Stamp] | None, folder: str) -> bool:
    known, row = entry
    try:
        check_sizes(folder, row.sizes)
    except AqrExpError:
        return False
    return known == stamps


def with_settings(store: Store, rows: Sequence[RunRow]) -> list[RunRow]:
    """The rows, with `setting` and `hardware` that older records lack read from specifications.

    Where a specification is damaged they stay unknown.
    """
    return [
        _with_setting(store.folder(row.name), row) if row.completed and row.setting is None else row
        for row in rows
    ]


def _with_setting(folder: RunFolder, row: RunRow) -> RunRow:
    from aqr_exp.config.identity import launch_circumstances, setting_fingerprint

    try:
        spec = folder.read_spec()
    except AqrExpError:
        return row
    known: dict[str, Any] = {
        name: row.record[name] for name in ("host", "cpus") if name in row.record
    }
    facts = {
        "setting": setting_fingerprint(spec),
        "hardware": known | launch_circumstances(spec, known),
    }
    return msgspec.structs.replace(row, record=row.record | facts)
