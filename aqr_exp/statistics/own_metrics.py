"""Own metrics of runs: their values beside those of record, and under resamples of the scenes."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from jaxtyping import Float

from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.evaluate.conditions import DataCondition, sample_weights
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.files.reading import file_sha256
from aqr_exp.files.suggest import some
from aqr_exp.statistics.grouping import check_metric_names
from aqr_exp.statistics.metrics import declare_own, metric_name
from aqr_exp.statistics.resampling import Resampling, drawn_scenes, samples_digest
from aqr_exp.statistics.run_scores import InferenceCache, MissingRecordsError, cache_key
from aqr_exp.store.collect import MEAN_METRICS, RunRow
from aqr_exp.store.run_files import METRICS, check_no_link
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store, results_root
from aqr_exp.store.verify import RunProblem, scored_place

if TYPE_CHECKING:
    from aqr_exp.evaluate.ground_truth import GroundTruth
    from aqr_exp.evaluate.own_metric_files import OwnMetric
    from aqr_exp.evaluate.own_metrics import Facts


@dataclass(frozen=True, kw_only=True, eq=False)
class ResampledOwn:
    """An own metric of a run on a part of the data: as it is, then with scenes drawn again.

    Attributes:
        counted: How many scenes that can be drawn have something to measure.
    """

    values: Float[np.ndarray, " E"]
    counted: int
    samples_digest: str

    def observed(self, *_: Any) -> float:
        """The metric of the data as it is."""
        return float(self.values[0])

    def drawn(self, *_: Any) -> Float[np.ndarray, " R"]:
        """The metric under the resamples."""
        return self.values[1:]

    def scenes(self, *_: Any) -> int:
        """How many scenes count."""
        return self.counted


@dataclass(frozen=True)
class OwnScores:
    """Resampled values of an own metric, as `RunScores` has those of record."""

    metric: str
    condition: str | None
    store: Store
    settings: Resampling

    def of(self, row: RunRow, part: DataCondition) -> ResampledOwn:
        """A run's values under resamples of its scenes.

        Raises:
            MissingRecordsError: They are damaged, or the metric's file is needed and not at hand.
        """
        draws = (self.settings.resamples, self.settings.seed)
        facts = [self.metric, self.condition, row.name, row.own[self.metric]]
        key, cache = cache_key(own=facts, draws=draws), InferenceCache(self.store)
        kept = cache.read(key)
        if kept is None:
            kept = self._resampled(row, part)
            cache.keep(key, kept)
        values = np.array([math.nan if one is None else one for one in kept["values"]])
        return ResampledOwn(
            values=values, counted=kept["counted"], samples_digest=kept["samples_digest"]
        )

    def _resampled(self, row: RunRow, part: DataCondition) -> dict[str, Any]:
        from aqr_exp.evaluate.own_metric_files import load_metric, metric_files, source_of
        from aqr_exp.evaluate.own_metrics import read_values

        try:
            facts, values = read_values(own_path(self.store.folder(row.name), self.metric))
        except AqrExpError as error:
            raise MissingRecordsError(row.name, str(error)) from None
        metric = None
        if not facts.divides:
            path = metric_files(*_results(self.store)).get(self.metric)
            if path is None or source_of(path) != facts.source:
                raise MissingRecordsError(row.name, f"the file of {self.metric} is not at hand")
            metric = load_metric(self.metric, *_results(self.store))
        samples = values.samples
        eligible, drawn = drawn_scenes(samples, part, self.settings)
        alone = np.eye(len(samples.scene_names), dtype=np.int64)[eligible]
        found, each = (
            values.numbers(metric, self.condition, sample_weights(samples, scenes))
            for scenes in (drawn, alone)
        )
        return {
            "values": [None if math.isnan(one) else float(one) for one in found],
            "counted": int((~np.isnan(each)).sum()),
            "samples_digest": samples_digest(samples),
        }


def with_own_metrics(
    store: Store, rows: Sequence[RunRow], names: Sequence[str]
) -> tuple[list[RunRow], list[str]]:
    """The rows with the values of those own metrics that are named, and notes on the runs without.

    Args:
        names: Names of metrics; what follows an @ is passed over.

    Raises:
        RequestError: No run has a metric of that name; or of one whose file is not at hand runs have
            values of several editions, which are not to be mixed.
    """
    rows, notes = list(rows), list[str]()
    asked = dict.fromkeys(name.partition("@")[0] for name in names)
    if asked.keys() <= {*MEAN_METRICS}:
        return rows, notes
    from aqr_exp.evaluate.own_metric_files import metric_files, source_of

    taken = set(MEAN_METRICS).union(*(row.metrics for row in rows))
    files = metric_files(*_results(store))
    for name in [name for name in asked if name not in taken and name.isidentifier()]:
        each = {
            row.name: stored_facts(store.folder(row.name), row.metrics, name)
            for row in rows
            if row.completed
        }
        found = {run: facts for run, (facts, _) in each.items() if facts is not None}
        faults = {run: why for run, (_, why) in each.items() if why}
        editions = {facts.source for facts in found.values()}
        edition = source_of(files[name]) if name in files else None
        if edition is None and len(editions) > 1:
            runs = some([*found])
            raise RequestError(
                f"{name}: its file is not at hand, and {runs} have values of several editions of it"
            )
        for run, facts in list(found.items()):
            if edition not in (None, facts.source):
                faults[run] = "its file has changed since"
                del found[run]
        if not found and name not in files:
            continue
        for facts in found.values():
            ends = zip(facts.bounds, (-math.inf, math.inf), strict=True)
            least, most = (end if each is None else each for each, end in ends)
            declare_own(name, facts.less_is_better, (least, most))
        rows = [
            _with_values(row, name, found[row.name]) if row.name in found else row for row in rows
        ]
        remedy = f"`aqr-exp eval RUN... --metric {name}` computes it"
        if not found:
            raise RequestError(f"no run here has {name} yet: {remedy}")
        if edition is None:
            notes.append(f"{name}: its file is not at hand: values as they are stored")
        if faults:
            why = ", ".join(f"{count} {words}" for words, count in Counter(faults.values()).items())
            notes.append(f"{name} is missing in {some([*faults])} ({why}): {remedy}")
    check_metric_names(names, rows, also=files)
    return rows, notes


def stored_facts(
    folder: RunFolder, metrics: Mapping[str, Any], name: str
) -> tuple["Facts | None", str]:
    """What a run's values of an own metric say of themselves; or None and why there are none that count."""
    from aqr_exp.evaluate.own_metrics import read_values

    path = own_path(folder, name)
    if not path.exists():
        return None, "not computed"
    try:
        facts, _ = read_values(path)
    except AqrExpError:
        return None, "damaged"
    of_this = (facts.run, facts.detections) == (folder.name, _detections(folder, metrics))
    return (facts, "") if of_this else (None, "of other detections")


def measure_run(
    folder: RunFolder,
    metric: "OwnMetric",
    result_path: Path,
    truth: "GroundTruth",
    metrics: Mapping[str, Any],
    progress: Progress = no_progress,
    *,
    keep: bool = True,
) -> "Facts":
    """Compute a run's values of an own metric from its result file, and keep them.

    Args:
        metrics: Those of record.

    Raises:
        RequestError: The metric's code or the result file is refused, or the metric's name is taken.
        OSError: Writing failed.
    """
    from aqr_exp.evaluate.own_metrics import facts_of, measure, write_values
    from aqr_exp.evaluate.predictions import read_predictions

    if keep and metric.name in metrics:
        raise RequestError(
            f"{metric.name} is what {METRICS} has already: name the metric otherwise"
        )
    check_no_link(folder.own_metrics_dir)
    values = measure(metric, truth, read_predictions(result_path, truth), progress)
    facts = facts_of(metric, values, folder.name, _detections(folder, metrics))
    if keep:
        write_values(own_path(folder, metric.name), values, facts)
    return facts


def _detections(folder: RunFolder, metrics: Mapping[str, Any]) -> str:
    """The SHA-256 of a run's result file, which older versions do not name; empty without one."""
    named = metrics.get("predictions_sha256")
    if isinstance(named, str):
        return named
    try:
        return file_sha256(folder.predictions_path(str(metrics.get("split"))))
    except OSError:
        return ""


def own_problems(store: Store, row: RunRow, name: str) -> list[RunProblem]:
    """What does not hold in a run's values of an own metric, computed again from its result file."""
    from aqr_exp.evaluate.ground_truth import load_ground_truth
    from aqr_exp.evaluate.own_metric_files import load_metric

    folder = store.folder(row.name)
    if name not in row.own:
        return []
    try:
        path, *place = scored_place(folder, row.metrics, row.record.get("data") or {})
        truth = load_ground_truth(*place)  # type: ignore[arg-type]
        metric = load_metric(name, *_results(store))
        found = measure_run(folder, metric, path, truth, row.metrics, keep=False).values
    except AqrExpError as error:
        return [RunProblem(text=f"{row.name}: {name} is not recomputed: {error}", metric=name)]
    stored = {part: row.metric(metric_name(name, part or None)) for part in found}
    return [
        RunProblem(text=f"{row.name}: {name} is {stored[part]}, {one} when recomputed", metric=name)
        for part, one in found.items()
        if one != stored[part]
    ]


def _results(store: Store) -> tuple[Path, Path]:
    """Results folders, whose code is never run: the one in use and that of the environment."""
    return store.root, results_root()


def own_path(folder: RunFolder, name: str) -> Path:
    """The file of a run's values of an own metric."""
    return folder.own_metrics_dir / f"{name}.npz"


def _with_values(row: RunRow, name: str, facts: "Facts") -> RunRow:
    values = {metric_name(name, part or None): value for part, value in facts.values.items()}
    return msgspec.structs.replace(
        row,
        metrics={**row.metrics, **values},
        own={**row.own, name: f"{facts.source} of {facts.detections}"},
    )
