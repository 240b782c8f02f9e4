"""Progress of long work: callbacks that are called after each piece of it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

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
