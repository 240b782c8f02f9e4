"""Progress of long work: callbacks that are called after each piece of it, and times in words."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from aqr_exp.files.text import printable

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

NamedProgress = Callable[[str, int, int], None]
"""Called with (what, done, total), where several kinds of work follow one another."""

StagedProgress = Callable[[str], AbstractContextManager[Progress]]
"""Opens the progress of a stage of the work, by what is counted in it, such as `scenes`."""

RunProgress = Callable[[dict[str, Any]], None]
"""Called with the content of a run's `progress.json`."""


def no_progress(*_: Any) -> None:
    """Ignore progress."""


TOLD_AFTER_S = 1.0


@contextmanager
def told(what: Callable[[], str]) -> Iterator[None]:
    """Say on stderr what this process waits for, when the context lasts longer than a second."""

    def tell() -> None:
        sys.stderr.write(printable(f"waiting for {what()}") + "\n")
        sys.stderr.flush()

    timer = threading.Timer(TOLD_AFTER_S, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def duration(seconds: float, *, rounded: bool = False) -> str:
    """A time span in words.

    Args:
        rounded: Write an estimate (`45 s`, `6 min`, `1 h 20 min`, `2 d 3 h`) rather than a clock's
            `45 s`, `3:07`, `1:02:03`.
    """
    if not rounded:
        whole = max(0, round(seconds))
        minutes, rest = divmod(whole, 60)
        hours, minutes = divmod(minutes, 60)
        if whole < 60:
            return f"{whole} s"
        return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
