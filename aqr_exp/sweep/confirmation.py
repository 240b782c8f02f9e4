"""Confirming a sweep: which of its points were the best, and a plan that runs them on fresh seeds.

The best of many points was chosen by the very numbers that it shows: they are too good. Seeds that had no
part in the choice tell how much.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from aqr_exp.config import BASELINE
from aqr_exp.config.compose import Override
from aqr_exp.config.load import ConfigLoader
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import RequestError
from aqr_exp.files.run_name import arm_of
from aqr_exp.statistics.metrics import lower_is_better
from aqr_exp.store.collect import RunRow
from aqr_exp.store.counting import by_first_name, counting_run
from aqr_exp.store.sweep_folder import SweepEntry
from aqr_exp.sweep.expand import fits
from aqr_exp.sweep.outcome import ScoredPoint, by_entry, scored_points, tried_and_left
from aqr_exp.sweep.plan import CONFIRMS, Plan, plan_sweep
from aqr_exp.sweep.request import ExplicitPoint, SweepRequest
from aqr_exp.sweep.values import read_override


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The best points of a sweep.

    Attributes:
        metric: By which they were chosen.
        points: The best first.
        baselines: For each point the sweep's baseline of the same setting; None where it has none.
        candidates: Among how many points they were chosen.
        unscored: Points that no run of has the metric yet.
        used_seeds: Seeds that had a part in the choice.
    """

    sweep: str
    metric: str
    points: tuple[ScoredPoint, ...]
    baselines: tuple[ScoredPoint | None, ...]
    candidates: int
    unscored: int
    used_seeds: frozenset[int]

    def fresh_seeds(self, count: int) -> tuple[int, ...]:
        """The smallest seeds that had no part in the choice."""
        fresh = (seed for seed in itertools.count() if seed not in self.used_seeds)
        return tuple(itertools.islice(fresh, count))


def select_best(
    sweep: str,
    entries: Sequence[SweepEntry],
    rows: Sequence[RunRow],
    *,
    metric: str,
    best: int,
    left: Sequence[SweepEntry] = (),
) -> Selection:
    """Choose a sweep's best points by the mean of a metric over its seeds.

    Args:
        rows: All runs of the results folder, with their settings.
        metric: A metric; of errors the lowest is the best.
        left: The runs that the sweep meant once: the tries that they were count too.

    Raises:
        RequestError: No run of a point but the baseline has the metric.
    """
    points = scored_points(entries, by_entry(entries, rows))
    means = {point.arm: fmean(values) for point in points if (values := point.values(metric))}
    others = [point for point in points if point.variant != BASELINE]
    scored = [point for point in others if point.arm in means]
    if not scored:
        raise RequestError(
            f"sweep '{sweep}' has no completed run with {metric} besides baselines: nothing to confirm"
        )
    sign = 1.0 if lower_is_better(metric) else -1.0
    chosen = sorted(scored, key=lambda point: (sign * means[point.arm], point.arm))[:best]
    baselines = [point for point in points if point.variant == BASELINE]
    return Selection(
        sweep=sweep,
        metric=metric,
        points=tuple(chosen),
        baselines=tuple(
            next((one for one in baselines if point.setting == one.setting is not None), None)
            for point in chosen
        ),
        candidates=len(scored)
        + tried_and_left(left, others, by_entry([*entries, *left], rows), metric),
        unscored=len(others) - len(scored),
        used_seeds=frozenset(entry.seed for entry in (*entries, *left)),
    )


def counting_by_name(rows: Sequence[RunRow]) -> dict[str, RunRow]:
    """The runs that count by the names of their originals."""
    reruns = by_first_name(rows)
    return {name: row for name in reruns if (row := counting_run(reruns[name])) is not None}


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """The runs that confirm a selection.

    Attributes:
        plan: The runs: the points and their baselines on fresh seeds.
        baseline_arms: For each point `baseline-<fingerprint>`.
    """

    plan: Plan
    baseline_arms: tuple[str, ...]

    def completed(self, arm: str, rows: Sequence[RunRow]) -> tuple[RunRow, ...]:
        """The completed runs of an arm of the plan."""
        counting = counting_by_name(rows)
        names = [run.name for run in self.plan.runs if arm_of(run.name) == arm]
        return tuple(counting[name] for name in names if name in counting)


def confirmation(
    selection: Selection, seeds: int, expected: Callable[[RunConfig], float | None] | None = None
) -> Confirmation:
    """Plan the chosen points and their baselines on fresh seeds; changes nothing.

    Raises:
        RequestError: A point means another run now than when it was swept, or cannot be composed.
    """
    loader = ConfigLoader(with_data=True)
    explicit: dict[tuple[str, tuple[str, ...]], ExplicitPoint] = {}
    baseline_arms = []
    for point, baseline in zip(selection.points, selection.baselines, strict=True):
        for known in (point, baseline):
            if known is not None:
                _check_same(known, loader)
        overrides = _read(point.overrides, loader.groups)
        reference = _baseline_overrides(overrides, baseline, loader)
        typed = tuple(item.typed for item in reference)
        explicit[BASELINE, typed] = ExplicitPoint(variant=BASELINE, overrides=reference)
        explicit[point.variant, point.overrides] = ExplicitPoint(
            variant=point.variant, overrides=overrides
        )
        baseline_arms.append(f"{BASELINE}-{loader.load(BASELINE, reference).fingerprint}")
    request = SweepRequest(
        name=f"{CONFIRMS}{selection.sweep}",
        variants=tuple(dict.fromkeys(variant for variant, _ in explicit)),
        points=tuple(explicit.values()),
        seeds=selection.fresh_seeds(seeds),
    )
    return Confirmation(
        plan=plan_sweep(request, expected, loader), baseline_arms=tuple(baseline_arms)
    )


def _baseline_overrides(
    overrides: Sequence[Override], baseline: ScoredPoint | None, loader: ConfigLoader
) -> tuple[Override, ...]:
    """Those of the sweep's own baseline; where it has none, of the point what a baseline has."""
    if baseline is not None:
        return _read(baseline.overrides, loader.groups)
    return tuple(item for item in overrides if fits(BASELINE, item))


def _read(typed: Sequence[str], groups: Mapping[str, Sequence[str]]) -> tuple[Override, ...]:
    return tuple(item for text in typed for item in read_override(text, groups))


def _check_same(point: ScoredPoint, loader: ConfigLoader) -> None:
    """Refuse to confirm a point by runs of something else.

    Raises:
        RequestError: Defaults or data have changed since the sweep.
    """
    now = loader.load(point.variant, _read(point.overrides, loader.groups))
    if f"{point.variant}-{now.fingerprint}" != point.arm:
        typed = " ".join([point.variant, *point.overrides])
        raise RequestError(
            f"{point.arm}: `{typed}` means {point.variant}-{now.fingerprint} now: the configuration or "
            "the data have changed since the sweep; run the sweep again"
        )
