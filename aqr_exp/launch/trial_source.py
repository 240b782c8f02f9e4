"""Trials of a search as tasks: proposed, judged while they train, pruned so that none restarts."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

from optuna.trial import FrozenTrial

from aqr_exp.config import BASELINE
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.launch.scheduler import Task, entry_of, planned_task
from aqr_exp.store.collect import read_row
from aqr_exp.store.counting import RunFolders
from aqr_exp.store.lease import LeaseInfo, LockHeldError, claim
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import RunStatus
from aqr_exp.store.sweep_folder import SweepFolder
from aqr_exp.sweep.expand import POINT
from aqr_exp.sweep.plan import Plan, PlannedRun
from aqr_exp.sweep.search import GIVEN_UP, PruneRule
from aqr_exp.sweep.study import SearchStudy
from aqr_exp.sweep.trials import Curves, TrialPlanner

_ENDED = frozenset({RunStatus.COMPLETED, RunStatus.PRUNED})


def mark_pruned(task: Task, why: str) -> bool:
    """Stop a run, or keep it from being started; to be called until it returns True.

    A folder that is absent is made, so that tables name the run.

    Returns:
        True once the run has ended: as pruned, or completed before the request reached it.
    """
    folder = task.folder
    if task.create is not None and not folder.path.exists():
        with contextlib.suppress(FileExistsError):
            task.create()
    if folder.effective_status() in _ENDED:
        return True
    if folder.lease_info() is not None:
        asked = folder.cancel_request()
        if asked is None or (asked.status, asked.reason) != (RunStatus.PRUNED, why):
            folder.request_cancel(why, RunStatus.PRUNED)
        return False
    try:
        with folder.launch_lock(), folder.lock():
            if folder.effective_status(ours=True) is not RunStatus.COMPLETED:
                folder.write_state(RunStatus.PRUNED, reason=why)
    except LockHeldError:
        return False
    return True


POLL_EVERY_S = 1.0


class TrialSource:
    """The runs of a search's trials, as far as they have been proposed.

    A trial belongs to the study and not to a process: every process that works on the sweep sees all
    open trials, and the leases of their runs decide who executes them. What becomes of a trial
    follows from its runs' folders alone.

    Args:
        sweep: The sweep's folder, with the lease of the study.
        threads: Those of a run that its configuration does not give any.
        watch: Told every task, once.
        say: Told in a line what becomes of trials.

    Attributes:
        exhausted: Whether as many trials have been proposed as were asked for.
    """

    def __init__(
        self,
        planner: TrialPlanner,
        study: SearchStudy,
        sweep: SweepFolder,
        folders: RunFolders,
        *,
        threads: int,
        watch: Callable[[Task], None],
        say: Callable[[str], None],
    ) -> None:
        self._planner = planner
        self._study = study
        self._sweep = sweep
        self._folders = folders
        self._threads = threads
        self._watch = watch
        self._say = say
        self._polled_at = float("-inf")
        self._plans: dict[int, Plan] = {}
        self._tasks: dict[str, Task] = {}
        self._curves = Curves(study.search.objective)
        self._judged: set[tuple[int, int]] = set()
        self.exhausted = False
        self.waits_for = ""

    def poll(self, *, now: bool = False) -> list[Task]:
        """Account for trials whose runs have ended, prune hopeless ones, see those of others.

        Args:
            now: Also when the last poll was a moment ago.

        Returns:
            Tasks that were not returned before; none while another process changes the study.
        """
        if not now and time.monotonic() - self._polled_at < POLL_EVERY_S:
            return []
        self._polled_at = time.monotonic()
        with self._held() as held:
            return self._open_tasks() if held else []

    def propose(self) -> list[Task]:
        """Propose trials until one of them has something to run; called when a slot is free.

        Returns:
            Its tasks; none when all trials have been proposed, or another process proposes now.
        """
        with self._held() as held:
            tasks = self._open_tasks() if held else []
            while held and not tasks and not self.exhausted and not self._copy_in_hand():
                tasks = self._advance(self._study.ask())
                self.exhausted = len(self._study.trials()) >= self._study.search.trials
            return tasks

    def _copy_in_hand(self) -> bool:
        """Whether an open trial waits for runs of another: a space so small is asked again later."""
        seen: set[str] = set()
        for trial in self._study.trials():
            if not trial.state.is_finished() and trial.number in self._plans:
                names = {run.name for run in self._plans[trial.number].runs if POINT in run.labels}
                if names & seen and any(self._tasks[name].folder.lease_info() for name in names):
                    return True
                seen |= names
        return False

    @contextlib.contextmanager
    def _held(self) -> Iterator[bool]:
        """Hold the study, if nobody else does at this moment."""
        lease = claim(self._sweep.study_lease_path)
        held = isinstance(lease, LeaseInfo)
        self.waits_for = f"the study of {self._sweep.name}, held by {lease}" if held else ""
        if isinstance(lease, LeaseInfo):
            yield False
            return
        try:
            yield True
        finally:
            lease.release()

    def _open_tasks(self) -> list[Task]:
        """New tasks of all open trials."""
        trials = self._study.trials()
        self.exhausted = len(trials) >= self._study.search.trials
        unfinished = [trial for trial in trials if not trial.state.is_finished()]
        return [task for trial in unfinished for task in self._advance(trial)]

    def _advance(self, trial: FrozenTrial) -> list[Task]:
        """Bring one open trial up to date; returns its tasks that are new."""
        number = trial.number
        if number not in self._plans:
            try:
                self._plans[number] = self._planner.plan(self._study.search.point(trial))
            except RequestError as error:
                reason = " ".join(str(error).split())
                self._study.fail(number, reason)
                self._say(f"trial {number} is no run: {reason}")
                return []
            self._sweep.add_to_plan([entry_of(run) for run in self._plans[number].runs])
        runs = self._plans[number].runs
        new = [run for run in runs if run.name not in self._tasks]
        self._tasks |= {run.name: self._task_of(run) for run in new}
        self._settle(trial, runs)
        return [self._tasks[run.name] for run in new if not _ended(self._folder(run))]

    def _task_of(self, run: PlannedRun) -> Task:
        task = planned_task(run, self._folders, self._threads)
        task = dataclasses.replace(task, first=POINT not in run.labels)
        self._watch(task)
        return task

    def _settle(self, trial: FrozenTrial, runs: Sequence[PlannedRun]) -> None:
        """Tell a trial's end when it has one, and the newest of it when it has none yet."""
        points = [run for run in runs if POINT in run.labels]
        folders = [self._folder(run) for run in points]
        rows = [read_row(folder) for folder in folders if folder.state_path.exists()]
        if len(rows) == len(folders) and all(row.completed for row in rows):
            values = [row.metric(self._study.search.objective) for row in rows]
            self._complete(trial, [value for value in values if value is not None], len(rows))
            return
        reason = trial.user_attrs.get(GIVEN_UP)
        if reason is None:
            pruned = [row.reason or "given up" for row in rows if row.status is RunStatus.PRUNED]
            reason = pruned[0] if pruned else self._hopeless(trial, runs)
            if reason is None:
                return
            self._study.give_up(trial.number, reason)
            self._say(f"trial {trial.number} is given up: {reason}")
        ended = [mark_pruned(self._tasks[run.name], reason) for run in points]
        if all(ended):
            self._study.prune(trial.number)

    def _complete(self, trial: FrozenTrial, values: Sequence[float], runs: int) -> None:
        """Tell the objective: the mean over seeds, which all must have it."""
        objective = self._study.search.objective
        if len(values) < runs:
            reason = f"{runs - len(values)} of {runs} runs have no {objective}"
            self._study.fail(trial.number, reason)
            self._say(f"trial {trial.number}: {reason}")
            return
        self._study.complete(trial.number, fmean(values))
        words = " ".join(item.typed for item in self._study.search.point(trial))
        self._say(f"trial {trial.number}: {objective} {fmean(values):.4f} ({words})")

    def _hopeless(self, trial: FrozenTrial, runs: Sequence[PlannedRun]) -> str | None:
        """The reason to prune a trial at its newest epoch; None when there is none."""
        pruning = self._study.search.pruning
        if pruning is None:
            return None
        ends = min(run.config.schedule.epochs for run in runs if POINT in run.labels)
        curve = self._curve(runs, POINT)
        # What is reached in the last epoch is there: stopping would spare nothing.
        curve = {epoch: value for epoch, value in curve.items() if epoch < ends}
        for epoch in sorted(curve.keys() - trial.intermediate_values.keys()):
            self._study.report(trial.number, epoch, curve[epoch])
        if not curve or (trial.number, max(curve)) in self._judged:
            return None
        newest = max(curve)
        baseline = None
        if pruning.rule is PruneRule.BASELINE:
            baseline = self._curve(runs, BASELINE).get(newest)
            if baseline is None:
                return None
        self._judged.add((trial.number, newest))
        if not self._study.hopeless(trial.number, baseline):
            return None
        objective = self._study.search.objective
        against = {
            PruneRule.BASELINE: f"{_number(baseline)} of the baseline",
            PruneRule.MEDIAN: "the median of earlier points",
            PruneRule.ASHA: "those promoted by successive halving",
        }[pruning.rule]
        return f"{objective} {_number(curve[newest])} after epoch {newest}, behind {against}"

    def _curve(self, runs: Sequence[PlannedRun], label: str) -> dict[int, float]:
        """The objective by epoch, the mean of the runs with this label."""
        return self._curves.mean([self._folder(run) for run in runs if label in run.labels])

    def _folder(self, run: PlannedRun) -> RunFolder:
        return self._tasks[run.name].folder


def _ended(folder: RunFolder) -> bool:
    """Whether a run needs no launcher: it is complete or given up."""
    try:
        return folder.state_path.exists() and folder.effective_status() in _ENDED
    except AqrExpError:
        return False  # the scheduler says what is wrong with it


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.4f}"
