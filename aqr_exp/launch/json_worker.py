"""Worker processes of this package that answer in lines of JSON on their stdout."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from aqr_exp.config.idea_files import search_environment
from aqr_exp.files.reading import open_regular

# What `-P` does, for Python 3.10: the first entry is the current folder, and `sys` is no file.
_START = """\
import sys
del sys.path[0]
import runpy
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def python_module(module: str, *, own: bool = sys.version_info >= (3, 11)) -> list[str]:
    """Start of a command that runs a module without any of the current folder, which may be shared.

    Args:
        own: Whether Python has an option for that.
    """
    start = ("-P", "-m") if own else ("-c", _START)
    return [sys.executable, *start, module]


@contextmanager
def json_worker(
    module: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Start `python -m module`; it is ended with all it has started when the context ends.

    Args:
        log: Its stderr is appended here.
        environment: Variables it gets besides those of this process.

    Raises:
        OSError: It could not be started, or the log not be written.
    """
    with open_log(log) as errors:
        worker = subprocess.Popen(
            [*python_module(module), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # A session of its own: Ctrl-C reaches the process that waits here, which ends the group.
            start_new_session=True,
            env={**os.environ, **search_environment(), **environment},
        )
    try:
        yield worker
    finally:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        if worker.stdout is not None:
            worker.stdout.close()


def open_log(log: Path) -> BinaryIO:
    """Open a log to write at its end.

    Raises:
        OSError: It cannot be written, or is no regular file.
    """
    return open_regular(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, follow=False)


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log, read from its end; none without one.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    if not os.path.lexists(log):
        return []
    with open_regular(log, follow=False) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
        return file.read().decode("utf-8", errors="replace").splitlines()[-count:]


def responses(worker: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """The worker's answers, each as soon as its line is complete."""
    return map(json.loads, worker.stdout or ())


def last_line(log: Path) -> str:
    """The last line of a log that is not empty; `none` without one."""
    lines = [line for line in last_lines(log, 1000) if line.strip()]
    return lines[-1] if lines else "none"


def exit_summary(returncode: int, log: Path | None = None) -> str:
    """One line on how a process ended that left no result.

    Args:
        returncode: Its exit code; negative for the signal that killed it.
        log: The summary also quotes the last line of this file.
    """
    if returncode >= 0:
        ending = f"ended with exit code {returncode} and no result"
    else:
        name = signal.Signals(-returncode).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        ending = f"was killed by {name}{hint}"
    quoted = "" if log is None else f"; its last line: {last_line(log)}"
    return f"the training process {ending}{quoted}"
