"""Means of arms with their intervals (docs/statistics.md)."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from aqr_exp.statistics.metrics import SCENES, bounds
from aqr_exp.statistics.noise import Noise, SceneNoise, half_width, mean_noise
from aqr_exp.statistics.resampling import Resampling


@dataclass(frozen=True, kw_only=True)
class ArmMean:
    """The mean of an arm; what cannot be known is None.

    Attributes:
        n: How many seeds.
        sd: Sample standard deviation (n - 1) over seeds: seed noise of one run.
        low: Lower end of the mean's interval.
        method: How the interval was made.
        scene_sd: Standard deviation that the choice of scenes gives the mean: scene noise.
        scenes: How many scenes with such objects were drawn from; 0 where scene noise is unknown.
        seeds: Of the runs; None where unknown.
        values: One a run.
        note: Remarks for the reader; may be empty.
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = "no data"
    scene_sd: float | None = None
    scenes: int = 0
    seeds: tuple[int | None, ...] = ()
    values: tuple[float, ...] = ()
    note: str = ""

    def of_seeds(self, seeds: Sequence[int | None]) -> "ArmMean":
        """The runs of some seeds alone, in their order, without an interval."""
        values = tuple(self.values[self.seeds.index(seed)] for seed in seeds)
        return ArmMean(n=len(values), seeds=tuple(seeds), values=values)

    def without(self, places: Sequence[int]) -> "ArmMean":
        """All runs but some, without an interval."""
        kept = [at for at in range(self.n) if at not in places]
        seeds = tuple(self.seeds[at] for at in kept)
        return ArmMean(n=len(kept), seeds=seeds, values=tuple(self.values[at] for at in kept))

    def times(self, factor: float) -> "ArmMean":
        """The same in another unit."""
        names = ("mean", "sd", "low", "high", "scene_sd")
        scaled = {
            name: factor * value for name in names if (value := getattr(self, name)) is not None
        }
        return replace(self, **scaled, values=tuple(factor * value for value in self.values))

    @property
    def spread(self) -> float:
        """The standard deviation over seeds; 0 where there is only one."""
        return statistics.stdev(self.values) if self.n > 1 else 0.0


def summarize(values: Sequence[float], metric: str = "") -> ArmMean:
    """Mean, standard deviation and 95 % Student-t interval of one value a seed, without scene noise."""
    seeds = (None,) * len(values)
    return estimate_mean(metric, seeds, values, SceneNoise(), Resampling())


def estimate_mean(
    metric: str,
    seeds: Sequence[int | None],
    values: Sequence[float],
    scenes: SceneNoise,
    settings: Resampling,
) -> ArmMean:
    """The mean of one arm.

    Its interval is over seeds; over other scenes as well where the settings ask about them.
    """
    if not len(values):
        return ArmMean(n=0, note=scenes.note)
    mean = statistics.fmean(values)
    of_seeds = mean_noise(np.array(values, dtype=np.float64))
    asked: list[tuple[str, Noise | None]] = [("t over seeds", of_seeds)]
    asked += [("bootstrap over scenes", scenes.noise)] * (settings.population == SCENES)
    sources = {name: noise for name, noise in asked if noise is not None}
    found = ArmMean(
        n=len(values),
        mean=mean,
        sd=statistics.stdev(values) if len(values) > 1 else None,
        method=" and ".join(sources) or "one seed: no interval",
        scene_sd=None if scenes.noise is None else scenes.noise.sd,
        scenes=scenes.scenes,
        seeds=tuple(seeds),
        values=tuple(map(float, values)),
        note=scenes.note,
    )
    if not sources:
        return found
    half, (least, most) = half_width([*sources.values()], settings.alpha), bounds(metric)
    return replace(found, low=max(mean - half, least), high=min(mean + half, most))
