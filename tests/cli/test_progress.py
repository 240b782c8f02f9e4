import pytest

from aqr_exp.cli import console
from aqr_exp.cli.console import (
    PlainProgress,
    counted_progress,
    progress_line,
    run_progress,
)


def test_plain_lines_come_with_every_epoch_and_else_every_ten_seconds() -> None:
    lines: list[str] = []
    calls = (
        (0.0, "setup", None, 0),
        (1.0, "train", 1, 1),
        (5.0, "train", 1, 2),
        (11.0, "train", 1, 3),
        (12.0, "train", 1, 4),
        (13.0, "train", 2, 5),
        (14.0, "predict", None, 1),
    )
    times = iter([time for time, *_ in calls])
    show = PlainProgress(lines.append, clock=lambda: next(times))
    for _, phase, epoch, step in calls:
        place = {"phase": phase, "step": step, "steps": 9}
        show(place if epoch is None else place | {"epoch": epoch, "epochs": 2})
    assert lines == [
        "setup, step 0/9",
        "train, epoch 1/2, step 1/9",
        "train, epoch 1/2, step 3/9",
        "train, epoch 2/2, step 5/9",
        "predict, step 1/9",
    ]


def test_a_progress_line_tells_what_is_known() -> None:
    assert progress_line({}) == "setup"
    assert progress_line({"phase": "train", "loss": None, "eta_s": None}) == "train"
    assert progress_line({"phase": "train", "loss": 1.23456, "eta_s": 59.4}) == (
        "train, loss 1.235, 59 s left"
    )


def test_a_terminal_gets_a_live_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "on_terminal", lambda: True)
    with run_progress() as show:
        show({"phase": "setup"})
        show({"phase": "train", "step": 3, "steps": 9, "loss": 1.5})
    with counted_progress("scenes") as count:
        count(1, 4)
        count(4, 4)
    out, err = capsys.readouterr()
    assert out == ""
    assert "4/4" in err


def test_a_pipe_gets_the_last_count(capsys: pytest.CaptureFixture[str]) -> None:
    with counted_progress("scenes") as count:
        for done in range(1, 5):
            count(done, 4)
    assert capsys.readouterr() == ("", "4 of 4 scenes\n")
