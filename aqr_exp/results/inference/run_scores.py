"""Resampled scores of the runs of a store, from the cache or from their records."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

import numpy as np

from aqr_exp.errors import AqrExpError
from aqr_exp.evaluate.array_file import read_arrays, write_arrays
from aqr_exp.evaluate.conditions import Condition
from aqr_exp.evaluate.records import read_records
from aqr_exp.evaluate.scores import Scores
from aqr_exp.results.collect import RunRow
from aqr_exp.results.inference.cache import InferenceCache, cache_key
from aqr_exp.results.inference.resampling import (
    Part,
    Progress,
    ResampledRun,
    Resampling,
    resample,
)
from aqr_exp.results.store import Store

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
    progress: Progress | None = None

    def of(self, row: RunRow, condition: Condition) -> ResampledRun:
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
        self, rows: Sequence[RunRow], conditions: Sequence[Condition]
    ) -> list[tuple[RunRow, Condition]]:
        """What would have to be computed.

        Args:
            rows: Runs.
            conditions: Parts of the data.
        """
        cache = InferenceCache(self.store)
        found: dict[str, tuple[RunRow, Condition]] = {}
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
    conditions: Sequence[Condition],
    *,
    store: Store,
    settings: Resampling,
    progress: Progress | None = None,
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
            if progress is not None:
                progress(before * settings.resamples + settings.resamples * done // of, total)

        scores = RunScores(store=store, settings=settings, progress=report)
        with suppress(MissingRecordsError):
            scores.of(row, condition)
