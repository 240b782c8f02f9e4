"""The completeness of a sweep: its points down, its seeds across, how each run stands between."""

from collections.abc import Sequence
from dataclasses import dataclass

from aqr_exp.sweep.standing import Standing


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
    states: tuple[str | None, ...]


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
        point = standing.run.name.rpartition("-s")[0]
        points.setdefault(point, {})[standing.run.seed] = standing
    shared = common_overrides(standings)
    rows = []
    for point, by_seed in points.items():
        run = next(iter(by_seed.values())).run
        rows.append(
            Row(
                variant=run.variant,
                overrides=tuple(item for item in run.overrides if item not in shared),
                labels=run.labels,
                fingerprint=point.rpartition("-")[2],
                states=tuple(by_seed[seed].state if seed in by_seed else None for seed in seeds),
            )
        )
    return Matrix(seeds=seeds, rows=tuple(rows))


def common_overrides(standings: Sequence[Standing]) -> set[str]:
    """The overrides that every run has, baselines apart: they distinguish nothing."""
    each = [set(item.run.overrides) for item in standings if item.run.labels != ("baseline",)]
    return set.intersection(*each) if len(each) > 1 else set()
