"""How the runs of a plan stand, read from the results folder."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from aqr_exp.config.identity import as_dict, setting_fingerprint
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import AqrExpError
from aqr_exp.files.run_name import RunName, arm_of
from aqr_exp.statistics.metrics import TRAIN_TIME
from aqr_exp.store.collect import RunRow, collect, with_settings
from aqr_exp.store.counting import RunFolders, by_first_name, shown_run
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import IN_HAND, NEEDS_RUN, OVER, RunStatus
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry
from aqr_exp.sweep.plan import Plan, PlannedRun


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One planned run and how it stands.

    Attributes:
        run: The run.
        state: Its effective status; to do when it was never made or only planned.
        reason: Why, when it did not end well; who works on it, when somebody does.
        folder: The name of the folder that counts or is continued: of a rerun where there is one.
    """

    run: PlannedRun
    state: RunStatus
    reason: str | None = None
    folder: str

    @property
    def hole(self) -> bool:
        """Whether running the sweep again starts it."""
        return self.state in NEEDS_RUN


class Standings:
    """One reading of a results folder, asked about many runs.

    Args:
        store: Where runs are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows = collect(store)
        self._reruns = by_first_name(self._rows)

    def of(self, plan: Plan) -> list[Standing]:
        """How every run of a plan stands, in the plan's order."""
        return [self._standing(run) for run in plan.runs]

    def expected(self) -> Callable[[RunConfig], float | None]:
        """How long a run is expected to train, from those that have."""
        return expected_from(with_settings(self._store, self._rows))

    def _standing(self, run: PlannedRun) -> Standing:
        if run.name not in self._reruns:
            return Standing(run=run, state=RunStatus.TO_DO, folder=run.name)
        row = shown_run(self._reruns[run.name])
        reason = row.reason
        if row.status in IN_HAND:
            reason = self._store.folder(row.name).holder() or reason
        state = RunStatus.TO_DO if row.status is RunStatus.PLANNED else row.status
        return Standing(run=run, state=state, reason=reason, folder=row.name)


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
        runs: How many runs.
        states: Runs by state, the most frequent first.
        expected_s: Expected training time of what is left to do, one run after the other.
        untimed: How many of those nothing tells the time of.
    """

    runs: int
    states: Mapping[RunStatus, int]
    expected_s: float
    untimed: int


def totals(standings: Sequence[Standing]) -> Totals:
    """Sum up how a plan stands."""
    holes = [standing.run.expected_s for standing in standings if standing.hole]
    return Totals(
        runs=len(standings),
        states=dict(Counter(standing.state for standing in standings).most_common()),
        expected_s=sum(seconds for seconds in holes if seconds is not None),
        untimed=holes.count(None),
    )


@dataclass(frozen=True, kw_only=True)
class Row:
    """One point.

    Attributes:
        variant: Its arm.
        overrides: What distinguishes it: those that not all points of the sweep share.
        labels: Why it is in the sweep.
        fingerprint: Its identity without the seed.
        states: By seed; None where a condition left the seed out.
    """

    variant: str
    overrides: tuple[str, ...]
    labels: tuple[str, ...]
    fingerprint: str
    states: tuple[RunStatus | None, ...]


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Points by seeds.

    Attributes:
        seeds: The columns, in the sweep's order.
        rows: The points, in the sweep's order.
    """

    seeds: tuple[int, ...]
    rows: tuple[Row, ...]


def completeness(standings: Sequence[Standing]) -> Matrix:
    """Lay runs out by point and seed.

    Args:
        standings: Every run of a plan.
    """
    seeds = tuple(dict.fromkeys(standing.run.seed for standing in standings))
    points: dict[str, dict[int, Standing]] = {}
    for standing in standings:
        points.setdefault(arm_of(standing.run.name), {})[standing.run.seed] = standing
    shared = common_overrides(standings)
    rows = []
    for by_seed in points.values():
        run = next(iter(by_seed.values())).run
        name = RunName.parse(run.name)
        rows.append(
            Row(
                variant=run.variant,
                overrides=tuple(item for item in run.overrides if item not in shared),
                labels=run.labels,
                fingerprint=name.fingerprint if name else "",
                states=tuple(by_seed[seed].state if seed in by_seed else None for seed in seeds),
            )
        )
    return Matrix(seeds=seeds, rows=tuple(rows))


def common_overrides(standings: Sequence[Standing]) -> set[str]:
    """The overrides that every run has, baselines apart: they distinguish nothing."""
    each = [set(item.run.overrides) for item in standings if item.run.labels != ("baseline",)]
    return set.intersection(*each) if len(each) > 1 else set()


@dataclass(frozen=True, kw_only=True)
class RemovedRun:
    """One such run.

    Attributes:
        entry: What the sweep wrote down about it.
        folder: Its folder.
        state: Its effective status; never completed, cancelled or pruned.
        reason: Why it failed or is damaged; who works on it.
    """

    entry: SweepEntry
    folder: RunFolder
    state: RunStatus
    reason: str | None = None


def removed_runs(name: str, planned: Collection[str], store: Store) -> list[RemovedRun]:
    """The runs that belong to a sweep's folder and not to its plan, as far as they were ever made.

    Args:
        name: The sweep's name.
        planned: Names of the runs it means now.
        store: Where runs are kept.

    Returns:
        Those that are not complete, cancelled or pruned, and that no other sweep means.
    """
    sweep = store.sweep(name)
    entries = [item for item in sweep.read_known() if item.name not in planned]
    if not entries:
        return []
    others = _meant_by_others(name, store)
    folders = RunFolders(store)
    found = []
    for entry in entries:
        folder = folders.of(entry.name)
        if entry.name in others or not folder.path.exists():
            continue
        removed = _look(entry, folder)
        if removed.state not in OVER:
            found.append(removed)
    return found


def _look(entry: SweepEntry, folder: RunFolder) -> RemovedRun:
    try:
        state, why = folder.effective_status(), folder.read_state().reason
    except (AqrExpError, OSError) as error:
        return RemovedRun(entry=entry, folder=folder, state=RunStatus.DAMAGED, reason=str(error))
    return RemovedRun(entry=entry, folder=folder, state=state, reason=folder.holder() or why)


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
