"""How a sweep stands, from its runs' files alone: the same for who executes it and who only looks."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import IN_HAND, SHOWN, RunStatus


@dataclass(frozen=True, kw_only=True)
class WatchedRun:
    """A run to look at.

    Attributes:
        folder: Its folder, which need not exist yet.
        label: What a person calls it.
        expected_s: How long it is expected to take, in seconds.
    """

    folder: RunFolder
    label: str
    expected_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunLine:
    """How one run stands.

    Attributes:
        name: The run's name.
        label: What a person calls it.
        status: One of `SHOWN`.
        reason: Why it failed, was cancelled, or cannot be read.
        attempt: How often it was started.
        progress: What `progress.json` of a running one holds.
        expected_s: How long it is expected to take, in seconds.
    """

    name: str
    label: str
    status: RunStatus
    reason: str | None = None
    attempt: int = 1
    progress: dict[str, Any] = field(default_factory=dict)
    expected_s: float | None = None

    @property
    def left_s(self) -> float | None:
        """Seconds it still needs, as far as anything tells."""
        if self.status is RunStatus.TO_DO:
            return self.expected_s
        eta_s = self.progress.get("eta_s")
        return float(eta_s) if isinstance(eta_s, (int, float)) else None


class SweepStatus:
    """Looks at the runs of a sweep; what is complete is read once.

    Args:
        runs: The runs to look at.
    """

    def __init__(self, runs: Iterable[WatchedRun]) -> None:
        self._runs = list(runs)
        self._complete: dict[str, RunLine] = {}

    def __len__(self) -> int:
        """How many runs there are."""
        return len(self._runs)

    def add(self, run: WatchedRun) -> None:
        """Look at one more run."""
        self._runs.append(run)

    def look(self) -> list[RunLine]:
        """How every run stands now, in order."""
        return [self._complete.get(run.folder.name) or self._line(run) for run in self._runs]

    def _line(self, run: WatchedRun) -> RunLine:
        line = line_of(run)
        if line.status is RunStatus.COMPLETED:
            self._complete[line.name] = line
        return line


def line_of(run: WatchedRun) -> RunLine:
    """How one run stands; whatever is wrong with its files becomes status and reason."""
    folder = run.folder
    about: dict[str, Any] = {
        "name": folder.name,
        "label": run.label,
        "expected_s": run.expected_s,
    }
    try:
        if not folder.path.exists():
            return RunLine(status=RunStatus.TO_DO, **about)
        status, state = folder.effective_status(), folder.read_state()
        about |= {"attempt": state.attempt, "reason": state.reason}
        if status is RunStatus.PLANNED:
            return RunLine(status=RunStatus.TO_DO, **about)
        if status in IN_HAND:
            return RunLine(status=RunStatus.RUNNING, progress=folder.read_progress() or {}, **about)
        if status is RunStatus.UNKNOWN:
            about["reason"] = f"held by {folder.holder()}"
    except (AqrExpError, OSError) as error:
        return RunLine(status=RunStatus.DAMAGED, **{**about, "reason": str(error)})
    return RunLine(status=status, **about)


def totals(lines: Sequence[RunLine]) -> dict[RunStatus, int]:
    """How many runs there are of each status, in the order of `SHOWN`; none are left out."""
    counted = Counter(line.status for line in lines)
    return {status: counted[status] for status in SHOWN if counted[status]}


def left_s(lines: Sequence[RunLine]) -> float | None:
    """Seconds until the running and the waiting runs are through; None when nothing tells.

    Args:
        lines: How the runs stand. Runs that do not say how long they need count as the mean of
            those that do; as many as run now are taken to run side by side to the end.
    """
    open_lines = [line for line in lines if line.status in {RunStatus.RUNNING, RunStatus.TO_DO}]
    known = [line.left_s for line in open_lines if line.left_s is not None]
    if not known:
        return None
    work_s = sum(known) / len(known) * len(open_lines)
    side_by_side = max(1, sum(line.status is RunStatus.RUNNING for line in open_lines))
    return max(work_s / side_by_side, *known)
