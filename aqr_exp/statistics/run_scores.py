"""Scores and ground truths of runs from their match records, with a cache of the user's own.

The cache may be deleted at any time. A key holds everything that a result depends on, the code included; a
damaged entry counts as absent.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from aqr_exp.config.convert import convert
from aqr_exp.config.identity import as_dict
from aqr_exp.config.schema.description import DataDescription
from aqr_exp.errors import AqrExpError
from aqr_exp.evaluate.conditions import CONDITIONS, DataCondition
from aqr_exp.evaluate.records import MatchRecords, read_records
from aqr_exp.evaluate.scorer import Scores
from aqr_exp.files.arrays import read_arrays, write_arrays
from aqr_exp.files.atomic import plain, replace_json
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.files.reading import file_sha256, read_json
from aqr_exp.statistics.metrics import CLASS_AP, GROUND_TRUTHS
from aqr_exp.statistics.resampling import ResampledRun, Resampling, resample, scene_part
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store

_CODE_PACKAGES = ("aqr_exp.statistics", "aqr_exp.evaluate", "aqr_exp.config.schema.description")


class InferenceCache:
    """Entries by key, in a folder that is made with the first entry."""

    def __init__(self, store: Store) -> None:
        self.path = store.cache_dir / "inference"

    def read(self, key: str) -> dict[str, Any] | None:
        """A small entry; None where there is none or it is damaged."""
        try:
            entry = read_json(self._json_path(key), follow=False)
        except AqrExpError:
            return None
        content = entry.get("content")
        if not isinstance(content, dict) or entry.get("sha256") != _digest([key, content]):
            return None
        return content

    def keep(self, key: str, content: Mapping[str, Any]) -> None:
        """Keep a small entry of plain values; where the folder cannot be written to, nothing is kept."""
        value = plain(content)
        path = self._json_path(key)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_json(path, {"sha256": _digest([key, value]), "content": value})

    def _json_path(self, key: str) -> Path:
        return self.path / "results" / f"{key}.json"


def cache_key(**parts: Any) -> str:
    """A name for the result of these plain values and of the code."""
    return _digest({"code": code_version(), **plain(parts)})


@lru_cache
def code_version() -> str:
    """A fingerprint of the code that turns records into results.

    Raises:
        RuntimeError: A package that is named here has no source files: nothing would be hashed, and
            results of other code would be served.
    """
    digest = hashlib.sha256()
    for name in _CODE_PACKAGES:
        spec = find_spec(name)
        folders = (spec.submodule_search_locations or []) if spec else []
        files = [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
        if spec and not folders and spec.origin:
            files = [Path(spec.origin)]
        if not files:
            raise RuntimeError(f"no source files of {name}: cached results cannot be told apart")
        for path in files:
            digest.update(f"{name}/{path.name}".encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


_KIND = "resampled scores, form 3"


class MissingRecordsError(AqrExpError):
    """A run has no usable records.

    Attributes:
        temporary: Whether its metrics name records: they were there, and may be there again.
    """

    def __init__(self, run: str, reason: str, *, temporary: bool = True) -> None:
        super().__init__(f"{run}: {reason}")
        self.run = run
        self.reason = reason
        self.temporary = temporary


def records_digest(store: Store, row: RunRow) -> str | None:
    """The SHA-256 of a run's records that its metrics name; None without records.

    Metrics of older versions do not name them: there it is that of the file.
    """
    named = row.metrics.get("records_sha256")
    if isinstance(named, str) or row.verified:
        return named
    with suppress(OSError):
        return file_sha256(store.folder(row.name).records_path)
    return None


def scored_records(store: Store, row: RunRow) -> MatchRecords:
    """A run's records, checked to be those that its metrics were computed from.

    Raises:
        MissingRecordsError: There are none, or they are damaged or others than those scored.
    """
    digest = records_digest(store, row)
    if digest is None:
        raise MissingRecordsError(row.name, "no match records", temporary=False)
    path = store.folder(row.name).records_path
    try:
        found = file_sha256(path)
    except FileNotFoundError:
        raise MissingRecordsError(row.name, f"its {path.name} is missing") from None
    except OSError as error:
        raise MissingRecordsError(row.name, f"its {path.name} cannot be read") from error
    if found != digest:
        raise MissingRecordsError(row.name, f"its {path.name} is not what it was scored from")
    try:
        return read_records(path)
    except AqrExpError as error:
        raise MissingRecordsError(row.name, f"its {path.name} is damaged") from error


@dataclass(frozen=True, kw_only=True)
class RunScores:
    """Resampled scores of runs; what is not in the cache is computed and kept.

    Attributes:
        progress: Gets (done, total) evaluations of each run that is computed.
    """

    store: Store
    settings: Resampling
    progress: Progress = no_progress

    def of(self, row: RunRow, condition: DataCondition) -> ResampledRun:
        """A run's scores under resamples of its scenes, on a part of the data.

        Raises:
            MissingRecordsError: There are no records, or they are damaged or others than those scored.
        """
        part = scene_part(condition)
        key = self._key(records_digest(self.store, row), part)
        kept = self._read(key)
        if kept is not None:
            return kept
        records = scored_records(self.store, row)
        if part.table not in records.tables:
            name = self.store.folder(row.name).records_path.name
            raise MissingRecordsError(row.name, f"its {name} holds no '{part.table}'")
        result = resample(records, part, self.settings, self.progress)
        self._keep(key, result)
        return result

    def missing(
        self, rows: Sequence[RunRow], conditions: Sequence[DataCondition]
    ) -> list[tuple[RunRow, DataCondition]]:
        """The runs and parts of the data that are not in the cache."""
        found: dict[str, tuple[RunRow, DataCondition]] = {}
        for row in rows:
            digest = records_digest(self.store, row)
            for condition in conditions if digest else ():
                key = self._key(digest, scene_part(condition))
                if not self._path(key).exists():
                    found[key] = (row, condition)
        return list(found.values())

    def _key(self, digest: str | None, part: DataCondition) -> str:
        draws = (self.settings.resamples, self.settings.seed)
        return cache_key(records=digest, part=asdict(part), draws=draws)

    def _path(self, key: str) -> Path:
        return InferenceCache(self.store).path / "runs" / f"{key}.npz"

    def _read(self, key: str) -> ResampledRun | None:
        try:
            arrays, header = read_arrays(self._path(key), f"{_KIND} of {key}")
        except AqrExpError:
            return None
        truths = arrays.pop("scene_truths")
        description = convert(DataDescription, header["description"])
        scores = Scores(**arrays, description=description)
        return ResampledRun(
            scores=scores, scene_truths=truths, samples_digest=header["samples_digest"]
        )

    def _keep(self, key: str, result: ResampledRun) -> None:
        path = self._path(key)
        arrays = {**vars(result.scores), "scene_truths": result.scene_truths}
        described = as_dict(arrays.pop("description"))
        header = {"samples_digest": result.samples_digest, "description": described}
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_arrays(path, f"{_KIND} of {key}", arrays, header)


def prepare(
    rows: Sequence[RunRow],
    conditions: Sequence[DataCondition],
    *,
    store: Store,
    settings: Resampling,
    progress: Progress = no_progress,
) -> None:
    """Compute and keep whatever comparisons of these runs will need, with one account of progress.

    Args:
        conditions: Parts of the data; `DataCondition()` is all of it.
        progress: Gets (done, total) resamples; never called when nothing is missing.
    """
    todo = RunScores(store=store, settings=settings).missing(rows, conditions)
    total = len(todo) * settings.resamples
    for place, (row, condition) in enumerate(todo):

        def report(done: int, of: int, before: int = place) -> None:
            progress(before * settings.resamples + settings.resamples * done // of, total)

        scores = RunScores(store=store, settings=settings, progress=report)
        with suppress(MissingRecordsError):
            scores.of(row, condition)


class GroundTruths:
    """Counts the ground truths that a metric rests on: those of its classes under its condition.

    Args:
        store: Where match records are; without it, only the counts in `metrics.json` are known.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._known: dict[str, Mapping[str, Mapping[str, int]]] = {}

    def of(self, rows: Sequence[RunRow], metric: str, condition: str | None) -> set[int]:
        """The counts that some runs were measured on.

        Args:
            metric: An AP counts the boxes of its class, other metrics those of all classes that the
                condition can hold.
            condition: A name of `CONDITIONS`; None for all of the data.
        """
        counts = (self._count(row, metric, condition) for row in rows)
        return {count for count in counts if count is not None}

    def _count(self, row: RunRow, metric: str, condition: str | None) -> int | None:
        if condition is None:
            given = [name for name in row.metrics if name.startswith(GROUND_TRUTHS)]
            if metric.startswith(CLASS_AP):
                name = GROUND_TRUTHS + metric.removeprefix(CLASS_AP)
                given = [name] if name in given else []
            return int(sum(row.metric(name) or 0.0 for name in given)) if given else None
        counts = self._by_condition(row).get(condition, {})
        name = metric.removeprefix(CLASS_AP)
        own = [count for each, count in counts.items() if name in (metric, each)]
        return sum(own) if own else None

    def _by_condition(self, row: RunRow) -> Mapping[str, Mapping[str, int]]:
        """Counts by condition and class that it can hold; none where the records cannot be read."""
        # Runs with one digest have the same boxes.
        key = str(row.metrics.get("records_sha256", row.name))
        if key not in self._known:
            self._known[key] = {}
            if self._store is not None:
                with suppress(AqrExpError):
                    self._known[key] = _truths(scored_records(self._store, row))
        return self._known[key]


def _truths(records: MatchRecords) -> dict[str, dict[str, int]]:
    each = np.ones((1, len(records.samples)), dtype=np.int64)
    names, found = records.description.names, {}
    for name, part in CONDITIONS.items():
        if part.table in records.tables:
            counts = (part.select(records.samples, each) @ records.tables[part.table].truths)[0]
            labels = part.labels(records.description)
            found[name] = {names[at]: int(counts[at]) for at in labels}
    return found
