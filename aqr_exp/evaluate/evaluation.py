"""Result file to benchmark metrics, without the devkit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aqr_exp.config.identity import as_dict
from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.evaluate.boxes import Boxes, ego_distances, in_racks, in_range
from aqr_exp.evaluate.conditions import RunScorer
from aqr_exp.evaluate.ground_truth import GroundTruth, load_ground_truth
from aqr_exp.evaluate.matching import match
from aqr_exp.evaluate.predictions import Predictions, read_predictions
from aqr_exp.evaluate.protocol import NAME
from aqr_exp.evaluate.records import BANDS_M, WHOLE, MatchRecords


def tables(
    truth: GroundTruth, predictions: Predictions, *, bands: bool = True
) -> Iterator[tuple[str, Boxes, Predictions]]:
    """The ground truths and the detections that count, together and, with `bands`, in each range band."""
    boxes = predictions.boxes
    counted = in_range(boxes, truth.ego_xy, truth.description)
    counted[counted] = ~in_racks(boxes.take(counted), truth.racks, truth.description)
    predictions = predictions.take(counted)
    yield WHOLE, truth.boxes, predictions
    if bands:
        distance = ego_distances(predictions.boxes, truth.ego_xy)
        truth_distance = ego_distances(truth.boxes, truth.ego_xy)
        for name, (low, high) in BANDS_M.items():
            inside = (distance >= low) & (distance < high)
            truth_inside = (truth_distance >= low) & (truth_distance < high)
            yield name, truth.boxes.take(truth_inside), predictions.take(inside)


def make_records(
    truth: GroundTruth, predictions: Predictions, *, bands: bool = True
) -> MatchRecords:
    """Filter and match a run's detections; with `bands`, within each range band too.

    Raises:
        RequestError: A matched detection's size is not above 0; names it.
    """
    described = {"description": as_dict(truth.description)}
    return MatchRecords(
        samples=truth.samples,
        tables={
            name: match(truth, boxes, found)
            for name, boxes, found in tables(truth, predictions, bands=bands)
        },
        header={"protocol": NAME, "split": truth.split}
        | (described if truth.description != NUSCENES else {}),
    )


def records_of_file(
    result_path: Path, root: Path, version: str, split: str, *, bands: bool = True
) -> MatchRecords:
    """Match the detections of a nuScenes result file that holds every sample of the split.

    Raises:
        RequestError: The file is refused, naming the place, or there is no such split.
        AqrExpError: A table of the data set is missing or damaged.
    """
    truth = load_ground_truth(root, version, split)
    return make_records(truth, read_predictions(result_path, truth), bands=bands)


def score_results(result_path: Path, root: Path, version: str, split: str) -> dict[str, Any]:
    """Score a result file; same arguments and result as `aqr_exp.evaluate.metric.score_results`.

    Raises:
        RequestError: The file is refused, naming the place, or there is no such split.
        AqrExpError: A table of the data set is missing or damaged.
    """
    records = records_of_file(result_path, root, version, split, bands=False)
    return dict(RunScorer(records).scores().metrics())
