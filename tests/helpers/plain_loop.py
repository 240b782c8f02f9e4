"""The benchmark in plain loops, for tiny cases: slow, and simple enough to be read as the definition."""

from typing import Any

import numpy as np

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.boxes import Boxes, Racks
from aqr_exp.evaluate.ground_truth import GroundTruth
from aqr_exp.evaluate.protocol import MATCH_DISTANCES_M, measured
from aqr_exp.evaluate.records import MatchTable, SplitSamples


def boxes_of(rows: list[tuple[int, int, float, float]], **columns: Any) -> Boxes:
    """Boxes from (sample, label, x, y)."""
    count = len(rows)
    table = np.array(rows, dtype=float).reshape(-1, 4)
    return Boxes(
        sample=table[:, 0].astype(np.int64),
        label=table[:, 1].astype(np.int64),
        centre=np.concatenate([table[:, 2:], np.zeros((count, 1))], axis=1),
        size=columns.get("size", np.ones((count, 3))),
        rotation=columns.get("rotation", np.tile([1.0, 0.0, 0.0, 0.0], (count, 1))),
        velocity=columns.get("velocity", np.zeros((count, 2))),
        attribute=columns.get("attribute", np.full(count, -1)),
    )


_NO_RACKS = Racks(sample=np.zeros(0, dtype=int), corner=np.zeros((0, 3)), edges=np.zeros((0, 3, 3)))


def truth_of(boxes: Boxes, samples: int = 3) -> GroundTruth:
    """A split of one scene with the vehicle at the origin."""
    return GroundTruth(
        split="tiny",
        samples=SplitSamples(
            tokens=tuple(f"sample{index}" for index in range(samples)),
            scene=np.zeros(samples, dtype=int),
            scene_names=("scene",),
            scene_descriptions=("",),
        ),
        ego_xy=np.zeros((samples, 2)),
        boxes=boxes,
        racks=_NO_RACKS,
    )


def choices(
    truths: Boxes, boxes: Boxes, score: np.ndarray, label: int, distance_m: float
) -> list[tuple[int, int | None]]:
    """(detection, its ground truth or None) of a class by rank."""
    members = [index for index in range(len(boxes)) if boxes.label[index] == label]
    members.sort(key=lambda index: (-score[index], -index))
    taken: set[int] = set()
    chosen: list[tuple[int, int | None]] = []
    for index in members:
        nearest, reach = None, np.inf
        for truth in range(len(truths)):
            same = truths.sample[truth] == boxes.sample[index] and truths.label[truth] == label
            if same and truth not in taken:
                away = np.linalg.norm(boxes.centre[index, :2] - truths.centre[truth, :2])
                if away < reach:
                    nearest, reach = truth, away
        if reach < distance_m:
            taken.add(nearest)
            chosen.append((index, nearest))
        else:
            chosen.append((index, None))
    return chosen


def repeated(table: MatchTable, weights: np.ndarray) -> MatchTable:
    """The table of a data set in which each sample occurs so often: copies side by side."""
    times = weights[table.sample]
    hits = np.concatenate([table.hits(label, 2) for label in range(len(CLASS_NAMES))])
    starts = [times[: int(start)].sum() for start in table.class_start]
    return MatchTable(
        class_start=np.array(starts),
        sample=np.repeat(table.sample, times),
        score=np.repeat(table.score, times),
        matched=np.repeat(table.matched, times),
        errors=np.repeat(table.errors, times[hits], axis=0),
        truths=np.repeat(table.truths, weights, axis=0),
    )


def plain_scores(table: MatchTable) -> tuple[np.ndarray, np.ndarray]:
    """AP [10, 4] and errors [10, 5] of a table, by interpolating whole curves."""
    ap = np.zeros((10, 4))
    errors = np.where(measured(NUSCENES), 1.0, np.nan)
    for label in range(10):
        truths = int(table.truths[:, label].sum())
        score = np.asarray(table.score[table.rows(label)], dtype=float)
        for distance in range(len(MATCH_DISTANCES_M)):
            hits = table.hits(label, distance)
            if truths == 0 or not hits.any():
                continue
            found, false = np.cumsum(hits), np.cumsum(~hits)
            grid = np.linspace(0, 1, 101)
            precision = np.interp(grid, found / truths, found / (found + false), right=0)
            ap[label, distance] = np.maximum(precision[11:] - 0.1, 0).mean() / 0.9
            if distance == 2:
                at = np.interp(grid, found / truths, score, right=0)
                errors[label] = _plain_errors(table, label, score[hits], at)
    return ap, errors


def _plain_errors(
    table: MatchTable, label: int, hit_score: np.ndarray, at: np.ndarray
) -> np.ndarray:
    means = np.where(measured(NUSCENES)[label], 1.0, np.nan)
    last = max((index for index in range(101) if at[index] != 0), default=0)
    for column in np.flatnonzero(measured(NUSCENES)[label]):
        values = table.class_errors(label)[:, column]
        running, known = [], []
        for value in values:
            known += [] if np.isnan(value) else [value]
            running.append(float(np.mean(known)) if known else 0.0)
        if not known:
            running = [1.0] * len(values)
        if last >= 11:
            curve = np.interp(at[::-1], hit_score[::-1], running[::-1])[::-1]
            means[column] = curve[11 : last + 1].mean()
    return means
