"""`aqr-exp watch`, and the screens of running sweeps: live on a terminal, plain lines elsewhere."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aqr_exp.cli import completion, console
from aqr_exp.cli.console import progress_line
from aqr_exp.errors import RequestError
from aqr_exp.files.progress import duration
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.files.text import printable, printable_lines
from aqr_exp.launch.attempt import Decision, RunSnapshot, last_log_lines
from aqr_exp.launch.scheduler import Task
from aqr_exp.launch.slots import Slot
from aqr_exp.store.counting import RunFolders
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store, results_root
from aqr_exp.store.sweep_folder import SweepFolder
from aqr_exp.sweep.status import RunLine, SweepStatus, WatchedRun, count_by_status, left_s

if TYPE_CHECKING:
    from rich.console import RenderableType

# More lines than this of running runs would push the totals off a terminal.
MOST_LINES = 40
LOG_LINES = 8


def totals_line(lines: Sequence[RunLine]) -> str:
    """Counts of runs by status, and the time left until all are done."""
    words = [f"{count} {status}" for status, count in count_by_status(lines).items()]
    remaining_s = left_s(lines)
    if remaining_s is not None:
        words.append(f"about {duration(remaining_s)} left")
    return f"{len(lines)} runs: " + (", ".join(words) or "nothing to do")


def failure_lines(name: str, reason: str | None, log: Sequence[str], log_path: str) -> list[str]:
    """A failed run: its reason, and the end of its log."""
    lines = [f"{name} failed: {printable(reason or 'no reason given')}"]
    if log:
        lines += [f"  the last lines of {log_path}:", *(f"  | {printable(line)}" for line in log)]
    return lines


def recovery_hints(statuses: Sequence[str]) -> list[str]:
    """Remedies for runs that did not complete, one line for each kind."""
    unknown, damaged = (statuses.count(status) for status in (RunStatus.UNKNOWN, RunStatus.DAMAGED))
    rest = len(statuses) - unknown - damaged
    lines = []
    if rest:
        lines.append(f"{rest} did not end well: `aqr-exp retry --failed` runs them again")
    if unknown:
        lines.append(
            f"{unknown} unknown: their processes run elsewhere and have stopped sending heartbeats; "
            "once you know that they are dead: `aqr-exp resume NAME --steal`"
        )
    if damaged:
        lines.append(
            f"{damaged} damaged: delete the folder of a damaged run; the next sweep recreates it"
        )
    return lines


class Screen(ABC):
    """Destination of lines, with the status of a sweep kept up to date.

    Attributes:
        say: Prints one line that stays.
        every_s: Seconds between two looks at the status.
    """

    every_s: float

    def __init__(
        self, status: SweepStatus, say: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self.say = say
        self._status = status
        self._clock = clock
        self._shown_at = float("-inf")

    def refresh(self, *, now: bool = False) -> None:
        """Show the status of the sweep, at intervals or now."""
        if now or self._clock() - self._shown_at >= self.every_s:
            self._shown_at = self._clock()
            self._show(self._status.look())

    @abstractmethod
    def _show(self, lines: Sequence[RunLine]) -> None:
        """Show the status."""


class PlainScreen(Screen):
    """Prints lines, and once a minute the totals and a line a running run."""

    every_s = 60.0

    def __init__(
        self,
        status: SweepStatus,
        say: Callable[[str], None] = console.say,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(status, say, clock)
        self._shown_at = clock()

    def _show(self, lines: Sequence[RunLine]) -> None:
        running = [line for line in lines if line.status is RunStatus.RUNNING]
        for line in running[:MOST_LINES]:
            self.say(f"  {line.name}: {progress_line(line.progress)}")
        self.say(totals_line(lines))


class LiveScreen(Screen):
    """Keeps a table of the running runs and the totals at the bottom of a terminal."""

    every_s = 0.5

    def __init__(
        self, status: SweepStatus, live: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # Lines are printed above the table.
        show = partial(live.console.print, markup=False, highlight=False, soft_wrap=True)
        super().__init__(status, lambda text: show(printable_lines(text)), clock)
        self._live = live

    def _show(self, lines: Sequence[RunLine]) -> None:
        self._live.update(live_table(lines), refresh=True)


def live_table(lines: Sequence[RunLine]) -> "RenderableType":
    """The running runs, a line each, and the totals."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, expand=True, show_header=False)
    # Where the terminal is narrow, the label gives way to the numbers.
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(width=16)
    table.add_column(no_wrap=True, overflow="ellipsis")
    shown = [line for line in lines if line.status in {RunStatus.RUNNING, RunStatus.UNKNOWN}]
    shared = _shared_words(lines)
    for line in shown[:MOST_LINES]:
        done, total = _steps(line.progress)
        unknown = line.status is RunStatus.UNKNOWN
        words = line.reason or line.status if unknown else progress_line(line.progress)
        bar = ProgressBar(total=total, completed=done, width=16, pulse=False)
        label = " ".join(word for word in line.label.split() if word not in shared)
        table.add_row(Text(printable(label)), bar, Text(printable(words)))
    more = [Text(f"and {len(shown) - MOST_LINES} more")] if len(shown) > MOST_LINES else []
    return Group(table, *more, Text(totals_line(lines), style="bold"))


def _shared_words(lines: Sequence[RunLine]) -> set[str]:
    """Words that all labels share: they would push out those that differ."""
    each = [set(line.label.split()[1:]) for line in lines]
    return set.intersection(*each) if len(each) > 1 else set()


def _steps(progress: Mapping[str, Any]) -> tuple[float, float]:
    """Steps done and all steps, as far as the progress has them."""
    step, steps = progress.get("step"), progress.get("steps")
    if isinstance(step, (int, float)) and isinstance(steps, (int, float)) and steps > 0:
        return step, steps
    return 0.0, 1.0


@contextmanager
def screen(status: SweepStatus, *, live: bool = True) -> Iterator[Screen]:
    """A screen for as long as the context lasts: live on a terminal, plain elsewhere or on request."""
    if not live or not console.on_terminal():
        yield PlainScreen(status)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as lines:
        yield LiveScreen(status, lines)


class ConsoleReporter:
    """Prints the events of a scheduler."""

    def __init__(self, screen: Screen, total: Callable[[], int]) -> None:
        self._screen = screen
        self._total = total
        self._started_at: dict[str, float] = {}
        self._ended = 0

    def started(self, task: Task, slot: Slot, attempt: int) -> None:
        """A run was started here."""
        again = f", attempt {attempt}" if attempt > 1 else ""
        self._started_at[task.folder.name] = time.monotonic()
        self._screen.say(f"{task.folder.name}: starts on {slot.name}{again}")

    def ended(self, task: Task, snapshot: RunSnapshot, *, here: bool) -> None:
        """A run has an outcome."""
        self._ended += 1
        folder, place = task.folder, f"[{self._ended}/{self._total()}]"
        if snapshot.decision is Decision.FAILED:
            log: list[str] = []
            with suppress(OSError):
                log = last_log_lines(folder, LOG_LINES)
            path = str(folder.train_log_path)
            for line in failure_lines(folder.name, snapshot.reason, log, path):
                self._screen.say(f"{place} {line}" if not line.startswith(" ") else line)
        elif here or snapshot.decision is not Decision.COMPLETED:
            since = self._started_at.get(folder.name) if here else None
            took = f" in {duration(time.monotonic() - since)}" if since is not None else ""
            reason = snapshot.reason or ("" if here else "?")
            words = f"{snapshot.decision.value}{took}" + (f": {reason}" if reason else "")
            self._screen.say(printable(f"{place} {folder.name} {words}"))

    def stopping(self, running: int) -> None:
        """A stop was requested; running trainings save their state first."""
        words = f"{running} trainings end their step and save it"
        if running == 1:
            words = "1 training ends its step and saves it"
        if running:
            self._screen.say(f"stopping: {words}; Ctrl-C again ends at once")

    def waiting(self, what: str) -> None:
        """Nothing runs here; what others do is waited for."""
        self._screen.say(printable(f"waiting for {what}"))

    def tick(self) -> None:
        """Time passes."""
        self._screen.refresh()


HELP = """
Only the runs' files are read: it works from any terminal and machine that sees the results, and
Ctrl-C ends the watching alone. It ends by itself when nothing is running or waiting any more.

\b
Examples:
  aqr-exp watch                       every run of the results folder
  aqr-exp watch bias_scale            the runs of one sweep
  aqr-exp watch bias_scale --once     the status now
  aqr-exp watch bias_scale --json
"""

LOOK_EVERY_S = 0.5
# A sweep that was just started has registered no scheduler yet.
SETTLING_S = 3.0


_SWEEP = console.argument(
    "[SWEEP]", "The sweep's name; every run without.", completion.started_sweeps
)


def command(
    sweep: Annotated[str | None, _SWEEP] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    as_json: console.Json = False,
) -> int:
    """Watch the runs of a sweep or of the results folder; returns the exit code."""
    store = Store(results_root())
    folder = find_sweep(store, sweep) if sweep else None
    status = SweepStatus(watched_runs(store, folder), store)
    if as_json:
        console.print_json(as_values(status.look(), folder))
        return 0
    if once:
        print_status(status.look(), folder)
        return 0
    started = time.monotonic()
    with screen(status) as shown:
        first = True
        while True:
            standing = {line.status for line in status.look()}
            waiting = RunStatus.TO_DO in standing and (folder is None or bool(folder.schedulers()))
            going_on = waiting or bool({RunStatus.RUNNING, RunStatus.SUBMITTED} & standing)
            if not going_on and time.monotonic() - started > SETTLING_S:
                break
            # Where nothing goes on the last words, below, say it all.
            shown.refresh(now=first and going_on)
            first = first and not going_on
            time.sleep(LOOK_EVERY_S)
    print_status(status.look(), folder)
    return 0


def find_sweep(store: Store, name: str) -> SweepFolder:
    """A sweep that was started, by its name.

    Raises:
        RequestError: There is none; names the nearest.
    """
    names = store.sweep_names()
    if name in names:
        return store.sweep(name)
    known = f" (started: {', '.join(names)})" if names else ": no sweep was started here"
    raise RequestError(f"unknown sweep '{name}'{did_you_mean(name, names)}{known}")


def watched_runs(store: Store, sweep: SweepFolder | None) -> list[WatchedRun]:
    """The runs of a sweep, or all."""
    if sweep is None:
        return [WatchedRun(folder=folder, label=folder.name) for folder in store]
    folders = RunFolders(store)
    return [
        WatchedRun(folder=folders.of(entry.name), label=entry.label, expected_s=entry.expected_s)
        for entry in sweep.read_plan()
    ]


def print_status(lines: list[RunLine], sweep: SweepFolder | None) -> None:
    """Print every run that is neither complete nor waiting, the schedulers and the totals."""
    for line in lines:
        if line.status is RunStatus.RUNNING:
            job = f" ({line.reason})" if line.reason else ""
            console.data(printable(f"{line.name} running: {progress_line(line.progress)}{job}"))
        elif line.status not in {RunStatus.COMPLETED, RunStatus.TO_DO}:
            reason = f": {line.reason}" if line.reason else ""
            console.data(printable(f"{line.name} {line.status}{reason}"))
    if sweep is not None:
        workers = ", ".join(map(str, sweep.schedulers())) or "no scheduler"
        console.data(f"worked on by: {workers}")
        for words in _decisions(sweep):
            console.data(printable(words))
    console.data(totals_line(lines))


def _decisions(sweep: SweepFolder) -> list[str]:
    """Where the decisions of a sweep are that runs until it is decided; none of others."""
    if not sweep.decisions_dir.is_dir():
        return []
    from aqr_exp.statistics.sequential import said
    from aqr_exp.store.decisions import read_decided

    decided = read_decided(sweep)
    return [] if decided is None else said(decided)


def as_values(lines: list[RunLine], sweep: SweepFolder | None) -> dict[str, object]:
    """The status of a sweep as plain values."""
    return {
        "sweep": sweep.name if sweep else None,
        "schedulers": [str(standing) for standing in sweep.schedulers()] if sweep else [],
        "decisions": _decisions(sweep) if sweep else [],
        "totals": count_by_status(lines),
        "left_s": left_s(lines),
        "runs": [asdict(line) for line in lines],
    }
