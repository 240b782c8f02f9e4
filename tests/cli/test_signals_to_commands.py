"""Signals that mean stop, to commands that wait or work with processes of their own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from in_a_child import aqr_exp

from aqr_exp.errors import STOPPING

CODES = {number: 75 if "USR" in number.name else 130 for number in STOPPING}


def ask(*numbers: int) -> Callable[[], None]:
    """Have signals sent to the command as soon as it handles them."""

    def send() -> None:
        unhandled = signal.getsignal(numbers[0])
        process = os.getpid()

        def when_handled() -> None:
            while signal.getsignal(numbers[0]) == unhandled:
                time.sleep(0.001)
            for number in numbers:
                os.kill(process, number)

        threading.Thread(target=when_handled, daemon=True).start()

    return send


@pytest.mark.parametrize("number", STOPPING)
def test_a_command_says_that_it_was_interrupted(place: Path, number: int) -> None:
    ended = aqr_exp("watch", before=ask(number))
    assert (ended.code, ended.out) == (CODES[number], b"")
    assert ended.err.decode().strip() == "aqr-exp: interrupted"


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [("SIGTERM", "SIGUSR1", 130), ("SIGUSR1", "SIGTERM", 130), ("SIGUSR1", "SIGUSR2", 75)],
)
def test_that_the_time_is_up_is_the_reason_only_where_both_signals_say_so(
    first: str, second: str, code: int
) -> None:
    program = f"""
import signal
from aqr_exp.cli.main import _interrupt_on_signals
_interrupt_on_signals()
try:
    signal.raise_signal(signal.{first})
except SystemExit:
    signal.raise_signal(signal.{second})
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == code


def test_what_is_ignored_stays_ignored(place: Path) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGHUP)

    assert aqr_exp("list", "--json", before=ignore).out == b"[]\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_data_that_are_made_leave_nothing_and_no_process(tmp_path: Path, number: int) -> None:
    (tmp_path / "kept").touch()
    root = tmp_path / "data"
    command = subprocess.Popen(
        [
            *(sys.executable, "-m", "aqr_exp.cli.main", "data", "synth", "--root", str(root)),
            *("--workers", "2", "--train-scenes", "40"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list(tmp_path.glob(".data.*.tmp")):
        assert command.poll() is None
        time.sleep(0.01)
    workers = []
    while len(workers) < 2:
        workers = psutil.Process(command.pid).children(recursive=True)
        time.sleep(0.01)
    os.killpg(command.pid, number)
    _, err = command.communicate()
    said = (command.returncode, err.strip().splitlines()[-1])
    assert said == (CODES[number], "aqr-exp: interrupted")
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
