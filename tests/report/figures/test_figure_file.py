from pathlib import Path

import pytest

from aqr_exp.errors import RequestError
from aqr_exp.report.figures.figure_file import rendered, save_figure
from aqr_exp.report.figures.style import new_figure, words


def test_a_figure_is_written_as_pdf_and_png(tmp_path: Path) -> None:
    figure = new_figure(1.0, 1.0)
    stem = tmp_path / "scale 2.5; echo $HOME"
    written = save_figure(figure, stem)
    assert [path.name for path in written] == [f"{stem.name}.pdf", f"{stem.name}.png"]
    assert written[0].read_bytes().startswith(b"%PDF-")
    assert written[1].read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in written]


def test_no_folder_no_figure(tmp_path: Path) -> None:
    stem = tmp_path / "absent" / "figure"
    with pytest.raises(RequestError, match=r"figure\.pdf: there is no folder .*absent$"):
        save_figure(new_figure(1.0, 1.0), stem)


@pytest.mark.parametrize("form", ["pdf", "png", "svg"])
def test_equal_figures_are_equal_bytes(form: str) -> None:
    first, second = (rendered(new_figure(1.0, 1.0), form) for _ in range(2))
    assert first == second


def test_names_are_drawn_as_they_are_written() -> None:
    figure = new_figure(2.0, 1.0)
    axes = figure.subplots()
    for name in ("$\\frac{", "_hidden", "two\nlines", "a$b$c"):
        axes.plot([0, 1], label=words(name))
    axes.legend()
    assert rendered(figure, "png").startswith(b"\x89PNG")
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["\\$\\frac{", " _hidden", "two lines", "a\\$b\\$c"]
