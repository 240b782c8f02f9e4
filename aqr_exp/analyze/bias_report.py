"""Report on a trained run: its weights at ground-truth boxes, its bias, and their history."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from aqr_exp.analyze.bias_figures import (
    attention_history_figure,
    bias_figure,
    scale_history_figure,
    weights_by_group_figure,
)
from aqr_exp.analyze.samples import CONDITIONS, SampleReader, SceneCondition, read_scene_conditions
from aqr_exp.analyze.windows import choose_boxes
from aqr_exp.aqr.bias import LocalBias
from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.cmt.variant_module import VariantRecord
from aqr_exp.config.identity import as_dict, from_spec
from aqr_exp.config.inputs import with_data_identity
from aqr_exp.config.schema import RunConfig, VariantSettings
from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.config.variant_spec import LearnedScale, spec_of, with_feature
from aqr_exp.errors import RequestError
from aqr_exp.files.progress import Progress
from aqr_exp.report.figures.figure_file import save
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train.checkpoint import load_newest
from aqr_exp.train.runner_config import register_plugins


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedRun:
    """A run with its newest weights; the detector is in evaluation mode, on the CPU."""

    folder: RunFolder
    config: RunConfig
    detector: nn.Module

    @property
    def references_m(self) -> Tensor:
        """[Q, 3] reference points of the learnable queries, LiDAR frame, metres."""
        from aqr_exp.cmt.encodings import denormalise_points

        head: Any = self.detector.pts_bbox_head
        points: Tensor = head.reference_points.weight.detach()
        return denormalise_points(points, head.point_cloud_range)

    @torch.no_grad()
    def observe(self, batch: Mapping[str, Any]) -> VariantRecord:
        """Record what the variant does with one batch of `SampleReader.batch`."""
        head: Any = self.detector.pts_bbox_head
        record = VariantRecord()
        head.observe(record)
        try:
            self.detector.test_step(dict(batch))  # type: ignore[operator]
        finally:
            head.observe(None)
        return record


def open_run(folder: RunFolder) -> TrainedRun:
    """Build a run's detector and load its newest intact checkpoint.

    Raises:
        RequestError: The variant has no weights to look at, there is no checkpoint, or the data are
            not those of the run.
    """
    config = with_data_identity(from_spec(folder.read_spec()))
    if spec_of(config.variant).weight_bounds is None:
        raise RequestError(
            f"{folder.name}: variant '{config.variant.name}' has no modality weights "
            f"{with_feature(lambda spec: spec.weight_bounds is not None)}"
        )
    state = load_newest(folder)
    if state is None:
        raise RequestError(f"{folder.name}: {folder.checkpoints_dir} holds no checkpoint")
    from mmdet3d.registry import MODELS
    from mmengine.registry import init_default_scope

    register_plugins()
    init_default_scope("mmdet3d")
    detector = MODELS.build(detector_config(config))
    detector.load_state_dict(state["model"])
    return TrainedRun(folder=folder, config=config, detector=detector.eval())


NEAR_M = 2.5
"""Boxes farther from every reference point are left out: no query represents them."""
DISTANCE_BINS_M = (0.0, 10.0, 20.0, 30.0, 40.0, 54.0)


@dataclass(frozen=True)
class BoxWeight:
    """One ground-truth box and the weights of the query nearest to it.

    Attributes:
        unit: The scene it is in; the keyframe where scenes are not known.
        label: Class name.
        distance_m: From the LiDAR, in the plane.
        condition: Of the scene; None where it is not known.
        weights: (lidar, camera).
    """

    unit: str
    label: str
    distance_m: float
    condition: str | None
    weights: tuple[float, float]


def weights_of_boxes(
    run: TrainedRun,
    samples: SampleReader,
    chosen: Sequence[int],
    progress: Progress,
) -> list[BoxWeight]:
    """Run the detector over samples and read the weights at their boxes."""
    words = read_scene_conditions(Path(run.config.data.root), run.config.data.version)
    references = run.references_m.numpy()
    found = []
    for done, index in enumerate(chosen, start=1):
        sample = samples.sample(index)
        weights = run.observe(samples.batch(index)).weights
        assert weights is not None  # noqa: S101 - a run without a router is refused
        near = nearest_queries(sample.boxes[:, :2], references[:, :2])
        scene = words.get(sample.token, SceneCondition(scene=sample.token, condition=""))
        for box, query in enumerate(near):
            if query >= 0:
                lidar, camera = weights[0, query].tolist()
                away = float(np.hypot(*sample.boxes[box, :2]))
                condition = scene.condition or None
                found.append(
                    BoxWeight(scene.scene, sample.names[box], away, condition, (lidar, camera))
                )
        progress(done, len(chosen))
    return found


def nearest_queries(
    centres_m: Float[NDArray[Any], "boxes 2"], references_m: Float[NDArray[Any], "queries 2"]
) -> NDArray[np.int64]:
    """Query with the nearest reference point of each box; -1 where none is within 2.5 m."""
    apart = np.linalg.norm(centres_m[:, None] - references_m[None], axis=-1)
    return np.where(apart.min(axis=1) <= NEAR_M, apart.argmin(axis=1), -1)


_BANDS = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(DISTANCE_BINS_M)]


def _band_of(box: BoxWeight) -> str | None:
    place = int(np.searchsorted(DISTANCE_BINS_M, box.distance_m, side="right")) - 1
    return [*_BANDS, None][place]


# The words on the axis, the groups in their order (others follow as they occur), and the one that a
# box is in, if any.
GROUPINGS: dict[str, tuple[str, Sequence[str], Callable[[BoxWeight], str | None]]] = {
    "class": ("class", NUSCENES.names, lambda box: box.label),
    "distance": ("distance (m)", _BANDS, _band_of),
    "condition": ("condition", CONDITIONS, lambda box: box.condition),
}


def mean_weights(boxes: list[BoxWeight], grouping: str) -> dict[str, NDArray[np.float64]]:
    """Mean weights of each unit, [n, 2], for each group that occurs, by one of `GROUPINGS`.

    Boxes of one scene are not independent draws.
    """
    _, names, group_of = GROUPINGS[grouping]
    collected: dict[str | None, dict[str, list[tuple[float, float]]]] = {}
    for box in boxes:
        collected.setdefault(group_of(box), {}).setdefault(box.unit, []).append(box.weights)
    return {
        name: np.array([np.mean(weights, axis=0) for weights in collected[name].values()])
        for name in dict.fromkeys([*names, *collected])
        if name is not None and name in collected
    }


def draw_biases(
    run: TrainedRun, samples: SampleReader, sample: int, queries: int, folder: Path
) -> list[Path]:
    """Draw the bias of the queries nearest to a sample's boxes, in the last decoder layer.

    One file a query; none for a run whose bias is not one of windows.
    """
    seen = samples.sample(sample)
    record = run.observe(samples.batch(sample))
    weights = record.weights
    assert weights is not None  # noqa: S101 - a run without a router is refused
    bias = record.biases[-1] if record.biases else None
    if not isinstance(bias, LocalBias):
        return []
    references = run.references_m.numpy()
    near = nearest_queries(seen.boxes[:, :2], references[:, :2])
    boxes = [box for box in choose_boxes(seen, len(seen.boxes)) if near[box] >= 0][:queries]
    limit = float(bias.value.abs().max())
    files = []
    for place, box in enumerate(boxes):
        query = int(near[box])
        kept = bias.valid[0, query].numpy()
        path = folder / f"bias_query{place}_{seen.names[box]}.png"
        lidar, camera = weights[0, query].tolist()
        figure = bias_figure(
            seen.scene,
            references[query].astype(np.float64),
            bias.index[0, query].numpy()[kept],
            bias.value[0, query].numpy()[kept].astype(np.float64),
            title=(
                f"{run.folder.name}: bias of the query nearest to a {seen.names[box]}, "
                f"weights LiDAR {lidar:+.2f}, camera {camera:+.2f}"
            ),
            limit=limit or None,
        )
        save(figure, path)
        files.append(path)
    return files


def draw_weights(run: TrainedRun, boxes: list[BoxWeight], folder: Path) -> list[Path]:
    """Draw weights by class, distance and condition, one file per grouping that has any."""
    weight_bounds = spec_of(run.config.variant).weight_bounds
    assert weight_bounds is not None  # noqa: S101 - `open_run` refuses others
    known = all(box.condition is not None for box in boxes)
    files = []
    for name, (words, *_) in GROUPINGS.items():
        if groups := mean_weights(boxes, name):
            path = folder / f"weights_by_{name}.png"
            figure = weights_by_group_figure(
                groups,
                title=f"{run.folder.name}: weights by {name}",
                grouped_by=words,
                bounds=weight_bounds(run.config.variant),
                unit="scenes" if known else "keyframes",
            )
            save(figure, path)
            files.append(path)
    return files


def draw_history(run: TrainedRun, folder: Path) -> list[Path]:
    """Draw `training.png`, and `scale.png` of a run with a scale."""
    rows = [row for row in run.folder.history_lines() if row.get("kind") == "arm"]
    if not rows:
        return []
    files = [folder / "training.png"]
    save(attention_history_figure(rows), files[0])
    scale = spec_of(run.config.variant).scale
    names = [] if scale is None else list(filter(scale.is_scale, rows[-1]))
    if scale is not None and names:
        files.append(folder / "scale.png")
        save(_scale_figure(rows, names, scale, run.config.variant), files[1])
    return files


def _scale_figure(
    rows: list[dict[str, Any]],
    names: list[str],
    scale: LearnedScale[Any],
    settings: VariantSettings,
) -> Any:
    latest = {int(row["step"]): row for row in rows}
    steps = np.array(sorted(latest))
    epochs = np.array([latest[step]["epoch"] - 1 for step in steps])
    low = high = None
    if bounds := scale.bounds(as_dict(settings)):
        stretches = np.array(bounds, dtype=np.float64)
        at = np.searchsorted(stretches[:, 0], epochs, side="right") - 1
        low, high = stretches[at, 1], stretches[at, 2]
    return scale_history_figure(
        steps,
        np.array([[latest[step][name] for name in names] for step in steps]),
        names=names,
        minimum=low,
        maximum=high,
        warn_threshold=scale.warn_threshold(settings),
    )
