"""Everything `aqr-exp analyze bias` draws of one run."""

from pathlib import Path
from typing import Any

import numpy as np

from aqr_exp.analyze.attention_history_figure import attention_history_figure
from aqr_exp.analyze.bias_figure import bias_figure
from aqr_exp.analyze.box_weights import (
    BoxWeight,
    by_class,
    by_condition,
    by_distance,
    nearest_queries,
)
from aqr_exp.analyze.samples import Samples
from aqr_exp.analyze.scale_figure import scale_history_figure
from aqr_exp.analyze.trained_run import TrainedRun, last_local_bias
from aqr_exp.analyze.weights_figure import weights_by_group_figure
from aqr_exp.analyze.windows_report import choose_boxes
from aqr_exp.aqr.scale_names import is_scale
from aqr_exp.config.schema.bias import ScaleConfig
from aqr_exp.config.schema.router import Activation
from aqr_exp.results.plots.figure_file import save

WEIGHT_BOUNDS = {
    Activation.TANH: (-1.0, 1.0),
    Activation.SIGMOID: (0.0, 1.0),
    Activation.LOGSIGMOID: (-4.0, 0.0),
}


def draw_biases(
    run: TrainedRun, samples: Samples, sample: int, queries: int, folder: Path
) -> list[Path]:
    """The bias of the queries nearest to a sample's boxes, in the last decoder layer.

    Args:
        run: A run.
        samples: Its split.
        sample: Which sample.
        queries: At most this many queries.
        folder: An existing folder.

    Returns:
        One file a query; none for a run whose bias is not one of windows.
    """
    seen = samples.sample(sample)
    record = run.observe(samples.batch(sample))
    bias = last_local_bias(record)
    if bias is None:
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
        lidar, camera = (float(weight) for weight in _weights(record.weights, query))
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


def _weights(weights: Any, query: int) -> Any:
    return weights[0, query]


def draw_weights(run: TrainedRun, boxes: list[BoxWeight], folder: Path) -> list[Path]:
    """Weights by class, distance and condition.

    Args:
        run: A run.
        boxes: Weights at the boxes of a split.
        folder: An existing folder.

    Returns:
        One file a grouping that has anything.
    """
    router = run.config.variant.router
    assert router is not None  # noqa: S101 - `open_run` refuses others
    known = all(box.condition is not None for box in boxes)
    files = []
    for name, words, groups in (
        ("class", "class", by_class(boxes)),
        ("distance", "distance (m)", by_distance(boxes)),
        ("condition", "condition", by_condition(boxes)),
    ):
        if groups:
            path = folder / f"weights_by_{name}.png"
            figure = weights_by_group_figure(
                groups,
                title=f"{run.folder.name}: weights by {name}",
                grouped_by=words,
                bounds=WEIGHT_BOUNDS[router.activation],
                unit="scenes" if known else "keyframes",
            )
            save(figure, path)
            files.append(path)
    return files


def draw_history(run: TrainedRun, folder: Path) -> list[Path]:
    """The scale, the attention and the weights over training.

    Args:
        run: A run.
        folder: An existing folder.

    Returns:
        `training.png`, and `scale.png` of a run with a bias.
    """
    rows = [row for row in run.folder.read_history() if row.get("kind") == "arm"]
    if not rows:
        return []
    files = [folder / "training.png"]
    save(attention_history_figure(rows), files[0])
    bias = run.config.variant.bias
    names = [name for name in rows[-1] if is_scale(name)]
    if bias is not None and names:
        files.append(folder / "scale.png")
        save(_scale_figure(rows, names, bias.scale), files[1])
    return files


def _scale_figure(rows: list[dict[str, Any]], names: list[str], scale: ScaleConfig) -> Any:
    latest = {int(row["step"]): row for row in rows}
    steps = np.array(sorted(latest))
    epochs = np.array([latest[step]["epoch"] - 1 for step in steps])
    bounded = scale.learnable
    return scale_history_figure(
        steps,
        np.array([[latest[step][name] for name in names] for step in steps]),
        names=names,
        minimum=_bound(scale, epochs, 0) if bounded else None,
        maximum=_bound(scale, epochs, 1) if bounded else None,
        warn_threshold=scale.warn_threshold if bounded else None,
    )


def _bound(scale: ScaleConfig, epochs: Any, which: int) -> Any:
    """The lower (0) or upper (1) bound at each epoch, annealed or not."""
    bounds = np.full(len(epochs), (scale.minimum, scale.maximum)[which], dtype=np.float64)
    for first_epoch, *limits in scale.anneal:
        bounds[epochs >= first_epoch] = limits[which]
    return bounds
