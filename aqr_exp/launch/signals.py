"""Ctrl-C, polite kills and closed terminals, as requests to stop."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def stop_on_signals(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` at every signal that means stop, instead of ending where the program just is.

    Args:
        ask: What to call; a second signal calls it again.
    """

    def handle(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        ask()

    # One that is ignored (a detached process's closed terminal) stays so.
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
