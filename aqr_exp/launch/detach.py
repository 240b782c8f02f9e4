"""Leaving the terminal: the process goes on when it closes."""

import os
import signal
import sys
from pathlib import Path

from aqr_exp.errors import AqrExpError


def detach(log: Path) -> int | None:
    """Continue as a process without a terminal; call it before threads or children exist.

    Args:
        log: Where that process's output goes, appended; its folder must exist.

    Returns:
        In the calling process the number of the one that goes on; in that one None.

    Raises:
        AqrExpError: That process could not start, for example because the log cannot be written.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    middle = os.fork()
    if middle:
        os.close(writer)
        os.waitpid(middle, 0)
        with os.fdopen(reader, "rb") as pipe:
            number = pipe.read()
        if not number:
            raise AqrExpError(f"the detached process could not start (log: {log})")
        return int(number)
    # A session of its own has no terminal; its leader's child can never get one.
    os.setsid()
    last = os.fork()
    if last:
        os._exit(0)
    os.close(reader)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _redirect(log)
    os.write(writer, str(os.getpid()).encode())
    os.close(writer)
    return None


def _redirect(log: Path) -> None:
    """Read nothing, and write to the log."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
