"""The outcome of a sweep: its runs, the keys it varied, and its best point with a caveat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from aqr_exp.config import BASELINE
from aqr_exp.files.run_name import arm_of
from aqr_exp.store.collect import UNVERIFIED, RunRow
from aqr_exp.store.counting import by_first_name, grouped, shown_run
from aqr_exp.store.sweep_folder import SweepEntry
from aqr_exp.sweep.search import Direction


@dataclass(frozen=True, kw_only=True)
class BestPoint:
    """The point with the best mean.

    Attributes:
        label: What would be typed for it, without what all points share.
        metric: By which it was chosen.
        mean: Over its seeds, all of which are complete.
        seeds: How many.
        candidates: How many points it is the best of.
        unfinished: Points that lack a seed and so had no part in the choice.
        left: Points that were tried and have left the sweep since.
        split: The data it was scored on.
        baseline: The baseline's mean, where the sweep has one baseline; else None.
        verified: Whether all runs behind the two means are certainly the runs they seem to be.
    """

    label: str
    metric: str
    mean: float
    seeds: int
    candidates: int
    unfinished: int
    split: str
    left: int = 0
    baseline: float | None = None
    verified: bool = True

    def words(self) -> str:
        """The point and what its number is worth, in two sentences."""
        of = f"of {self.candidates} points" if self.candidates > 1 else "and only point"
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        rival = "" if self.baseline is None else f" (baseline {self.baseline:.4f})"
        more = "1 more is" if self.unfinished == 1 else f"{self.unfinished} more are"
        left = "" if self.verified else f", {UNVERIFIED}"
        left += f"; {more} not complete" if self.unfinished else ""
        were = "1 more was" if self.left == 1 else f"{self.left} more were"
        left += f"; {were} tried and left the sweep" if self.left else ""
        return (
            f"best {of} by {self.metric}: {self.label}: {self.mean:.4f}, mean of {seeds}{rival}"
            f"{left}\nselected on {self.split}, the data it is reported on: a selected maximum is "
            "biased upwards; `aqr-exp confirm` estimates by how much, on fresh seeds"
        )


def by_entry(entries: Sequence[SweepEntry], rows: Sequence[RunRow]) -> dict[str, RunRow]:
    """Rows by the names of a sweep's runs, of reruns the one that counts or is continued."""
    reruns = by_first_name(rows)
    return {entry.name: shown_run(reruns[entry.name]) for entry in entries if entry.name in reruns}


@dataclass(frozen=True, kw_only=True)
class ScoredPoint:
    """One point of a sweep and its completed runs.

    Attributes:
        arm: `<variant>-<fingerprint>`: the beginning of its runs' names.
        overrides: What would be typed after the variant, without the seed.
        seeds: How many seeds of it the sweep wants.
        rows: The completed runs of these seeds.
    """

    arm: str
    variant: str
    overrides: tuple[str, ...]
    seeds: int
    rows: tuple[RunRow, ...]

    @property
    def setting(self) -> str | None:
        """The setting that it shares with its baseline."""
        return self.rows[0].setting if self.rows else None

    def values(self, metric: str) -> list[float]:
        """A metric of each run that has it."""
        return [value for row in self.rows if (value := row.metric(metric)) is not None]


def scored_points(entries: Sequence[SweepEntry], rows: Mapping[str, RunRow]) -> list[ScoredPoint]:
    """The points of a sweep in its order, with their rows as `by_entry` has them."""
    return [
        ScoredPoint(
            arm=arm,
            variant=own[0].variant,
            overrides=own[0].overrides,
            seeds=len(own),
            rows=tuple(rows[e.name] for e in own if e.name in rows and rows[e.name].completed),
        )
        for arm, own in grouped(entries, lambda entry: arm_of(entry.name)).items()
    ]


def tried_and_left(
    left: Sequence[SweepEntry],
    points: Sequence[ScoredPoint],
    rows: Mapping[str, RunRow],
    metric: str,
) -> int:
    """The number of points that a sweep means no more, and that whoever chose had seen beside these."""
    arms = {point.arm for point in points}
    settings = {point.setting for point in points if point.rows}
    return sum(
        bool(point.values(metric)) and point.arm not in arms and point.setting in settings
        for point in scored_points(left, rows)
        if point.variant != BASELINE or all(one.variant == BASELINE for one in points)
    )


def best_point(
    entries: Sequence[SweepEntry],
    rows: Mapping[str, RunRow],
    metric: str,
    direction: Direction = Direction.MAXIMIZE,
    left: Sequence[SweepEntry] = (),
) -> BestPoint | None:
    """The best of a sweep's points that are complete; baselines are what points are compared with.

    Args:
        entries: The runs the sweep means.
        rows: Their rows, as `by_entry` has them.
        direction: Which of its values are better.
        left: The runs it meant once.

    Returns:
        The first of several equal ones; None while no point is complete.
    """
    points = scored_points(entries, rows)
    scores = ((point, point.values(metric)) for point in points)
    means = {point.arm: fmean(found) for point, found in scores if len(found) == point.seeds}
    references = [point for point in points if point.variant == BASELINE]
    rivals = [point for point in points if point.variant != BASELINE] or references
    done = [point for point in rivals if point.arm in means]
    if not done:
        return None
    sign = 1 if direction is Direction.MAXIMIZE else -1
    chosen = max(done, key=lambda point: sign * means[point.arm])
    shared = set.intersection(*(set(point.overrides) for point in rivals))
    baselines = [means[one.arm] for one in references if one.arm in means and one not in rivals]
    return BestPoint(
        label=" ".join([chosen.variant, *(o for o in chosen.overrides if o not in shared)]),
        metric=metric,
        mean=means[chosen.arm],
        seeds=chosen.seeds,
        candidates=len(done),
        unfinished=len(rivals) - len(done),
        split=chosen.rows[0].data,
        left=tried_and_left(left, points, rows, metric),
        baseline=baselines[0] if len(baselines) == 1 else None,
        verified=all(row.verified for one in (chosen, *references) for row in one.rows),
    )
