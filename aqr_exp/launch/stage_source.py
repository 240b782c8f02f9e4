"""The runs of a sweep that goes on until it is decided: those of the next look, then its decision."""

import time
from collections.abc import Callable, Mapping

from aqr_exp.errors import AqrExpError
from aqr_exp.files.reading import file_sha256
from aqr_exp.files.suggest import some
from aqr_exp.launch.attempt import Decision, PriorState, decide, prior_state
from aqr_exp.launch.scheduler import Task, entry_of, planned_task
from aqr_exp.launch.trial_source import POLL_EVERY_S
from aqr_exp.statistics.sequential import next_decision, said
from aqr_exp.store.collect import read_row
from aqr_exp.store.counting import RunFolders
from aqr_exp.store.decisions import Decided, read_decided, write_once
from aqr_exp.store.looks import Looks
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepFolder
from aqr_exp.sweep.plan import PlannedRun

TRIES = 2
"""A run that failed so often has failed for good: its arm is judged without it."""


STUCK_AFTER_S = 3.0
"""A look is given up here when for so long nothing that it waits for could go on."""


class StageSource:
    """Proposes the runs of one look after another, and decides when all of them have ended.

    What is decided follows from the runs' folders and earlier decisions alone: several processes may work
    on the sweep, and whoever comes first writes the decision down for all.

    Args:
        runs: All runs that the plan may need, by name.
        threads: Those of a run that its configuration does not give any.
        watch: Told every task, once.
        say: Told each decision in lines.

    Attributes:
        exhausted: Whether all is decided, or what the next look needs was cancelled or cannot be read.
    """

    def __init__(
        self,
        runs: Mapping[str, PlannedRun],
        store: Store,
        sweep: SweepFolder,
        *,
        threads: int,
        watch: Callable[[Task], None],
        say: Callable[[str], None],
    ) -> None:
        self._runs, self._store, self._sweep = runs, store, sweep
        self._threads, self._watch, self._say = threads, watch, say
        self._folders = RunFolders(store)
        self._polled_at = float("-inf")
        self._given: dict[str, PriorState] = {}
        self._told = 0
        self._stuck_since: float | None = None
        self.exhausted = False
        self.waits_for = ""

    def poll(self, *, now: bool = False) -> list[Task]:
        """Decide what can be decided; returns the runs of the next look that were not returned yet."""
        if self.exhausted or (not now and time.monotonic() - self._polled_at < POLL_EVERY_S):
            return []
        self._polled_at = time.monotonic()
        while True:
            decided = read_decided(self._sweep)
            if decided is None:
                raise AqrExpError(f"sweep '{self._sweep.name}': its plan is gone")
            self._tell(decided)
            due = decided.due()
            if decided.look is None:
                self.exhausted = True
                return []
            ended = {name: self._outcome(name, decided.design.primary) for name in due}
            if any(one is None for one in ended.values()):
                names = [name for name in due if ended[name] is None]
                tasks = self._tasks(names)
                stuck = not tasks and all(map(self._is_stuck, names))
                self._stuck_since = (self._stuck_since or self._polled_at) if stuck else None
                # A lease that is just handed over says for a moment that its owner is unknown.
                if stuck and self._polled_at - (self._stuck_since or 0.0) >= STUCK_AFTER_S:
                    self._say(f"{self._sweep.name}: nothing is decided without {some(names)}")
                    self.exhausted = True
                return tasks
            self._decide(decided, {name: one for name, one in ended.items() if one is not None})

    def propose(self) -> list[Task]:
        """As `poll`: runs of a look that is not due would be spared by its decision."""
        return self.poll(now=True)

    def _decide(self, decided: Decided, ended: Mapping[str, tuple[float | None, str]]) -> None:
        values = {name: value for name, (value, _) in ended.items()}
        missing = {name: why for name, (value, why) in ended.items() if value is None}
        metrics = {name: text for name, (value, text) in ended.items() if value is not None}
        write_once(self._sweep, next_decision(decided, values, missing, metrics))

    def _count_as_looks(self, decided: Decided) -> None:
        """Write down that the arms were looked at, for whoever judges them by another rule."""
        there = [name for name, value in decided.values.items() if value is not None]
        rows = [read_row(self._folder(name)) for name in there]
        arms = {
            arm: [row for row, name in zip(rows, there, strict=True) if name.startswith(f"{arm}-s")]
            for arm in (decided.design.reference, *decided.design.arms)
        }
        looks, reference = Looks(self._store.root), arms[decided.design.reference]
        for arm in decided.design.arms:
            if reference and arms[arm]:
                looks.record(reference, arms[arm])

    def _outcome(self, name: str, primary: str) -> tuple[float | None, str] | None:
        """A run's metric and the hash of its metrics file, or None and why; None while it is due."""
        folder = self._folder(name)
        if not folder.state_path.exists():
            return None
        row = read_row(folder)
        if row.completed:
            value = row.metric(primary)
            if value is None:
                return None, f"it has no {primary}"
            return value, file_sha256(folder.metrics_path)
        failed = row.status is RunStatus.FAILED and folder.read_state().failures >= TRIES
        if failed or row.status is RunStatus.PRUNED:
            return None, f"{row.status}: {' '.join((row.reason or '').split())[:200]}"
        return None

    def _tasks(self, names: list[str]) -> list[Task]:
        """New tasks, and again those that failed once."""
        due = [name for name in names if name not in self._given or self._failed_once(name)]
        tasks = []
        for name in due:
            task = planned_task(self._runs[name], self._folders, self._threads)
            if name not in self._given:
                self._watch(task)
            self._given[name] = prior_state(task.folder)
            tasks.append(task)
        if due:
            self._sweep.add_to_plan([entry_of(self._runs[name]) for name in due])
        return tasks

    def _failed_once(self, name: str) -> bool:
        folder = self._folder(name)
        failed = decide(folder, self._given[name]).decision is Decision.FAILED
        # It may have failed for good since its outcome was looked at.
        return failed and not self._is_stuck(name) and folder.read_state().failures < TRIES

    def _is_stuck(self, name: str) -> bool:
        """Whether a run was stopped on request, is damaged, or is held by who may be dead."""
        folder, given = self._folder(name), self._given[name]
        stopped = decide(folder, given).decision in {Decision.CANCELLED, Decision.UNKNOWN}
        row = read_row(folder)
        # Due, but not for this launcher, which has seen its end.
        ended = row.status in {RunStatus.CANCELLED, RunStatus.INTERRUPTED}
        return (
            stopped or row.status is RunStatus.DAMAGED or (ended and row.attempt > given.attempts)
        )

    def _folder(self, name: str) -> RunFolder:
        return self._folders.of(name)

    def _tell(self, decided: Decided) -> None:
        """Say decisions that were not said, those of other processes too."""
        for count in range(self._told + 1, len(decided.decisions) + 1):
            first = Decided(design=decided.design, decisions=decided.decisions[:count])
            self._count_as_looks(first)
            for line in said(first):
                self._say(line)
        self._told = len(decided.decisions)
