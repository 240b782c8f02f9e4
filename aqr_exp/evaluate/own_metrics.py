"""Values of metrics of one's own: a function of one sample's boxes, whose numbers are summed over samples.

Values are kept sample by sample, so that samples can be selected
and scenes drawn again, exactly. Letters: S samples, N boxes, P rows of K numbers, R weightings.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float, Int

from aqr_exp.errors import AqrExpError
from aqr_exp.evaluate.boxes import Boxes, ego_distances, yaws
from aqr_exp.evaluate.conditions import CONDITIONS, DataCondition
from aqr_exp.evaluate.evaluation import tables
from aqr_exp.evaluate.ground_truth import GroundTruth
from aqr_exp.evaluate.matching import matches
from aqr_exp.evaluate.own_metric_files import OwnMetric, own_code
from aqr_exp.evaluate.predictions import Predictions
from aqr_exp.evaluate.records import BANDS_M, WHOLE, SplitSamples
from aqr_exp.files.arrays import read_arrays, write_arrays
from aqr_exp.files.progress import Progress, no_progress


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
                metric.refuse(f"gives other numbers the second time (sample {sample.token})")
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
        metric.refuse(f"measure gives {_form(found)}, not {wanted}{about}")
    rows = found.astype(np.float64).reshape(-1, found.shape[-1])
    allowed = width or (2 if metric.number is None else rows.shape[1])
    if rows.shape[1] != allowed:
        why = "" if metric.number else ", a numerator and a denominator, or a function number"
        metric.refuse(f"measure gives {rows.shape[1]} numbers, not {allowed}{why}{about}")
    if not np.isfinite(rows).all():
        metric.refuse(f"measure gives {rows[~np.isfinite(rows)][0]}{about}")
    if metric.number is None and rows[0, 1] < 0:
        metric.refuse(f"measure gives the negative denominator {rows[0, 1]:g}{about}")
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
        metric.refuse(f"number gives {_form(found)}, not a number or NaN")
    least, most = metric.bounds
    if not (np.isnan(found).all() or (np.isfinite(found).all() and least <= found <= most)):
        metric.refuse(f"number gives {found.item()}, not within {metric.bounds} or NaN")
    return float(found.item())


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
