"""What a sweep says while its runs start and end."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from aqr_exp.cli.show import duration
from aqr_exp.cli.sweep_view import LOG_LINES, Screen, failure_lines
from aqr_exp.launch.outlook import Outlook, View
from aqr_exp.launch.slots import Slot
from aqr_exp.launch.task import Task

if TYPE_CHECKING:
    from aqr_exp.results.run_folder import RunFolder


class Narrator:
    """Says what a scheduler does.

    Args:
        screen: Where it is said.
        total: How many runs there are by now.
    """

    def __init__(self, screen: Screen, total: Callable[[], int]) -> None:
        self._screen = screen
        self._total = total
        self._started_at: dict[str, float] = {}
        self._ended = 0
        self.before = 0

    def started(self, task: Task, slot: Slot, attempt: int) -> None:
        """A run was started here."""
        again = f", attempt {attempt}" if attempt > 1 else ""
        self._started_at[task.folder.name] = time.monotonic()
        self._screen.say(f"{task.folder.name}: starts on {slot.name}{again}")

    def ended(self, task: Task, view: View, *, here: bool) -> None:
        """A run has an outcome."""
        self._ended += 1
        folder, place = task.folder, f"[{self._ended}/{self._total()}]"
        if view.outlook is Outlook.FAILED:
            for line in failure_lines(folder.name, view.reason, *_log(folder)):
                self._screen.say(f"{place} {line}" if not line.startswith(" ") else line)
        elif here:
            since = self._started_at.get(folder.name)
            took = f" in {duration(time.monotonic() - since)}" if since is not None else ""
            reason = f": {view.reason}" if view.reason else ""
            self._screen.say(f"{place} {folder.name} {view.outlook.value}{took}{reason}")
        elif view.outlook is Outlook.COMPLETED:
            self.before += 1
        else:
            self._screen.say(f"{place} {folder.name} {view.outlook.value}: {view.reason or '?'}")

    def stopping(self, running: int) -> None:
        """It was asked to stop: what goes on now may take a while."""
        words = f"{running} trainings end their step and save it"
        if running == 1:
            words = "1 training ends its step and saves it"
        if running:
            self._screen.say(f"stopping: {words}; Ctrl-C again ends at once")

    def tick(self) -> None:
        """Time passes."""
        self._screen.refresh()


def _log(folder: "RunFolder") -> tuple[list[str], str]:
    from aqr_exp.launch.training import last_log_lines

    try:
        return last_log_lines(folder, LOG_LINES), str(folder.train_log_path)
    except OSError:
        return [], str(folder.train_log_path)
