"""A whole sample in one picture: points and boxes from above, boxes over the six images."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aqr_exp.analyze.samples import AnnotatedSample
from aqr_exp.analyze.scene_figure import IMAGE_COLUMNS, Frame, draw_bev, draw_image, image_axes
from aqr_exp.report.figures.style import INK, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_IN = 18.0
# Of the width, the images take this share and the view from above the rest.
IMAGES_SHARE = 0.74
CAPTION_IN = 0.7


def sample_words(sample: AnnotatedSample) -> str:
    """What is in a sample: boxes by class, points, what augmentation added or took away."""
    counts = ", ".join(f"{count} {name}" for name, count in Counter(sample.names).most_common())
    words = [f"{len(sample.boxes)} boxes ({counts})" if counts else "no boxes"]
    words.append(f"{len(sample.scene.points_m):,} points")
    if sample.pasted:
        words.append(f"{sample.pasted} pasted")
    if sample.dropped:
        words.append(f"without {sample.dropped} (modal dropout)")
    return "; ".join(words)


def sample_figure(samples: Sequence[tuple[str, AnnotatedSample]]) -> "Figure":
    """Samples one below another, each from above and through its six cameras.

    Args:
        samples: A title and a sample for each row.

    Returns:
        The figure: for each row, one axes from above and one a view.
    """
    heights = [_row_height_in(sample.scene) for _, sample in samples]
    figure = new_figure(WIDTH_IN, sum(heights))
    rows = figure.subfigures(len(samples), 1, height_ratios=heights, squeeze=False)[:, 0]
    for (title, sample), row in zip(samples, rows, strict=True):
        row.suptitle(
            f"{title}: {sample_words(sample)}",
            fontsize=11,
            color=INK,
            x=0.01,
            horizontalalignment="left",
        )
        above, around = row.subfigures(1, 2, width_ratios=[1 - IMAGES_SHARE, IMAGES_SHARE])
        draw_bev(above.subplots(), sample.scene, title="from above")
        for view, axes in enumerate(image_axes(around, sample.scene.view_names)):
            draw_image(axes, sample.scene, view)
    return figure


def _row_height_in(scene: Frame) -> float:
    """So high that neither the images nor the view from above leave much room unused."""
    height_px, width_px = scene.layout.image_size_px
    lines = -(-scene.layout.views // IMAGE_COLUMNS)
    images = lines * (WIDTH_IN * IMAGES_SHARE / IMAGE_COLUMNS * height_px / width_px + 0.25)
    left, right, bottom, top = scene.bev_extent_m
    above = WIDTH_IN * (1 - IMAGES_SHARE) * 0.85 * (top - bottom) / (right - left)
    return max(images, min(above, 1.4 * images)) + CAPTION_IN
