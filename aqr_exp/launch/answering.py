"""A process of this package that answers in lines of JSON on its stdout."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aqr_exp.launch.training import ending


@contextmanager
def answering(
    module: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Start `python -m module`; it is ended with all it has started when the context ends.

    Args:
        module: The module.
        arguments: Its arguments.
        log: Gets what it writes to stderr.
        environment: Variables it gets besides ours.

    Yields:
        The process.

    Raises:
        OSError: It could not be started, or the log not be written.
    """
    with log.open("wb") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            # Ctrl-C is for whoever waits here, who ends the whole group.
            start_new_session=True,
            env={**os.environ, **environment},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def answers(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """Each line, as soon as it is there."""
    for line in process.stdout or ():
        yield json.loads(line)


def last_words(returncode: int, log: Path) -> str:
    """Why a process ended: its exit code or signal, and the last line it wrote.

    Args:
        returncode: As `subprocess` gives it.
        log: What it wrote to stderr.
    """
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{ending(returncode)}; its last line: {lines[-1] if lines else 'none'}"
