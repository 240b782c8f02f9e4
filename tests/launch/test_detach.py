import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

# The terminal's process ends at once; the other one says where it lives and ends when told.
SCRIPT = """
import json, os, sys
from pathlib import Path
from aqr_exp.launch.signals import detach
folder = Path(sys.argv[1])
number = detach(folder / "log")
if number is not None:
    print(number)
    sys.exit(0)
print("said by the detached one", flush=True)
facts = {"pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0),
         "leader": os.getsid(0) == os.getpid(), "input": sys.stdin.read()}
(folder / "facts.tmp").write_text(json.dumps(facts))
(folder / "facts.tmp").rename(folder / "facts")
"""


def test_a_detached_process_has_no_terminal_and_logs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    number = int(done.stdout)
    deadline = time.monotonic() + 300
    while not (tmp_path / "facts").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    facts = json.loads((tmp_path / "facts").read_text())
    assert facts["pid"] == number
    assert facts["parent"] != os.getpid()
    assert facts["session"] != os.getsid(0)
    assert not facts["leader"], "a session's leader could get a terminal again"
    assert facts["input"] == ""
    assert "said by the detached one" in (tmp_path / "log").read_text()


def test_a_log_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "absent")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "the detached process could not start (log: " in done.stderr


def test_signals_ask_and_are_given_back() -> None:
    import signal

    from aqr_exp.errors import STOPPING
    from aqr_exp.launch.signals import stop_on_signals

    for number in STOPPING:
        if signal.getsignal(number) is signal.SIG_IGN:  # As under nohup.
            signal.signal(number, signal.SIG_DFL)
    before = [signal.getsignal(number) for number in STOPPING]
    asked: list[int] = []
    with stop_on_signals(asked.append):
        for number in STOPPING:
            signal.raise_signal(number)
    assert asked == list(STOPPING)
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_a_closed_terminal_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    from aqr_exp.launch.signals import stop_on_signals

    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals(lambda: pytest.fail("asked")):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, previous)
