"""Figures as files: checked before they are drawn, written in one step."""

import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING

from aqr_exp.errors import RequestError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
DOTS_PER_INCH = 150


def check_target(path: Path) -> None:
    """Refuse a figure that could not be written, before time is spent on it.

    Args:
        path: Where it shall go.

    Raises:
        RequestError: Another ending than .png, .pdf or .svg, no such folder, a folder in its
            place, or matplotlib is not installed.
    """
    if path.suffix.lower().removeprefix(".") not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise RequestError(f"{path}: a figure's name must end in one of {endings}")
    if not path.absolute().parent.is_dir():
        raise RequestError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise RequestError(f"{path}: is a folder")
    if importlib.util.find_spec("matplotlib") is None:
        raise RequestError(f"{path}: figures need matplotlib: pip install matplotlib")


def save(figure: "Figure", path: Path) -> None:
    """Write a figure in one step, in the format its name ends in.

    Args:
        figure: What to write.
        path: A name `check_target` accepts; an existing file is replaced.
    """
    from aqr_exp.results.atomic import replace_bytes

    replace_bytes(path, rendered(figure, path.suffix.lower().removeprefix(".")))


def rendered(figure: "Figure", form: str) -> bytes:
    """A figure as the bytes of a PNG, PDF or SVG file."""
    content = io.BytesIO()
    figure.savefig(content, format=form, dpi=DOTS_PER_INCH)
    return content.getvalue()
