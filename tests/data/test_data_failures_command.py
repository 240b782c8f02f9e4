"""`aqr-exp data failures` on prepared synthetic data: a page with every failure's picture, or one line."""

from pathlib import Path

import cv2
import pytest

from aqr_exp.analyze import sample_figure
from aqr_exp.cli.main import main
from aqr_exp.data.corruptions.cases import CORRUPTIONS


def drawn(root: Path, out: Path, *more: str) -> int:
    return main(["data", "failures", f"data.root={str(root)!r}", "--out", str(out), *more])


# All of them take a minute.
@pytest.mark.parametrize(
    "names", [("lidar_drop", "view_drop"), pytest.param(tuple(CORRUPTIONS), marks=pytest.mark.slow)]
)
def test_the_page_shows_failures_at_every_severity(
    prepared_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
) -> None:
    failures = {name: CORRUPTIONS[name] for name in names}
    monkeypatch.setattr(sample_figure, "CORRUPTIONS", failures)
    out = tmp_path / "it's a page"
    assert drawn(prepared_root, out) == 0
    assert capsys.readouterr().out == f"{out / 'index.html'}\n"
    page = (out / "index.html").read_text()
    heights = {}
    for name, failure in failures.items():
        assert f'<img src="{name}.png"' in page
        heights[name] = cv2.imread(str(out / f"{name}.png")).shape[0] / (
            1 + len(failure.severities)
        )
    # A row for the sample as it is and one for each severity, all of one height.
    assert max(heights.values()) == pytest.approx(min(heights.values()), rel=0.1)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["index.html", *(f"{name}.png" for name in failures)]
    )
    # Without any point the view from above changes; without an image the six views do.
    before, after = _halves(
        out / "lidar_drop.png", rows=1 + len(CORRUPTIONS["lidar_drop"].severities)
    )
    assert (before != after).any()


def test_unasked_the_page_shows_a_sample_that_can_be_late(
    prepared_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sample_figure, "CORRUPTIONS", {"stuck_cameras": CORRUPTIONS["stuck_cameras"]}
    )
    assert drawn(prepared_root, tmp_path) == 0
    assert "on sample 1 of synth_val" in (tmp_path / "index.html").read_text()
    before, after = _halves(tmp_path / "stuck_cameras.png", rows=4)
    right = before.shape[1] // 3  # the six views
    lower = before.shape[0] // 8  # below the words
    assert (before[lower:, right:] != after[lower:, right:]).any()


def _halves(path: Path, rows: int) -> tuple:
    picture = cv2.imread(str(path))
    height = picture.shape[0] // rows
    return picture[:height], picture[height : 2 * height]


def test_wrong_requests_are_one_line_and_leave_nothing(
    prepared_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page"
    assert drawn(prepared_root, out, "--sample", "99") == 2
    assert (
        capsys.readouterr().err == "aqr-exp: sample 99: the split 'synth_val' has samples 0 to 2\n"
    )
    taken = tmp_path / "a file"
    taken.write_text("mine")
    assert drawn(prepared_root, taken) == 2
    assert capsys.readouterr().err == f"aqr-exp: --out {taken}: is not a folder\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]
