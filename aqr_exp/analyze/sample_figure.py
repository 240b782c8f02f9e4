"""Pictures of whole samples, and the page that shows every corruption on one."""

import html
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aqr_exp.analyze.samples import AnnotatedSample, SampleReader
from aqr_exp.analyze.scene_figure import IMAGE_COLUMNS, Frame, draw_bev, draw_image, image_axes
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.corruptions.cases import CORRUPTIONS, Corruption, CorruptionCase, cases_of
from aqr_exp.files.atomic import replace_text
from aqr_exp.report.figures.figure_file import save
from aqr_exp.report.figures.style import INK, new_figure, words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_IN = 18.0
# Of the width, the images take this share and the view from above the rest.
IMAGES_SHARE = 0.74
CAPTION_IN = 0.7


def sample_words(sample: AnnotatedSample) -> str:
    """Content of a sample: boxes by class, points, and the changes by augmentation."""
    counts = ", ".join(f"{count} {name}" for name, count in Counter(sample.names).most_common())
    parts = [f"{len(sample.boxes)} boxes ({counts})" if counts else "no boxes"]
    parts.append(f"{len(sample.scene.points_m):,} points")
    if sample.pasted:
        parts.append(f"{sample.pasted} pasted")
    if sample.dropped:
        parts.append(f"without {sample.dropped} (modal dropout)")
    return "; ".join(parts)


def sample_figure(samples: Sequence[tuple[str, AnnotatedSample]]) -> "Figure":
    """Titled samples one below another, each from above and through its six cameras.

    Returns:
        The figure: for each row, one axes from above and one a view.
    """
    heights = [_row_height_in(sample.scene) for _, sample in samples]
    figure = new_figure(WIDTH_IN, sum(heights))
    rows = figure.subfigures(len(samples), 1, height_ratios=heights, squeeze=False)[:, 0]
    for (title, sample), row in zip(samples, rows, strict=True):
        told = words(f"{title}: {sample_words(sample)}")
        row.suptitle(told, fontsize=11, color=INK, x=0.01, horizontalalignment="left")
        above, around = row.subfigures(1, 2, width_ratios=[1 - IMAGES_SHARE, IMAGES_SHARE])
        draw_bev(above.subplots(), sample.scene, title="from above")
        for view, axes in enumerate(image_axes(around, sample.scene.view_names)):
            draw_image(axes, sample.scene, view)
    return figure


def _row_height_in(scene: Frame) -> float:
    """Height at which neither the images nor the view from above leave much room unused."""
    height_px, width_px = scene.layout.image_size_px
    lines = -(-scene.layout.views // IMAGE_COLUMNS)
    images = lines * (WIDTH_IN * IMAGES_SHARE / IMAGE_COLUMNS * height_px / width_px + 0.25)
    left, right, bottom, top = scene.bev_extent_m
    above = WIDTH_IN * (1 - IMAGES_SHARE) * 0.85 * (top - bottom) / (right - left)
    return max(images, min(above, 1.4 * images)) + CAPTION_IN


INDEX = "index.html"
_STYLE = "body { font: 15px/1.5 sans-serif; margin: 2em; } img { width: 100%; max-width: 1600px; }"


def write_page(config: RunConfig, split: str, number: int, folder: Path) -> Iterator[Path]:
    """Draw every corruption on one sample, and write the page into an existing folder.

    Yields:
        Each file when it is written: a PNG a corruption, then the page.

    Raises:
        RequestError: There is no such split or sample.
    """
    clean = SampleReader(config, split).sample(number)
    for corruption in CORRUPTIONS.values():
        path = folder / picture_name(corruption)
        rows = [(f"Before: sample {number} of {split}", clean)]
        for case in cases_of(corruption):
            failed = SampleReader(config, split, case).sample(number)
            rows.append((row_title(case, clean, failed), failed))
        save(sample_figure(rows), path)
        yield path
    replace_text(folder / INDEX, page(f"sample {number} of {split}", list(CORRUPTIONS.values())))
    yield folder / INDEX


def picture_name(corruption: Corruption) -> str:
    """File name of a corruption's picture."""
    return f"{corruption.name}.png"


def row_title(case: CorruptionCase, clean: AnnotatedSample, failed: AnnotatedSample) -> str:
    """Title of a row; draws may have left the sample unchanged."""
    same = np.array_equal(clean.scene.points_m, failed.scene.points_m) and all(
        np.array_equal(one, other)
        for one, other in zip(clean.scene.images, failed.scene.images, strict=True)
    )
    return f"{case.name}{' (nothing happens to this sample)' if same else ''}"


def page(about: str, corruptions: Sequence[Corruption]) -> str:
    """HTML of the page about a sample."""
    parts = [
        f"<h2>{html.escape(item.name)}</h2>\n<p>{html.escape(item.definition)} "
        f"Severities: {html.escape(', '.join(item.severities))}.</p>\n"
        f'<img src="{html.escape(picture_name(item))}" alt="{html.escape(item.name)}">'
        for item in corruptions
    ]
    title = f"Sensor failures on {html.escape(about)}"
    pictures = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>{_STYLE}</style></head>
<body><h1>{title}</h1>
<p>The boxes are the ground truth, which no failure changes.</p>
{pictures}
</body></html>
"""
