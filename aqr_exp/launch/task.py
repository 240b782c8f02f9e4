"""What a scheduler works on, who proposes it, and who is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aqr_exp.launch.outlook import View
from aqr_exp.launch.slots import Slot
from aqr_exp.results.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run a scheduler has to see through.

    Attributes:
        folder: The run's folder.
        create: Makes the folder when it is not there; None when it must be.
        expected_s: How long it is expected to take, in seconds; None when nothing tells.
        first: Whether it starts before longer ones: others are judged by it while they run.
    """

    folder: RunFolder
    create: Callable[[], None] | None = None
    expected_s: float | None = None
    first: bool = False


class Observer(Protocol):
    """Whoever shows what a scheduler does."""

    def started(self, task: Task, slot: Slot, attempt: int) -> None:
        """A run was started here."""

    def ended(self, task: Task, view: View, *, here: bool) -> None:
        """A run has an outcome; `here` when this scheduler executed it."""

    def stopping(self, running: int) -> None:
        """It was asked to stop, and so many trainings end their step now; told once."""

    def tick(self) -> None:
        """Time passes; called several times a second."""


class Source(Protocol):
    """Whoever proposes tasks while a scheduler works.

    Attributes:
        exhausted: Whether it will never propose another.
    """

    exhausted: bool

    def look(self, *, now: bool = False) -> Sequence[Task]:
        """Tasks that have come up since the last look; called several times a second."""

    def more(self) -> Sequence[Task]:
        """Tasks for a slot that would stay free; none for now, or for ever when exhausted."""
