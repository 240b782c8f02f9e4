"""Detections of a nuScenes result file as arrays, checked before anything is computed.

Letters: P detections.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from pathlib import Path
from types import GenericAlias
from typing import Any, Literal

import msgspec
import numpy as np
from jaxtyping import Float, Int

from aqr_exp.config.schema.description import DataDescription
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.evaluate.boxes import Boxes
from aqr_exp.evaluate.ground_truth import GroundTruth
from aqr_exp.evaluate.protocol import MAX_BOXES
from aqr_exp.files.reading import read_content


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Detections of a whole split, before the benchmark's filters.

    Attributes:
        source: Their origin, for messages.
        boxes: P boxes; of equal scores the later one is ranked first.
        score: Scores in [0, 1].
        place: Index of each among its sample's detections, for messages.
    """

    source: str
    boxes: Boxes
    score: Float[np.ndarray, " P"]
    place: Int[np.ndarray, " P"]

    def take(self, index: np.ndarray) -> "Predictions":
        """The detections at an index or a mask."""
        return Predictions(
            source=self.source,
            boxes=self.boxes.take(index),
            score=self.score[index],
            place=self.place[index],
        )


class _Detection(msgspec.Struct, gc=False):
    """One box of a result file, but for its names; what else it may hold is passed over."""

    sample_token: str
    translation: tuple[float, float, float]
    size: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    velocity: tuple[float, float]
    detection_score: float


class _ResultFile(msgspec.Struct):
    """A result file whose boxes are not decoded yet."""

    meta: msgspec.Raw
    results: dict[str, msgspec.Raw]


_VECTORS = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}
_NUMBERS = ("detection_score", "num_pts")


class _Format:
    """The boxes of result files on data of a description.

    Attributes:
        names: The label of each class, and of each attribute, by field.
        boxes: The type of a sample's boxes.
        decoder: Of their JSON.
    """

    def __init__(self, description: DataDescription) -> None:
        self.names = {
            "detection_name": {name: at for at, name in enumerate(description.names)},
            "attribute_name": {name: at for at, name in enumerate(description.attributes)}
            | {"": -1},
        }
        named: list[Any] = [(name, Literal[tuple(labels)]) for name, labels in self.names.items()]
        fields = [*named, ("num_pts", int, -1)]
        box = msgspec.defstruct("_Box", fields, bases=(_Detection,), gc=False)
        self.boxes: Any = GenericAlias(list, (box,))
        self.decoder = msgspec.json.Decoder(self.boxes)


_format_of = lru_cache(maxsize=8)(_Format)
# Not standard JSON, but Python writes and the devkit reads them, for unknown velocities.
_NOT_JSON = (b"NaN", b"Infinity")


def read_predictions(path: Path, truth: GroundTruth, source: str | None = None) -> Predictions:
    """Read a nuScenes result file, which must cover the split sample by sample.

    Args:
        source: What messages call it; its path by default.

    Raises:
        RequestError: It is missing, no result file, lacks a sample, has one of another split, or a box
            that the benchmark does not allow; names the file and the place.
    """
    source = source or str(path)
    try:
        content = read_content(path)
    except AqrExpError as error:
        raise RequestError(str(error)) from None
    try:
        try:
            results: Mapping[str, Any] = msgspec.json.decode(content, type=_ResultFile).results
        except (msgspec.DecodeError, UnicodeDecodeError):
            if not any(word in content for word in _NOT_JSON):
                raise
            results = _python_results(content)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{source} is no result file: {error}") from None
    return _collect(source, results, truth)


def _python_results(content: bytes) -> dict[str, Any]:
    """The content of a file with NaN or Infinity in it."""
    value = json.loads(content)
    if not isinstance(value, dict) or "meta" not in value:
        raise ValueError("Object missing required field `meta`")
    if not isinstance(value.get("results"), dict):
        raise ValueError("Expected `object` - at `$.results`")
    return dict(value["results"])


def _collect(source: str, results: Mapping[str, Any], truth: GroundTruth) -> Predictions:
    """Arrays of all samples' boxes, in the order that ranks equal scores."""
    place_of = {token: index for index, token in enumerate(truth.samples.tokens)}
    _check_samples(source, results, place_of, truth.split)
    order = results if truth.keeps_file_order else truth.samples.tokens
    form = _format_of(truth.description)
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("sample", "place", *_VECTORS, *form.names, *_NUMBERS)
    }
    for token in order:
        found = _decode(source, token, results[token], form)
        count = len(found)
        columns["sample"].append(np.full(count, place_of[token]))
        columns["place"].append(np.arange(count))
        for name, width in _VECTORS.items():
            numbers = chain.from_iterable(map(attrgetter(name), found))
            columns[name].append(np.fromiter(numbers, np.float64, count * width))
        for name, labels in form.names.items():
            indices = map(labels.__getitem__, map(attrgetter(name), found))
            columns[name].append(np.fromiter(indices, np.int64, count))
        for name in _NUMBERS:
            columns[name].append(np.fromiter(map(attrgetter(name), found), np.float64, count))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    boxes = Boxes(
        sample=joined["sample"],
        label=joined["detection_name"],
        centre=joined["translation"].reshape(-1, 3),
        size=joined["size"].reshape(-1, 3),
        rotation=joined["rotation"].reshape(-1, 4),
        velocity=joined["velocity"].reshape(-1, 2),
        attribute=joined["attribute_name"],
    )
    predictions = Predictions(
        source=source, boxes=boxes, score=joined["detection_score"], place=joined["place"]
    )
    _check_numbers(predictions, truth)
    # As in the benchmark, a box that says it holds no point does not count.
    return predictions.take(joined["num_pts"] != 0)


def _check_samples(
    source: str, results: Mapping[str, Any], place_of: Mapping[str, int], split: str
) -> None:
    faults = {
        "is missing": [token for token in place_of if token not in results],
        f"is not of the split {split}": [token for token in results if token not in place_of],
    }
    for fault, tokens in faults.items():
        if tokens:
            more = f" (and {len(tokens) - 1} more)" if len(tokens) > 1 else ""
            raise RequestError(f"{source}: sample {tokens[0]} {fault}{more}")


def _decode(source: str, token: str, boxes: Any, form: _Format) -> list[_Detection]:
    """One sample's boxes, checked against the format."""
    try:
        if isinstance(boxes, msgspec.Raw):
            found: list[_Detection] = form.decoder.decode(boxes)
        else:
            found = msgspec.convert(boxes, form.boxes)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"{source}: sample {token}{_in_words(str(error), form)}") from None
    if len(found) > MAX_BOXES:
        raise RequestError(f"{source}: sample {token} has {len(found)} boxes (at most {MAX_BOXES})")
    for place, box in enumerate(found):
        if box.sample_token != token:
            raise RequestError(
                f"{source}: sample {token}, box {place}: its sample_token is {box.sample_token}"
            )
    return found


def _in_words(fault: str, form: _Format) -> str:
    """Msgspec's message with the place first and the allowed names."""
    located = re.fullmatch(r"(.*) - at `\$\[(\d+)\]\.?(.*)`", fault)
    if located is None:
        return f": {fault}"
    what, place, field = located.groups()
    known = ", ".join(name or "(empty)" for name in form.names.get(field, ()))
    words = f"{what} (allowed: {known})" if known else what
    return f", box {place}{f', {field}' if field else ''}: {words}"


def _check_numbers(predictions: Predictions, truth: GroundTruth) -> None:
    boxes, score = predictions.boxes, predictions.score
    finite = "finite numbers"
    checks = (
        ("translation", boxes.centre, ~np.isfinite(boxes.centre).all(axis=1), finite),
        ("size", boxes.size, ~np.isfinite(boxes.size).all(axis=1), finite),
        ("rotation", boxes.rotation, ~np.isfinite(boxes.rotation).all(axis=1), finite),
        ("velocity", boxes.velocity, np.isinf(boxes.velocity).any(axis=1), "finite numbers or NaN"),
        ("detection_score", score, ~((score >= 0) & (score <= 1)), "0 to 1"),
    )
    for name, values, wrong, allowed in checks:
        if wrong.any():
            index = int(np.argmax(wrong))
            fault = f"{name}={values[index]} (allowed: {allowed})"
            raise refusal(predictions, truth, index, fault)


def refusal(predictions: Predictions, truth: GroundTruth, index: int, fault: str) -> RequestError:
    """Error that names one detection and its fault."""
    token = truth.samples.tokens[int(predictions.boxes.sample[index])]
    place = int(predictions.place[index])
    return RequestError(f"{predictions.source}: sample {token}, box {place}: {fault}")
