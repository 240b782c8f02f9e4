"""Figures as files: checked before they are drawn, written in one step."""

import importlib.util
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from aqr_exp.errors import RequestError
from aqr_exp.files.atomic import replace_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
DOTS_PER_INCH = 150
PAPER_FORMATS = ("pdf", "png")
PAPER_DOTS_PER_INCH = 300
# Equal figures become equal bytes.
_NO_DATE = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def check_target(path: Path) -> None:
    """Refuse a figure that could not be written, before time is spent on it.

    Raises:
        RequestError: Another ending than .png, .pdf or .svg, no such folder, or one that
            cannot be written, a folder in its place, or matplotlib is not installed.
    """
    if path.suffix.lower().removeprefix(".") not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise RequestError(f"{path}: a figure's name must end in one of {endings}")
    if not path.absolute().parent.is_dir():
        raise RequestError(f"{path}: there is no folder {path.parent}")
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise RequestError(f"{path}: nothing may be written to {path.absolute().parent}")
    if path.is_dir():
        raise RequestError(f"{path}: is a folder")
    check_matplotlib(str(path))


def check_matplotlib(wanted: str) -> None:
    """Refuse what needs figures where matplotlib is not installed.

    Raises:
        RequestError: Says what to install.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise RequestError(f"{wanted}: figures need matplotlib: pip install 'aqr-exp[figures]'")


def save_figure(figure: "Figure", path_stem: Path) -> list[Path]:
    """Write a figure for a paper, as PDF and as PNG, each in one step.

    Args:
        path_stem: Where, without an ending; the folder must exist, existing files are replaced.

    Raises:
        RequestError: As `check_target`.
    """
    paths = paper_targets(path_stem)
    for path in paths:
        form = path.suffix.removeprefix(".")
        replace_bytes(path, rendered(figure, form, dots_per_inch=PAPER_DOTS_PER_INCH))
    return paths


def paper_targets(path_stem: Path) -> list[Path]:
    """The files that `save_figure` writes; refuses as it does, before time is spent on the figure."""
    paths = [path_stem.with_name(f"{path_stem.name}.{form}") for form in PAPER_FORMATS]
    for path in paths:
        check_target(path)
    return paths


def save(figure: "Figure", path: Path) -> None:
    """Write or replace a figure in one step, under a name that `check_target` accepts."""
    replace_bytes(path, rendered(figure, path.suffix.lower().removeprefix(".")))


def rendered(figure: "Figure", form: str, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """A figure as the bytes of a PNG, PDF or SVG file; the same figure gives the same bytes."""
    import matplotlib as mpl

    content = io.BytesIO()
    # Type 42: letters stay letters, in the form that submission systems accept.
    with mpl.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "aqr-exp"}):
        figure.savefig(content, format=form, dpi=dots_per_inch, metadata=_NO_DATE.get(form))
    return content.getvalue()
