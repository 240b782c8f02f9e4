"""What is known of a difference or of a mean, in the metric's own units."""

from dataclasses import dataclass

from aqr_exp.results.inference.bootstrap_intervals import Ends
from aqr_exp.results.inference.noise import Noise
from aqr_exp.results.inference.power import SeedPlan


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Another arm minus the reference; what cannot be known is None.

    Attributes:
        metric: The metric.
        condition: The part of the data; None for all.
        n_pairs: Pairs of runs with the same seed; 0 where none or one seed is common and the arms are
            compared unpaired.
        n_reference: Runs of the reference that were used.
        n_other: Runs of the other arm that were used.
        seeds: The common seeds.
        scenes: How many scenes with such objects were drawn from; 0 where scene noise is unknown.
        mean: Mean difference.
        low: Lower end of its interval.
        high: Upper end.
        p: Two-sided p of no difference; None with one seed, whose noise is unknown.
        method: How interval and p were made.
        mde: The minimum detectable effect of as many seeds and scenes.
        seeds_needed: Seeds of each arm that would find a true difference as large as the mean; None where
            no number would, or it is unknown.
        seed_sd: Standard deviation of one seed's difference: seed noise.
        seed_degrees: Degrees of freedom of `seed_sd` for each seed beyond the first.
        scene_sd: Standard deviation that the choice of scenes gives the mean: scene noise.
        percentile: Bootstrap over scenes, these seeds: percentile interval.
        bca: The same, bias-corrected and accelerated.
        two_level: Bootstrap over seeds and scenes: percentile interval.
        exact_p: Exact sign-flip test of the pairs.
        least_p: The least that so many pairs could have given it.
        note: What a reader has to know; empty when nothing.
    """

    metric: str
    condition: str | None
    n_pairs: int
    n_reference: int
    n_other: int
    seeds: tuple[int, ...]
    scenes: int
    method: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    mde: float | None = None
    seeds_needed: int | None = None
    seed_sd: float | None = None
    seed_degrees: float = 1.0
    scene_sd: float | None = None
    percentile: Ends | None = None
    bca: Ends | None = None
    two_level: Ends | None = None
    exact_p: float | None = None
    least_p: float | None = None
    note: str = ""

    @property
    def n(self) -> int:
        """Seeds of the arm that has fewer."""
        return self.n_pairs or min(self.n_reference, self.n_other)

    def seeds_for(self, effect: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
        """How many seeds of each arm would find a true difference.

        Args:
            effect: Its size, in the metric's unit.
            alpha: Level of the test.
            power: How often it is to be found.

        Returns:
            At least 2; None where scene noise alone is too much, or seed noise is unknown.
        """
        if self.seed_sd is None or effect == 0:
            return None
        scenes = None
        if self.scene_sd is not None and self.scenes > 1:
            scenes = Noise(variance=self.scene_sd**2, degrees=self.scenes - 1)
        plan = SeedPlan(sd=self.seed_sd, degrees=self.seed_degrees, scenes=scenes)
        return plan.seeds_for(effect, alpha, power)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The mean of an arm; what cannot be known is None.

    Attributes:
        mean: Mean over seeds.
        sd: Sample standard deviation over seeds: seed noise of one run.
        n: How many seeds.
        low: Lower end of the mean's interval, for other seeds and other scenes.
        high: Upper end.
        method: How it was made.
        scene_sd: Standard deviation that the choice of scenes gives the mean: scene noise.
        scenes: How many scenes with such objects were drawn from; 0 where scene noise is unknown.
        seed_low: Lower end for other seeds on the same scenes; None below two seeds.
        seed_high: Upper end.
        note: What a reader has to know; empty when nothing.
    """

    mean: float | None
    sd: float | None
    n: int
    low: float | None
    high: float | None
    method: str
    scene_sd: float | None = None
    scenes: int = 0
    seed_low: float | None = None
    seed_high: float | None = None
    note: str = ""
