from pathlib import Path
from typing import Any

from rich.console import Console

from aqr_exp.cli.watch import (
    ConsoleReporter,
    LiveScreen,
    PlainScreen,
    failure_lines,
    live_table,
    recovery_hints,
    screen,
    totals_line,
)
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store
from aqr_exp.sweep.status import RunLine, SweepStatus, WatchedRun

RUNNING = RunLine(
    name="attention_bias-aa-s0",
    label="attention_bias [bold]bias_scale=2[/bold] seed=0",
    status=RunStatus.RUNNING,
    progress={"phase": "train", "step": 1, "steps": 4, "loss": 2.5, "eta_s": 90},
)
LINES = [
    RUNNING,
    RunLine(name="b", label="b", status=RunStatus.COMPLETED),
    RunLine(name="c", label="c", status=RunStatus.UNKNOWN, reason="held by process 3 on far"),
    RunLine(name="d", label="d", status=RunStatus.FAILED, reason="no"),
    RunLine(name="e", label="e", status=RunStatus.TO_DO, expected_s=30.0),
]


def text(lines: list[RunLine], width: int = 120) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(live_table(lines))
    return captured.get()


def test_totals() -> None:
    assert totals_line([]) == "0 runs: nothing to do"
    assert totals_line(LINES) == (
        "5 runs: 1 completed, 1 running, 1 to do, 1 failed, 1 unknown, about 2:00 left"
    )


def test_the_live_table_has_a_line_a_running_run_and_the_totals() -> None:
    shown = text(LINES).splitlines()
    assert len(shown) == 3
    assert shown[0].startswith("attention_bias [bold]bias_scale=2[/bold] seed=0")
    assert shown[0].rstrip().endswith("train, step 1/4, loss 2.500, 1:30 left")
    assert "held by process 3 on far" in shown[1]
    assert shown[2].rstrip() == totals_line(LINES)


def test_what_did_not_end_well_is_told_with_what_mends_it() -> None:
    assert recovery_hints([]) == []
    assert recovery_hints(["failed", "unknown", "failed", "damaged"]) == [
        "2 did not end well: `aqr-exp retry --failed` runs them again",
        (
            "1 unknown: their processes run elsewhere and have stopped sending heartbeats; "
            "once you know that they are dead: `aqr-exp resume NAME --steal`"
        ),
        "1 damaged: delete the folder of a damaged run; the next sweep recreates it",
    ]


def test_a_stop_is_answered_at_once_and_says_how_to_end_it_sooner() -> None:
    said: list[str] = []
    reporter = ConsoleReporter(PlainScreen(SweepStatus([]), said.append), lambda: 2)
    for running in (0, 1, 2):
        reporter.stopping(running)
    assert said == [
        "stopping: 1 training ends its step and saves it; Ctrl-C again ends at once",
        "stopping: 2 trainings end their step and save it; Ctrl-C again ends at once",
    ]


def test_in_a_narrow_terminal_the_labels_of_running_runs_still_differ() -> None:
    alike = "preset=smoke schedule.epochs=1 launcher.threads=1"
    labels = [f"attention_bias {alike} bias_scale={value} seed=0" for value in (1, 2.5)]
    lines = [RunLine(name=label, label=label, status=RunStatus.RUNNING) for label in labels]
    lines.append(RunLine(name="b", label=f"baseline {alike} seed=0", status=RunStatus.TO_DO))
    shown = text(lines, width=60).splitlines()
    assert shown[0].startswith("attention_bias bias_scale=1 ")
    assert shown[1].startswith("attention_bias bias_scale=2.5 ")
    assert text(lines[:1], width=120).startswith(f"attention_bias {alike} bias_scale=1 seed=0")


def test_more_runs_than_a_screen_are_counted() -> None:
    shown = text([RUNNING] * 45).splitlines()
    assert shown[-2].rstrip() == "and 5 more"
    assert len(shown) == 42


def test_a_narrow_terminal_keeps_one_line_a_run() -> None:
    assert len(text(LINES, width=40).splitlines()) <= 5


def test_a_failure_has_its_reason_on_one_line_and_its_log() -> None:
    lines = failure_lines("x-s0", "bad\nthing", ["a", "b"], "/r/train.log")
    assert lines == [
        "x-s0 failed: bad thing",
        "  the last lines of /r/train.log:",
        "  | a",
        "  | b",
    ]
    assert failure_lines("x-s0", None, [], "") == ["x-s0 failed: no reason given"]


def status(tmp_path: Path) -> SweepStatus:
    folder = Store(tmp_path).folder("run-s0")
    return SweepStatus([WatchedRun(folder=folder, label="run", expected_s=5.0)])


def test_plain_totals_come_once_a_minute(tmp_path: Path) -> None:
    said: list[str] = []
    times = iter([0.0, 30.0, 61.0, 61.0, 62.0])
    plain = PlainScreen(status(tmp_path), said.append, clock=lambda: next(times))
    plain.refresh()
    assert said == []
    plain.refresh()
    assert said == ["1 runs: 1 to do, about 5 s left"]
    plain.refresh()
    assert len(said) == 1


def test_the_live_screen_draws_twice_a_second_and_prints_above(tmp_path: Path) -> None:
    class Live:
        def __init__(self) -> None:
            self.console = Console(width=80)
            self.drawn = 0

        def update(self, table: Any, *, refresh: bool) -> None:
            del table
            self.drawn += refresh

    live = Live()
    times = iter([0.0, 0.0, 0.3, 0.6, 0.6])
    drawn = LiveScreen(status(tmp_path), live, clock=lambda: next(times))
    for _ in range(3):
        drawn.refresh()
    assert live.drawn == 2
    with live.console.capture() as captured:
        drawn.say("[red] x")
    assert captured.get() == "[red] x\n"


def test_without_a_terminal_the_screen_is_plain(tmp_path: Path) -> None:
    with screen(status(tmp_path)) as shown:
        assert isinstance(shown, PlainScreen)
