"""A page with a picture of each sensor failure: a sample before, and after at every severity."""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from aqr_exp.analyze.sample_figure import sample_figure
from aqr_exp.analyze.samples import AnnotatedSample, SampleReader
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.corruptions.cases import CORRUPTIONS, Corruption, CorruptionCase, cases_of
from aqr_exp.files.atomic import replace_text
from aqr_exp.report.figures.figure_file import save

INDEX = "index.html"
_STYLE = "body { font: 15px/1.5 sans-serif; margin: 2em; } img { width: 100%; max-width: 1600px; }"


def write_page(config: RunConfig, split: str, number: int, folder: Path) -> Iterator[Path]:
    """Draw every failure on one sample.

    Args:
        config: The run whose data they are.
        split: Which split.
        number: Which sample.
        folder: Where pictures and page go; it must exist.

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
    """The file of a failure's picture."""
    return f"{corruption.name}.png"


def row_title(case: CorruptionCase, clean: AnnotatedSample, failed: AnnotatedSample) -> str:
    """What stands above a sample; draws may have left it as it was."""
    same = np.array_equal(clean.scene.points_m, failed.scene.points_m) and all(
        np.array_equal(one, other)
        for one, other in zip(clean.scene.images, failed.scene.images, strict=True)
    )
    return f"{case.name}{' (nothing happens to this sample)' if same else ''}"


def page(about: str, corruptions: Sequence[Corruption]) -> str:
    """The page as HTML.

    Args:
        about: The sample in words.
        corruptions: Those it shows, in this order.
    """
    parts = [
        f"<h2>{html.escape(item.name)}</h2>\n<p>{html.escape(item.definition)} "
        f"Severities: {html.escape(', '.join(item.severities))}.</p>\n"
        f'<img src="{html.escape(picture_name(item))}" alt="{html.escape(item.name)}">'
        for item in corruptions
    ]
    title = f"Sensor failures on {html.escape(about)}"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            f"<style>{_STYLE}</style></head>",
            f"<body><h1>{title}</h1>",
            "<p>The boxes are the ground truth, which no failure changes.</p>",
            *parts,
            "</body></html>\n",
        ]
    )
