"""`aqr-exp data show` on prepared synthetic data: a picture of the right size, or one line."""

from pathlib import Path

import cv2
import pytest

from aqr_exp.cli.main import main


def shown(root: Path, out: Path, *more: str) -> int:
    return main(["data", "show", "1", f"data.root={str(root)!r}", *more, "--out", str(out)])


def test_a_sample_is_drawn_before_and_after_augmentation(
    prepared_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "it's a picture.png"
    assert shown(prepared_root, out, "gt_sampling=cmt") == 0
    assert capsys.readouterr().out == f"{out}\n"
    before = cv2.imread(str(out))
    assert shown(prepared_root, out, "gt_sampling=cmt", "--augmented", "--epoch", "2") == 0
    both = cv2.imread(str(out))
    assert both.shape[0] == pytest.approx(2 * before.shape[0], abs=4)
    assert both.shape[1] == before.shape[1]
    # The upper half is the sample as it is stored, again.
    half = before.shape[0]
    assert (both[: half // 2] != before[: half // 2]).mean() < 0.2
    assert (both[half:] != both[:half]).mean() > 0.05


def test_wrong_requests_are_one_line_and_leave_nothing(
    prepared_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"data.root={str(prepared_root)!r}"
    out = tmp_path / "x.png"
    assert main(["data", "show", "99", root, "--out", str(out)]) == 2
    expected = "aqr-exp: sample 99: the split 'synth_train' has samples 0 to 5\n"
    assert capsys.readouterr().err == expected
    assert main(["data", "show", "0", root, "--out", str(tmp_path / "x.gif")]) == 2
    assert "must end in one of .png, .pdf, .svg" in capsys.readouterr().err
    assert main(["data", "show", "0", root, "--split", "tset", "--out", str(out)]) == 2
    assert "there are no info files of the split 'tset'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
