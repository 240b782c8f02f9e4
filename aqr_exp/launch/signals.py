"""Ctrl-C, polite kills and closed terminals: requests to stop, and processes without a terminal."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from aqr_exp.errors import STOPPING, AqrExpError
from aqr_exp.files.reading import open_regular


@contextlib.contextmanager
def stop_on_signals(
    request_stop: Callable[[int], None],
) -> Iterator[None]:
    """Call `request_stop` with every signal that means stop, instead of ending at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        request_stop(number)

    # An ignored one (a detached process's closed terminal) stays ignored.
    kept = {
        number: signal.signal(number, handle)
        for number in STOPPING
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, previous in kept.items():
            signal.signal(number, previous)


def detach(log: Path) -> int | None:
    """Continue as a process without a terminal; call it before threads or children exist.

    Args:
        log: Gets that process's output, appended; its folder must exist.

    Returns:
        In the calling process the number of the one that continues; in that one None.

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
    with open_regular(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, follow=False) as output:
        for source, target in ((nothing, 0), (output.fileno(), 1), (output.fileno(), 2)):
            os.dup2(source, target)
    os.close(nothing)
