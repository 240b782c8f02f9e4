"""Metrics of one's own: a function of one sample's boxes, whose values are summed over samples.

docs/metrics.md tells how to write one. Values are kept sample by sample, so that samples can be selected
and scenes drawn again, exactly. Letters: S samples, N boxes, P rows of K numbers, R weightings.
"""

import io
import json
import math
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType
from typing import Any, NoReturn

import msgspec
import numpy as np
from jaxtyping import Float, Int

from aqr_exp.config.idea_files import FOLDER as IDEAS
from aqr_exp.config.idea_files import (
    IdeaPlace,
    idea_fault,
    name_fault,
    search_folders,
    shown_path,
)
from aqr_exp.config.idea_spec import imported
from aqr_exp.config.identity import short_hash
from aqr_exp.config.sources import Root, closure
from aqr_exp.errors import AqrExpError, Fault, RequestError, cut, shown
from aqr_exp.evaluate.boxes import Boxes, ego_distances, yaws
from aqr_exp.evaluate.conditions import CONDITIONS, DataCondition
from aqr_exp.evaluate.evaluation import tables
from aqr_exp.evaluate.ground_truth import GroundTruth
from aqr_exp.evaluate.matching import matches
from aqr_exp.evaluate.predictions import Predictions
from aqr_exp.evaluate.protocol import ERROR_NAMES
from aqr_exp.evaluate.records import BANDS_M, WHOLE, SplitSamples
from aqr_exp.files.arrays import read_arrays, write_arrays
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.files.suggest import did_you_mean, some
from aqr_exp.files.text import printable


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleBoxes:
    """Boxes of one sample that count in the benchmark; the arrays cannot be written to.

    Attributes:
        name: [N] class, such as `car`.
        centre: [N, 3] (x, y, z) of the middle, global frame, metres.
        size: [N, 3] (width, length, height), metres.
        yaw: [N] heading seen from above, global frame, radians.
        velocity: [N, 2] (x, y), global frame, m/s; NaN where unknown.
        attribute: [N] such as `vehicle.moving`; empty for none.
        distance: [N] from the vehicle to the centre, seen from above, metres.
        score: [N] of a detection, in [0, 1]; of a ground truth 1.
    """

    name: np.ndarray
    centre: np.ndarray
    size: np.ndarray
    yaw: np.ndarray
    velocity: np.ndarray
    attribute: np.ndarray
    distance: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """What a metric is measured on.

    Attributes:
        vehicle: [2] (x, y) of the vehicle, global frame, metres.
        matches: [N, 4] the place among `truths` of what each detection matches at 0.5, 1, 2 and 4 m, as
            the benchmark has it; -1 for none.
    """

    token: str
    vehicle: np.ndarray
    predictions: SampleBoxes
    truths: SampleBoxes
    matches: np.ndarray


@dataclass(frozen=True, kw_only=True)
class OwnMetric:
    """A metric as its file says.

    Attributes:
        source: Hash of what it computes.
        measure: From a sample to K numbers, or where it pools to rows of them.
        number: From their sums, or from all rows and how often each counts, to the metric; None divides
            the first sum by the second.
        bounds: The least and the largest value it can have.
    """

    name: str
    path: Path
    source: str
    less_is_better: bool
    bounds: tuple[float, float]
    measure: Callable[[Sample], Any]
    number: Callable[..., Any] | None

    @property
    def pools(self) -> bool:
        """Whether it needs all rows, not their sums."""
        return self.number is not None and _arguments(self.number) == 2


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a file of values says of them.

    Attributes:
        detections: SHA-256 of the result file.
        divides: Whether the metric is the first sum over the second; else only its file makes a number.
        values: By condition, empty for all data; None where there is nothing to measure.
    """

    run: str
    detections: str
    source: str
    less_is_better: bool
    bounds: tuple[float | None, float | None]
    divides: bool
    values: dict[str, float | None]


Rows = tuple[Int[np.ndarray, " P"], Float[np.ndarray, "P K"]]
"""The sample of each row, and its numbers."""

# Conditions on classes: measured on their boxes alone, as range bands are on theirs.
_SUBSETS = {name: item for name, item in CONDITIONS.items() if item.small is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnValues:
    """A metric's values on a split: rows of all boxes, of each range band, of small and large classes."""

    samples: SplitSamples
    rows: Mapping[str, Rows]

    def numbers(
        self, metric: OwnMetric | None, condition: str | None, weights: Int[np.ndarray, "R S"]
    ) -> Float[np.ndarray, " R"]:
        """The metric under each weighting of the samples; NaN where there is nothing to measure.

        Args:
            metric: None for one that divides its sums.

        Raises:
            RequestError: The metric's own code fails; names the line.
        """
        weights = CONDITIONS.get(condition or "", DataCondition()).select(self.samples, weights)
        apart = condition in BANDS_M or condition in _SUBSETS
        sample, rows = self.rows[condition if condition and apart else WHOLE]
        if metric is not None and metric.pools:
            return np.array([_number(metric, rows, row[sample]) for row in weights])
        # A row at a time: its sum must not depend on the other rows.
        sums = np.array([row[sample].astype(np.float64) @ rows for row in weights])
        sums = sums.reshape(len(weights), rows.shape[1])
        if metric is not None and metric.number is not None:
            return np.array([_number(metric, row) for row in sums])
        known = sums[:, 1] > 0
        return np.where(known, sums[:, 0] / np.where(known, sums[:, 1], 1.0), np.nan)


def measure(
    metric: OwnMetric,
    truth: GroundTruth,
    predictions: Predictions,
    progress: Progress = no_progress,
) -> OwnValues:
    """Measure every sample.

    Raises:
        RequestError: The metric's own code fails, or gives what cannot be summed; names line and sample.
    """
    found: dict[str, Rows] = {}
    parts = list(_parts(truth, predictions))
    for done, (name, boxes, theirs) in enumerate(parts):
        rows: list[np.ndarray] = []
        for at, sample in enumerate(_samples(truth, boxes, theirs)):
            rows.append(_measured(metric, sample, rows[0].shape[1] if rows else None))
            if at == 0 and not np.array_equal(rows[0], _measured(metric, sample, None)):
                _refuse(metric, f"gives other numbers the second time (sample {sample.token})")
            progress(done * len(truth.samples) + at + 1, len(parts) * len(truth.samples))
        place = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
        found[name] = place, np.concatenate(rows)
    return OwnValues(samples=truth.samples, rows=found)


def _parts(
    truth: GroundTruth, predictions: Predictions
) -> Iterator[tuple[str, Boxes, Predictions]]:
    for name, boxes, found in tables(truth, predictions):
        yield name, boxes, found
        for other, part in _SUBSETS.items() if name == WHOLE else ():
            labels = part.labels(truth.description)
            real, theirs = (np.isin(each.label, labels) for each in (boxes, found.boxes))
            yield other, boxes.take(real), found.take(theirs)


def _samples(truth: GroundTruth, boxes: Boxes, found: Predictions) -> Iterator[Sample]:
    found = found.take(np.argsort(found.boxes.sample, kind="stable"))
    place = np.arange(len(truth.samples) + 1)
    ends, truth_ends = (np.searchsorted(each.sample, place) for each in (found.boxes, boxes))
    pairs = matches(truth, boxes, found)
    # From places in the split to those in the sample.
    pairs = np.where(pairs < 0, -1, pairs - truth_ends[found.boxes.sample][:, None])
    theirs = _described(found.boxes, found.score, truth)
    real = _described(boxes, np.ones(len(boxes)), truth)
    pairs, vehicles = _read_only(pairs), _read_only(truth.ego_xy)
    for at, token in enumerate(truth.samples.tokens):
        here, there = slice(*ends[at : at + 2]), slice(*truth_ends[at : at + 2])
        yield Sample(
            token=token,
            vehicle=vehicles[at],
            predictions=SampleBoxes(**{name: each[here] for name, each in theirs.items()}),
            truths=SampleBoxes(**{name: each[there] for name, each in real.items()}),
            matches=pairs[here],
        )


def _described(boxes: Boxes, score: np.ndarray, truth: GroundTruth) -> dict[str, np.ndarray]:
    found = {
        "name": np.array(truth.description.names)[boxes.label],
        "centre": boxes.centre,
        "size": boxes.size,
        "yaw": yaws(boxes.rotation),
        "velocity": boxes.velocity,
        "attribute": np.array((*truth.description.attributes, ""))[boxes.attribute],
        "distance": ego_distances(boxes, truth.ego_xy),
        "score": score,
    }
    return {name: _read_only(value) for name, value in found.items()}


def _read_only(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


def _measured(metric: OwnMetric, sample: Sample, width: int | None) -> Float[np.ndarray, "P K"]:
    """A sample's rows, checked."""
    about = f" (sample {sample.token})"
    with own_code(metric.path, about):
        given = metric.measure(sample)
    found = _array(given)
    if found.dtype.kind not in "biuf" or found.ndim != 1 + metric.pools:
        wanted = "rows of numbers [N, K]" if metric.pools else "numbers [K]"
        _refuse(metric, f"measure gives {_form(found)}, not {wanted}{about}")
    rows = found.astype(np.float64).reshape(-1, found.shape[-1])
    allowed = width or (2 if metric.number is None else rows.shape[1])
    if rows.shape[1] != allowed:
        why = "" if metric.number else ", a numerator and a denominator, or a function number"
        _refuse(metric, f"measure gives {rows.shape[1]} numbers, not {allowed}{why}{about}")
    if not np.isfinite(rows).all():
        _refuse(metric, f"measure gives {rows[~np.isfinite(rows)][0]}{about}")
    if metric.number is None and rows[0, 1] < 0:
        _refuse(metric, f"measure gives the negative denominator {rows[0, 1]:g}{about}")
    return rows


def _array(given: Any) -> np.ndarray:
    try:
        return np.array(given)
    except Exception:  # of rows of several lengths, for one
        return np.array(None)


def _form(found: np.ndarray) -> str:
    kind = "numbers" if found.dtype.kind in "biuf" else f"values of {found.dtype}"
    return f"{kind} {list(found.shape)}"


def _number(metric: OwnMetric, *given: np.ndarray) -> float:
    """The metric of sums, or of rows and how often each counts; checked."""
    assert metric.number is not None  # noqa: S101 - asked where there is one
    with own_code(metric.path, " (over all samples)"):
        one = metric.number(*map(_read_only, given))
    found = _array(one)
    if found.dtype.kind not in "biuf" or found.size != 1:
        _refuse(metric, f"number gives {_form(found)}, not a number or NaN")
    least, most = metric.bounds
    if not (np.isnan(found).all() or (np.isfinite(found).all() and least <= found <= most)):
        _refuse(metric, f"number gives {found.item()}, not within {metric.bounds} or NaN")
    return float(found.item())


MOST_SECONDS = 10.0
"""A metric's own code may take so long at a time."""


class _StopError(BaseException):
    """Stops a metric's own code, which may hold up any `Exception`."""


class _NoOutput(io.TextIOBase):
    def write(self, text: str) -> int:
        raise _StopError(f"prints {cut(text.strip(), 40)!r}")


@contextmanager
def own_code(path: Path, about: str = "") -> Iterator[None]:
    """Let a metric's own code run: it may neither fail nor print, nor take long.

    Raises:
        RequestError: It does; names the line.
    """
    said = _NoOutput()
    try:
        with redirect_stdout(said), redirect_stderr(said), _in_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (Exception, SystemExit, _StopError) as error:
        if isinstance(error, RequestError):
            raise
        fault = idea_fault(error, path)
        words = str(error) if isinstance(error, _StopError) else fault.rule
        raise RequestError(replace(fault, rule=cut(printable(words), 90), hint=about)) from None


@contextmanager
def _in_time() -> Iterator[None]:
    """End what takes long; only a process's main thread can."""

    def stop(*_: Any) -> NoReturn:
        raise _StopError(f"takes more than {MOST_SECONDS:g} s")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _refuse(metric: OwnMetric, rule: str) -> NoReturn:
    _refuse_at(metric.path, metric.measure.__code__.co_firstlineno, rule)


def _refuse_at(path: Path, line: int, rule: str) -> NoReturn:
    raise RequestError(Fault(where=f"{shown_path(path)}:{line}", rule=rule)) from None


FOLDER = "metrics"
"""Of the working folder, in a folder of `$AQR_EXP_PATH`, and beside one of ideas."""


def metric_files(*results: Path) -> dict[str, Path]:
    """The files of own metrics by name, none imported; what lies in a results folder is none.

    Raises:
        RequestError: Two have one name.
    """
    found: dict[str, Path] = {}
    places = [
        place
        for folder in search_folders()
        for place in (
            [folder.parent / FOLDER] if folder.name == IDEAS else [folder / FOLDER, folder]
        )
    ]
    for path in (path for place in places for path in sorted(place.glob("*.py"))):
        other = path.stem.startswith(("_", "test_", "conftest")) or name_fault(path.stem)
        if other or any(path.resolve().is_relative_to(root.resolve()) for root in results):
            continue
        first = found.setdefault(path.stem, path)
        if first.resolve() != path.resolve():
            both = f"{shown_path(first)} and {shown_path(path)}"
            raise RequestError(f"two metrics are named {path.stem}: {both}")
    return found


def source_of(path: Path) -> str:
    """Hash of what a metric computes: its file and what that imports beside it, comments apart.

    Raises:
        RequestError: A file cannot be read; names it.
    """
    try:
        files, _ = closure([path], [Root(path.parent)])
    except AqrExpError as error:
        raise RequestError(str(error)) from None
    names = {os.path.relpath(file, path.parent): it.parsed.digest for file, it in files.items()}
    return short_hash(json.dumps(names, sort_keys=True))


def load_metric(name: str, *results: Path) -> OwnMetric:
    """Import the file of a metric.

    Args:
        results: As of `metric_files`.

    Raises:
        RequestError: There is none, it cannot be imported or is no metric; names the line.
    """
    files = metric_files(*results)
    if name not in files:
        hint = f"{did_you_mean(name, files)} (there: {some(files)})"
        raise RequestError(f"no own metric {shown(name)}: no file {FOLDER}/NAME.py{hint}")
    path = files[name]
    with own_code(path):
        given = vars(imported(IdeaPlace(path, path.stem)))
    better, measure_, number = (given.get(name) for name in ("better", "measure", "number"))
    bounds = given.get("bounds", (0.0 if better == "less" else -math.inf, math.inf))
    wrong = {
        f"{name} is a metric of the benchmark: give it another name": name.lower() in _OFFICIAL,
        "begins with no line that says what it measures": not (given["__doc__"] or "").strip(),
        f"better is {better!r}, not 'more' or 'less'": better not in ("more", "less"),
        "has no function measure(sample)": _arguments(measure_) != 1,
        "number takes sums, or rows and copies": number and _arguments(number) not in (1, 2),
        f"bounds are {cut(repr(bounds))}, not two rising numbers": not _rise(bounds),
    }
    for rule in (rule for rule, holds in wrong.items() if holds):
        _refuse_at(path, 1, rule)
    return OwnMetric(
        name=path.stem,
        path=path,
        source=source_of(path),
        less_is_better=better == "less",
        bounds=bounds,
        measure=measure_,  # type: ignore[arg-type]  # checked above
        number=number,
    )


_OFFICIAL = {name.lower() for name in ("mAP", "NDS", *ERROR_NAMES)}


def _arguments(function: Any) -> int:
    return function.__code__.co_argcount if isinstance(function, FunctionType) else -1


def _rise(bounds: Any) -> bool:
    numbers = isinstance(bounds, tuple) and all(isinstance(each, (int, float)) for each in bounds)
    return numbers and len(bounds) == 2 and bounds[0] < bounds[1]


_KIND = "values of an own metric, form 1"


def facts_of(metric: OwnMetric, values: OwnValues, run: str, detections: str) -> Facts:
    """What a metric's values come to.

    Raises:
        RequestError: The metric's own code fails; names the line.
    """
    once = np.ones((1, len(values.samples)), dtype=np.int64)
    numbers = {
        name or "": float(values.numbers(metric, name, once)[0]) for name in (None, *CONDITIONS)
    }
    least, most = (each if math.isfinite(each) else None for each in metric.bounds)
    return Facts(
        run=run,
        detections=detections,
        source=metric.source,
        less_is_better=metric.less_is_better,
        bounds=(least, most),
        divides=metric.number is None,
        values={name: None if math.isnan(one) else one for name, one in numbers.items()},
    )


def write_values(path: Path, values: OwnValues, facts: Facts) -> None:
    """Write a metric's values to a file, whose folder may be missing."""
    arrays = values.samples.arrays()
    for name, (sample, rows) in values.rows.items():
        arrays |= {f"{name}/sample": sample, f"{name}/rows": rows}
    path.parent.mkdir(exist_ok=True)
    write_arrays(path, _KIND, arrays, msgspec.to_builtins(facts))


def read_values(path: Path) -> tuple[Facts, OwnValues]:
    """Read what `write_values` wrote.

    Raises:
        AqrExpError: It is missing or damaged; names it.
    """
    arrays, header = read_arrays(path, _KIND)
    try:
        del header["kind"]
        samples = SplitSamples.from_arrays(arrays)
        names = (WHOLE, *BANDS_M, *_SUBSETS)
        rows = {name: (arrays[f"{name}/sample"], arrays[f"{name}/rows"]) for name in names}
        for sample, numbers in rows.values():
            np.bincount(sample, minlength=len(samples)).reshape(len(samples))
            numbers.reshape(len(sample), 2 if header["divides"] else numbers.shape[1])
        return msgspec.convert(header, Facts), OwnValues(samples=samples, rows=rows)
    except (msgspec.ValidationError, LookupError, AttributeError, TypeError, ValueError):
        raise AqrExpError(f"{path} is damaged: it holds no values of a metric") from None
