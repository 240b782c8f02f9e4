"""A run's progress while one waits: one live line on a terminal, few plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aqr_exp.cli import output
from aqr_exp.cli.show import progress_line

PLAIN_EVERY_S = 10.0

Show = Callable[[dict[str, Any]], None]


class PlainProgress:
    """Prints a line when phase or epoch changed, and otherwise at most every ten seconds.

    Args:
        say: Where lines go.
        clock: Seconds that only grow.
    """

    def __init__(
        self, say: Callable[[str], None] = output.say, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._clock = clock
        self._said: tuple[Any, Any] | None = None
        self._said_at = 0.0

    def __call__(self, progress: dict[str, Any]) -> None:
        """Print the progress when it is time to."""
        now = self._clock()
        stage = (progress.get("phase"), progress.get("epoch"))
        if stage != self._said or now - self._said_at >= PLAIN_EVERY_S:
            self._said, self._said_at = stage, now
            self._say(progress_line(progress))


@contextmanager
def run_progress() -> Iterator[Show]:
    """Show a run's progress until the context ends.

    Yields:
        A function that takes what `progress.json` holds.
    """
    if not output.on_terminal():
        yield PlainProgress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    columns = (SpinnerColumn(), BarColumn(bar_width=24), TimeElapsedColumn())
    words = TextColumn("{task.description}", markup=False)
    with Progress(*columns, words, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("setup", total=None)

        def show(progress: dict[str, Any]) -> None:
            bar.update(
                task,
                description=Text(progress_line(progress)).plain,
                completed=progress.get("step") or 0,
                total=progress.get("steps"),
            )

        yield show


@contextmanager
def counted_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many of how many are done.

    Args:
        what: What is counted, such as `scenes`.

    Yields:
        A function of (done, total).
    """
    if not output.on_terminal():
        said_at = time.monotonic()

        def say(done: int, total: int) -> None:
            nonlocal said_at
            if done == total or time.monotonic() - said_at >= PLAIN_EVERY_S:
                said_at = time.monotonic()
                output.say(f"{done} of {total} {what}")

        yield say
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
