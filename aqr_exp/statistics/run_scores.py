"""What was computed before, below `<results>/.cache/inference`: it may be deleted at any time.

A key holds everything a result depends on, the code included; a damaged entry is no entry.
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

from aqr_exp.errors import AqrExpError
from aqr_exp.evaluate.conditions import DataCondition
from aqr_exp.evaluate.records import read_records
from aqr_exp.evaluate.scorer import Scores
from aqr_exp.files.arrays import read_arrays, write_arrays
from aqr_exp.files.atomic import plain, read_json, replace_json
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.statistics.resampling import Part, ResampledRun, Resampling, resample
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store

_CODE_PACKAGES = ("aqr_exp.statistics", "aqr_exp.evaluate", "aqr_exp.data.classes")


class InferenceCache:
    """Entries by key, in a folder that is made when the first is kept.

    Args:
        store: Whose results.
    """

    def __init__(self, store: Store) -> None:
        self.path = store.root / ".cache" / "inference"

    def json_path(self, key: str) -> Path:
        """Where a small entry is.

        Args:
            key: From `cache_key`.
        """
        return self.path / "results" / f"{key}.json"

    def arrays_path(self, key: str) -> Path:
        """Where an entry of arrays is.

        Args:
            key: From `cache_key`.
        """
        return self.path / "runs" / f"{key}.npz"

    def read(self, key: str) -> dict[str, Any] | None:
        """A small entry; None where there is none or it is damaged.

        Args:
            key: From `cache_key`.
        """
        try:
            entry = read_json(self.json_path(key))
        except AqrExpError:
            return None
        content = entry.get("content")
        if not isinstance(content, dict) or entry.get("sha256") != _digest(content):
            return None
        return content

    def keep(self, key: str, content: Mapping[str, Any]) -> None:
        """Keep a small entry; where the folder cannot be written to, nothing is kept.

        Args:
            key: From `cache_key`.
            content: Plain values.
        """
        value = plain(content)
        path = self.json_path(key)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_json(path, {"sha256": _digest(value), "content": value})


def cache_key(**parts: Any) -> str:
    """A name for what follows from these parts and from the code.

    Args:
        **parts: Plain values.
    """
    return _digest({"code": code_version(), **plain(parts)})


@lru_cache
def code_version() -> str:
    """A fingerprint of the code that turns records into results.

    Raises:
        RuntimeError: If a package that is named here has no source files: nothing would be hashed, and
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


_KIND = "resampled scores, form 1"


class MissingRecordsError(AqrExpError):
    """A run has no usable records.

    Attributes:
        run: Its name.
        reason: Why.
        passing: Whether its metrics name records: then they were there, and may be again.
    """

    def __init__(self, run: str, reason: str, *, passing: bool = True) -> None:
        super().__init__(f"{run}: {reason}")
        self.run = run
        self.reason = reason
        self.passing = passing


def records_digest(store: Store, row: RunRow) -> str | None:
    """What a run's records are known by: the SHA-256 its metrics name, else that of the file.

    Args:
        store: Where the run is.
        row: The run.

    Returns:
        Hex digits; None where there are no records.
    """
    named = row.metrics.get("records_sha256")
    if isinstance(named, str):
        return named
    with suppress(OSError):
        return hashlib.sha256(store.folder(row.name).records_path.read_bytes()).hexdigest()
    return None


@dataclass(frozen=True, kw_only=True)
class RunScores:
    """Gives runs' resampled scores; what is not in the cache is computed and kept.

    Attributes:
        store: Where the runs are.
        settings: How scenes are drawn.
        progress: Told about evaluations done, run by run.
    """

    store: Store
    settings: Resampling
    progress: Progress = no_progress

    def of(self, row: RunRow, condition: DataCondition) -> ResampledRun:
        """A run's scores under resamples of its scenes.

        Args:
            row: The run.
            condition: The part of the data.

        Raises:
            MissingRecordsError: There are no records, or they are damaged or others than those scored.
        """
        digest = records_digest(self.store, row)
        if digest is None:
            raise MissingRecordsError(row.name, "no match records", passing=False)
        part = Part.of(condition)
        key = self._key(digest, part)
        kept = self._read(key)
        return kept if kept is not None else self._compute(row, digest, part, key)

    def missing(
        self, rows: Sequence[RunRow], conditions: Sequence[DataCondition]
    ) -> list[tuple[RunRow, DataCondition]]:
        """What would have to be computed.

        Args:
            rows: Runs.
            conditions: Parts of the data.
        """
        cache = InferenceCache(self.store)
        found: dict[str, tuple[RunRow, DataCondition]] = {}
        for row in rows:
            digest = records_digest(self.store, row)
            for condition in conditions if digest else ():
                key = self._key(str(digest), Part.of(condition))
                if not cache.arrays_path(key).exists():
                    found[key] = (row, condition)
        return list(found.values())

    def _key(self, digest: str, part: Part) -> str:
        draws = (self.settings.resamples, self.settings.seed)
        return cache_key(records=digest, part=asdict(part), draws=draws)

    def _read(self, key: str) -> ResampledRun | None:
        try:
            arrays, header = read_arrays(InferenceCache(self.store).arrays_path(key), _KIND)
        except AqrExpError:
            return None
        scores = Scores(**{name: arrays[name] for name in ("ap", "errors", "truths", "samples")})
        return ResampledRun(
            scores=scores,
            scene_truths=arrays["scene_truths"],
            samples_digest=header["samples_digest"],
            resamples=header["resamples"],
        )

    def _compute(self, row: RunRow, digest: str, part: Part, key: str) -> ResampledRun:
        path = self.store.folder(row.name).records_path
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except FileNotFoundError:
            raise MissingRecordsError(row.name, f"its {path.name} is missing") from None
        except OSError as error:
            raise MissingRecordsError(row.name, f"its {path.name} cannot be read") from error
        if found != digest:
            raise MissingRecordsError(row.name, f"its {path.name} is not what it was scored from")
        try:
            records = read_records(path)
        except AqrExpError as error:
            raise MissingRecordsError(row.name, f"its {path.name} is damaged") from error
        if part.table not in records.tables:
            raise MissingRecordsError(row.name, f"its {path.name} holds no '{part.table}'")
        result = resample(records, part, self.settings, self.progress)
        self._keep(key, result)
        return result

    def _keep(self, key: str, result: ResampledRun) -> None:
        path = InferenceCache(self.store).arrays_path(key)
        arrays: dict[str, np.ndarray] = {**vars(result.scores), "scene_truths": result.scene_truths}
        header = {"samples_digest": result.samples_digest, "resamples": result.resamples}
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_arrays(path, _KIND, arrays, header)


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
        rows: Completed runs.
        conditions: Parts of the data; `Condition()` is all of it.
        store: Where the runs are.
        settings: How scenes are drawn.
        progress: Told (done, total) in resamples; not at all when nothing is missing.
    """
    todo = RunScores(store=store, settings=settings).missing(rows, conditions)
    total = len(todo) * settings.resamples
    for place, (row, condition) in enumerate(todo):

        def report(done: int, of: int, before: int = place) -> None:
            progress(before * settings.resamples + settings.resamples * done // of, total)

        scores = RunScores(store=store, settings=settings, progress=report)
        with suppress(MissingRecordsError):
            scores.of(row, condition)
