"""The status of a sweep: its planned runs, their completeness, and its runs as they are watched."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from aqr_exp.config.identity import as_dict, setting_fingerprint
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import AqrExpError
from aqr_exp.files.run_name import RunName, arm_of
from aqr_exp.statistics.metrics import TRAIN_TIME
from aqr_exp.store.collect import RunRow, collect, read_row, with_settings
from aqr_exp.store.counting import RunFolders, by_first_name, counting_run, grouped, shown_run
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import IN_HAND, NEEDS_RUN, OVER, SHOWN, RunStatus
from aqr_exp.store.store import Store
from aqr_exp.store.submissions import Jobs
from aqr_exp.store.sweep_folder import SweepEntry
from aqr_exp.sweep.plan import Plan, PlannedRun


@dataclass(frozen=True, kw_only=True)
class PlannedRunStatus:
    """A planned run with its status.

    Attributes:
        state: Its effective status; to do when it was never made or only planned.
        reason: The reason of a bad end, or the process that works on it.
        folder: The name of the folder that counts or is continued: of a rerun where there is one.
    """

    run: PlannedRun
    state: RunStatus
    reason: str | None = None
    folder: str

    @property
    def needs_run(self) -> bool:
        """Running the sweep again starts it."""
        return self.state in NEEDS_RUN


class StatusReader:
    """The statuses of planned runs, from one reading of a results folder."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows = collect(store)
        self._reruns = by_first_name(self._rows)

    def of(self, plan: Plan) -> list[PlannedRunStatus]:
        """The status of every run of a plan, in the plan's order."""
        return [self._status_of(run) for run in plan.runs]

    def completed(self, names: Iterable[str]) -> list[RunRow]:
        """The complete ones of some runs: of several reruns the one that counts."""
        reruns = (self._reruns[name] for name in names if name in self._reruns)
        return [row for rows in reruns if (row := counting_run(rows)) is not None]

    def expected(self) -> Callable[[RunConfig], float | None]:
        """Expected training times, from completed runs."""
        return expected_from(with_settings(self._store, self._rows))

    def _status_of(self, run: PlannedRun) -> PlannedRunStatus:
        if run.name not in self._reruns:
            return PlannedRunStatus(run=run, state=RunStatus.TO_DO, folder=run.name)
        row = shown_run(self._reruns[run.name])
        reason = row.reason
        if row.status in IN_HAND:
            reason = self._store.folder(row.name).owner() or reason
        state = RunStatus.TO_DO if row.status is RunStatus.PLANNED else row.status
        return PlannedRunStatus(run=run, state=state, reason=reason, folder=row.name)


def expected_from(rows: Iterable[RunRow]) -> Callable[[RunConfig], float | None]:
    """Expected training times from earlier runs.

    Args:
        rows: Those runs, with their settings.

    Returns:
        Seconds for a run: the mean of completed runs with its variant, model, data and schedule;
        where there are none, of other variants with the same; else None. A run that was resumed
        was timed for its last attempt only and does not count.
    """
    same: dict[tuple[str | None, str], list[float]] = defaultdict(list)
    for row in rows:
        seconds = row.metric(TRAIN_TIME) if row.completed and row.attempt == 1 else None
        if seconds and row.setting is not None:
            same[row.variant, row.setting].append(seconds)
            same[None, row.setting].append(seconds)
    settings: dict[tuple[object, ...], str] = {}

    def seconds_of(config: RunConfig) -> float | None:
        if not same:
            return None
        parts = (config.model, config.data, config.schedule, config.start)
        if parts not in settings:
            settings[parts] = setting_fingerprint(as_dict(config))
        setting = settings[parts]
        times = same.get((config.variant.name, setting)) or same.get((None, setting))
        return fmean(times) if times else None

    return seconds_of


@dataclass(frozen=True, kw_only=True)
class Totals:
    """A plan in a few numbers.

    Attributes:
        states: Runs by state, the most frequent first.
        expected_s: Expected training time of what is left to do, one run after the other.
        untimed: How many of those nothing tells the time of.
    """

    runs: int
    states: Mapping[RunStatus, int]
    expected_s: float
    untimed: int


def totals(statuses: Sequence[PlannedRunStatus]) -> Totals:
    """Sum up the statuses of a plan."""
    holes = [status.run.expected_s for status in statuses if status.needs_run]
    return Totals(
        runs=len(statuses),
        states=dict(Counter(status.state for status in statuses).most_common()),
        expected_s=sum(seconds for seconds in holes if seconds is not None),
        untimed=holes.count(None),
    )


@dataclass(frozen=True, kw_only=True)
class CompletenessRow:
    """One point.

    Attributes:
        overrides: What distinguishes it: those that not all points of the sweep share.
        fingerprint: Its identity without the seed.
        labels: Why it is in the sweep.
        states: By seed; None where a condition left the seed out.
    """

    variant: str
    overrides: tuple[str, ...]
    fingerprint: str
    labels: tuple[str, ...]
    states: tuple[RunStatus | None, ...]


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Points by seeds, both in the sweep's order."""

    seeds: tuple[int, ...]
    rows: tuple[CompletenessRow, ...]


def completeness(statuses: Sequence[PlannedRunStatus]) -> Matrix:
    """Lay runs out by point and seed."""
    seeds = tuple(dict.fromkeys(status.run.seed for status in statuses))
    # What every run has, baselines apart, distinguishes nothing.
    each = [set(item.run.overrides) for item in statuses if item.run.labels != ("baseline",)]
    shared = set.intersection(*each) if len(each) > 1 else set()
    rows = []
    for point in grouped(statuses, lambda status: arm_of(status.run.name)).values():
        run, states = point[0].run, {status.run.seed: status.state for status in point}
        name = RunName.parse(run.name)
        rows.append(
            CompletenessRow(
                variant=run.variant,
                overrides=tuple(item for item in run.overrides if item not in shared),
                fingerprint=name.fingerprint if name else "",
                labels=run.labels,
                states=tuple(map(states.get, seeds)),
            )
        )
    return Matrix(seeds=seeds, rows=tuple(rows))


@dataclass(frozen=True, kw_only=True)
class RemovedRun:
    """A run that a sweep means no more and that is not complete, cancelled or pruned.

    Attributes:
        entry: What the sweep wrote down about it.
        state: Its effective status.
        reason: Why it failed or is damaged; who works on it.
    """

    entry: SweepEntry
    folder: RunFolder
    state: RunStatus
    reason: str | None = None


def removed_runs(name: str, planned: Collection[str], store: Store) -> list[RemovedRun]:
    """The runs that belong to a sweep's folder, not to its plan, and that no other sweep means."""
    sweep = store.sweep(name)
    entries = [item for item in sweep.read_known() if item.name not in planned]
    if not entries:
        return []
    others = _meant_by_others(name, store)
    folders = RunFolders(store)
    made = ((entry, folders.of(entry.name)) for entry in entries if entry.name not in others)
    found = (_look(entry, folder) for entry, folder in made if folder.path.exists())
    return [removed for removed in found if removed.state not in OVER]


def _look(entry: SweepEntry, folder: RunFolder) -> RemovedRun:
    row = read_row(folder)
    owner = None if row.status is RunStatus.DAMAGED else folder.owner()
    return RemovedRun(entry=entry, folder=folder, state=row.status, reason=owner or row.reason)


def _meant_by_others(name: str, store: Store) -> set[str]:
    """The runs that other sweeps mean; a sweep whose plan cannot be read means nothing."""
    found: set[str] = set()
    for other in store.sweep_names():
        if other != name:
            try:
                found |= {entry.name for entry in store.sweep(other).read_plan()}
            except AqrExpError:
                continue
    return found


@dataclass(frozen=True, kw_only=True)
class WatchedRun:
    """A run to look at, the name people know it by, and how many seconds it is expected to take.

    Its folder need not exist yet.
    """

    folder: RunFolder
    label: str
    expected_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunLine:
    """The status of one watched run.

    Attributes:
        label: Its name for people.
        status: One of `SHOWN`.
        reason: Why it failed, was cancelled, or cannot be read.
        attempt: How often it was started.
        progress: What `progress.json` of a running one holds.
        expected_s: How long it is expected to take, in seconds; of a complete one how long it took.
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
        if self.status in {RunStatus.TO_DO, RunStatus.SUBMITTED}:
            return self.expected_s
        eta_s = self.progress.get("eta_s")
        return float(eta_s) if isinstance(eta_s, (int, float)) else None

    @property
    def whole_s(self) -> float | None:
        """Seconds it needs from its start to its end, as far as anything tells."""
        left_s, step, steps = self.left_s, self.progress.get("step"), self.progress.get("steps")
        if self.expected_s is not None or left_s is None or self.progress.get("phase") != "train":
            return self.expected_s
        if not (isinstance(step, int) and isinstance(steps, int) and 0 < step < steps):
            return left_s
        return left_s * steps / (steps - step)


class SweepStatus:
    """Looks at the runs of a sweep; what is complete is read once.

    Args:
        store: The results folder whose jobs are looked at, too; None looks at none.
    """

    def __init__(self, runs: Iterable[WatchedRun], store: Store | None = None) -> None:
        self._runs = list(runs)
        self._store = store
        self._complete: dict[str, RunLine] = {}

    def __len__(self) -> int:
        """The number of runs."""
        return len(self._runs)

    def add(self, run: WatchedRun) -> None:
        """Look at one more run."""
        self._runs.append(run)

    def look(self) -> list[RunLine]:
        """The lines of all runs now, in order."""
        lines = [self._complete.get(run.folder.name) or line_of(run) for run in self._runs]
        self._complete |= {line.name: line for line in lines if line.status is RunStatus.COMPLETED}
        return lines if self._store is None else with_jobs(lines, self._store)


def with_jobs(lines: Sequence[RunLine], store: Store) -> list[RunLine]:
    """The lines, with what Slurm says of those that its jobs run or are to run."""
    jobs = Jobs(store.root)
    found = ((line, jobs.look(store.folder(line.name), line.status)) for line in lines)
    return [replace(line, status=it[0], reason=it[1]) if it else line for line, it in found]


def line_of(run: WatchedRun) -> RunLine:
    """The line of one run; faults of its files become status and reason."""
    folder = run.folder
    line = RunLine(
        name=folder.name, label=run.label, status=RunStatus.TO_DO, expected_s=run.expected_s
    )
    if not folder.path.exists():
        return line
    row = read_row(folder)
    line = replace(line, attempt=row.attempt, reason=row.reason)
    if row.status is RunStatus.PLANNED:
        return line
    if row.status not in IN_HAND:
        took_s = row.metric("train_time_s")
        return replace(line, status=row.status, expected_s=took_s or line.expected_s)
    try:
        progress = folder.read_progress() or {}
    except (AqrExpError, OSError) as error:
        return replace(line, status=RunStatus.DAMAGED, reason=str(error))
    return replace(line, status=RunStatus.RUNNING, progress=progress)


def count_by_status(lines: Sequence[RunLine]) -> dict[RunStatus, int]:
    """The number of runs in each status, in the order of `SHOWN`, without zeros."""
    counted = Counter(line.status for line in lines)
    return {status: counted[status] for status in SHOWN if counted[status]}


def left_s(lines: Sequence[RunLine]) -> float | None:
    """Seconds until the running and the waiting runs are through; None when nothing tells.

    Args:
        lines: The runs. A waiting one that does not say how long it needs counts as the mean of those
            that do, complete ones among them; as many as run now are taken to run side by side to the
            end.
    """
    going_on = {RunStatus.RUNNING, RunStatus.TO_DO, RunStatus.SUBMITTED}
    open_lines = [line for line in lines if line.status in going_on]
    known = [line.left_s for line in open_lines if line.left_s is not None]
    if not known:
        return None
    whole = [line.whole_s for line in lines if line.whole_s is not None] or known
    work_s = sum(known) + sum(whole) / len(whole) * (len(open_lines) - len(known))
    side_by_side = max(1, sum(line.status is RunStatus.RUNNING for line in open_lines))
    return max(work_s / side_by_side, *known)
