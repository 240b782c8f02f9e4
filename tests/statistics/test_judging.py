"""Verdicts of families, against independent computations of each formula and against simulation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from aqr_exp.statistics.dunnett import equal_arms
from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.judging import judge, kinds
from aqr_exp.statistics.noise import Noise, SceneNoise
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.rule import Design, Rule
from aqr_exp.statistics.seed_checks import judge_openly
from aqr_exp.statistics.verdicts import ArmDifference

REFERENCE = (0.300, 0.303, 0.298)
BETTER = (0.315, 0.318, 0.314)
ALIKE = (0.301, 0.299, 0.303)


def arm(values: Sequence[float], seeds: Sequence[int | None] | None = None) -> ArmMean:
    return ArmMean(n=len(values), values=tuple(values), seeds=tuple(seeds or range(len(values))))


def judged(
    *arms: Sequence[float],
    metric: str = "mAP",
    condition: str | None = None,
    further: Sequence[Sequence[float]] = (),
    scenes: Noise | None = None,
    openly: bool = False,
    **settings: Any,
) -> list[ArmDifference]:
    first, *others = [values if isinstance(values, ArmMean) else arm(values) for values in arms]
    count = 0 if scenes is None else int(scenes.degrees) + 1
    return (judge_openly if openly else judge)(
        metric,
        condition,
        first,
        others,
        [arm(values) for values in further],
        [SceneNoise(noise=scenes, scenes=count)] * len(others),
        Resampling(**settings),
    )


def squares(values: Sequence[float]) -> float:
    return float(np.var(values) * len(values))


def test_the_formulas_by_hand_for_unequal_arms():
    """Shrunk variances, Satterthwaite's degrees, Dunnett's p, Welch's p; the larger p counts."""
    arms = [(*REFERENCE, 0.305), BETTER, (0.28, 0.31)]
    total = sum(len(one) - 1 for one in arms)
    s2 = sum(map(squares, arms)) / total
    v = [(6 * s2 + squares(one)) / (6 + len(one) - 1) / len(one) for one in arms]
    variance = v[1] + v[0]
    degrees = min(total, variance**2 / (v[1] ** 2 / (6 + 2) + v[0] ** 2 / (6 + 3)))
    t = (np.mean(BETTER) - np.mean(arms[0])) / variance**0.5
    shared = np.array([v[0] / variance, v[0] / (v[2] + v[0])])
    correlation = np.array([[1, np.sqrt(shared.prod())], [np.sqrt(shared.prod()), 1]])
    joint = stats.multivariate_t(shape=correlation, df=degrees, seed=0)
    dunnett = 1 - joint.cdf([t, t], lower_limit=[-t, -t], maxpts=100_000)
    dunnett /= 0.85  # the first look's share of the level
    welch = stats.ttest_ind(BETTER, arms[0], equal_var=False).pvalue
    first, second = judged(*arms)
    assert first.mean == pytest.approx(np.mean(BETTER) - np.mean(arms[0]))
    assert first.p == pytest.approx(max(dunnett, welch), abs=1e-3)
    assert (first.degrees, first.arms, first.comparisons) == (6, 3, 2)
    assert first.seed_sd == pytest.approx(s2**0.5)
    # Two seeds: the guard is the pooled t of the two arms.
    alone = stats.ttest_ind(arms[2], arms[0]).pvalue
    assert second.p >= alone
    assert (first.word == "better") == (max(dunnett, welch) <= 0.05)


def test_the_two_arms_alone_hold_a_verdict_back():
    """Quiet arms make the pooled noise small; the arm's own seeds scatter too much for its lead."""
    noisy = (0.300, 0.325, 0.350)
    (one, *_) = judged(REFERENCE, noisy, further=[ALIKE, ALIKE, ALIKE, ALIKE, ALIKE])
    welch = stats.ttest_ind(noisy, REFERENCE, equal_var=False).pvalue
    assert (one.word, one.held_back) == ("undecided", True)
    assert one.p == pytest.approx(welch, abs=1e-6)
    assert one.low < 0 < one.high
    assert "all arms together show it, but the two alone do not (Welch)" in one.sentence


def test_intervals_agree_with_verdicts_and_with_the_detectable_effect():
    rng = np.random.default_rng(0)
    for _ in range(60):
        count, seeds = rng.integers(2, 5), rng.integers(2, 5)
        arms = rng.normal(0.3, 0.0025, (count, seeds)) + rng.normal(0, 0.004, (count, 1))
        for one in judged(*arms):
            if one.p is None:
                assert (one.low, one.high, one.word) == (None, None, "undecided")
                continue
            assert (one.low <= one.mean <= one.high, one.mde > 0) == (True, True)
            excluded = one.low >= 0 or one.high <= 0
            assert excluded == (one.word in {"better", "worse"}) == (one.p <= 0.05)
            if "no difference" in one.word:
                assert abs(one.mean) < one.reach < 0.005


def test_renumbering_and_reordering_seeds_changes_nothing():
    rng = np.random.default_rng(3)
    arms = rng.normal(0.3, 0.003, (3, 4))
    known = judged(*arms)
    other = [arm(values[::-1], range(10 * at, 10 * at + 4)) for at, values in enumerate(arms)]
    for one, two in zip(known, judged(*other), strict=True):
        assert (one.word, one.p, one.mde) == (
            two.word,
            pytest.approx(two.p),
            pytest.approx(two.mde),
        )
        assert (one.low, one.high) == pytest.approx((two.low, two.high))


def test_all_seeds_of_all_arms_count_whatever_their_number():
    rng = np.random.default_rng(1)
    values = rng.normal(0.3, 0.0025, 10)
    same = judged(arm(values[:5]), arm(values[5:] + 0.006))
    shifted = judged(arm(values[:5]), arm(values[5:] + 0.006, range(3, 8)))
    assert same == shifted
    assert (same[0].n_reference, same[0].n_other) == (5, 5)
    # Further arms of the setting make noise better known; one seed is enough where others tell of it.
    alone = judged(REFERENCE, ALIKE)[0]
    with_more = judged(REFERENCE, ALIKE, further=[BETTER, BETTER])[0]
    assert (alone.degrees, with_more.degrees) == (4, 8)
    assert with_more.mde < alone.mde
    single = judged(REFERENCE, (0.35,), further=[BETTER])[0]
    assert (single.word, single.n_other) == ("better", 1)


def test_more_seeds_of_the_baseline_narrow_the_interval():
    rng = np.random.default_rng(5)
    widths = {3: [], 8: []}
    for _ in range(30):
        values = rng.normal(0.3, 0.0025, 14)
        for seeds, found in widths.items():
            one = judged(values[6 : 6 + seeds], values[:3], values[3:6])[0]
            found.append(one.high - one.low)
    assert np.mean(widths[8]) < 0.9 * np.mean(widths[3])


@pytest.mark.parametrize(("arms", "seeds"), [(3, 3), (4, 3), (3, 5), (2, 3)])
def test_the_detectable_effect_is_found_four_times_of_five(arms, seeds):
    """Against counting with code of its own: t statistics and Welch's test by their formulas."""
    sd, count = 0.0025, 20_000
    design = Design(other=seeds, reference=seeds, further=(arms - 2) * (seeds - 1))
    rule = Rule(design=design, joint=equal_arms(arms - 1), comparisons=arms - 1, level=0.05)
    said = rule.detectable((sd**2, sd**2, sd**2), 0.8)
    rng = np.random.default_rng(0)
    values = rng.normal(0, sd, (count, arms, seeds))
    values[:, 1] += said
    variances = values.var(axis=2, ddof=1)
    s2, f = variances.mean(axis=1), seeds - 1
    shrunk = [(6 * s2 + f * variances[:, at]) / (6 + f) / seeds for at in (0, 1)]
    variance = shrunk[0] + shrunk[1]
    degrees = np.minimum(arms * f, variance**2 * (6 + f) / (shrunk[0] ** 2 + shrunk[1] ** 2))
    grid = np.linspace(4, max(arms * f, 4.1), 9)
    bounds = [equal_arms(arms - 1).critical(0.0425, np.array([each]), each)[0] for each in grid]
    t = np.abs(values[:, 1].mean(axis=1) - values[:, 0].mean(axis=1)) / np.sqrt(variance)
    together = t > np.interp(degrees, grid, bounds)
    alone = stats.ttest_ind(values[:, 1], values[:, 0], axis=1, equal_var=False).pvalue <= 0.05
    assert (together & alone).mean() == pytest.approx(0.8, abs=0.012)


# With pairs and Holm, the rule before this one, the smallest effect of one arm found four times of five
# was, in points at an sd of .25: (counted in 40,000 families each)
BEFORE = {(3, 3): 1.63, (4, 3): 2.00, (9, 3): 3.27, (3, 5): 0.72}


@pytest.mark.parametrize(
    ("sizes", "share"), [((3, 3), 0.60), ((4, 3), 0.50), ((9, 3), 0.35), ((3, 5), 0.80)]
)
def test_smaller_effects_are_detectable_than_by_pairs(sizes, share):
    arms, seeds = sizes
    design = Design(other=seeds, reference=seeds, further=(arms - 2) * (seeds - 1))
    rule = Rule(design=design, joint=equal_arms(arms - 1), comparisons=arms - 1, level=0.05)
    assert rule.detectable((0.25**2,) * 3, 0.8) <= share * BEFORE[sizes]


def test_the_plan_is_the_fewest_seeds_of_each_arm_that_find_the_smallest_effect_of_interest():
    one = judged(REFERENCE, ALIKE, (0.302, 0.297, 0.304))[0]
    design = Design(other=one.needed, reference=one.needed, further=one.needed - 1)
    rule = Rule(design=design, joint=equal_arms(2), comparisons=2, level=0.05)
    larger = judged(REFERENCE, ALIKE, (0.302, 0.297, 0.304), sesoi=0.0025)[0]
    assert larger.needed > one.needed > 3
    sd = one.seed_sd
    assert rule.power(0.005, (sd**2,) * 3) > 0.7
    # The difference that was seen has no part in the plan.
    moved = judged(REFERENCE, [value + 0.002 for value in ALIKE], (0.302, 0.297, 0.304))[0]
    assert (moved.needed, moved.mde) == (one.needed, pytest.approx(one.mde))
    # Needs between 513 and 1000 seeds are found, too.
    rare = judged(REFERENCE, (0.20, 0.40, 0.30), sesoi=0.0115)[0]
    assert 512 < rare.needed <= 1000
    assert judged(REFERENCE, (0.20, 0.40, 0.30), sesoi=0.001)[0].needed is None


def test_no_difference_as_large_as_the_smallest_of_interest():
    quiet = (0.3001, 0.3000, 0.2999)
    one = judged(quiet, (0.3002, 0.3001, 0.3000))[0]
    assert one.word == "no difference as large as ±0.5 points"
    assert one.sentence.startswith(
        "no difference as large as ±0.5 points: mAP +0.01 [-0.01, +0.03] points; p = .339; 90 % interval"
    )
    assert judged(quiet, (0.3002, 0.3001, 0.3000), sesoi=0.0001)[0].word == "undecided"
    # Other metrics have no such size.
    assert judged(quiet, (0.3002, 0.3001, 0.3000), metric="mATE")[0].word == "undecided"


def test_an_error_that_falls_is_better():
    assert [judged(REFERENCE, BETTER, metric=name)[0].word for name in ("mAP", "mATE")] == [
        "better",
        "worse",
    ]


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        (((0.3, 0.31), (0.32, 0.33)), "2 seeds cannot tell seed noise: run 3 of each arm"),
        (((0.3,), BETTER, BETTER), "3 and 1 seeds cannot tell seed noise: run 3 of each arm"),
        (((0.3,), (0.32,)), "1 seed cannot tell seed noise: run 3 of each arm"),
        (((0.3,) * 3, (0.4,) * 3), "the seeds do not differ at all: is the seed in effect?"),
        (((0.3,) * 3, (0.3,) * 3), "the seeds do not differ at all: is the seed in effect?"),
    ],
)
def test_without_known_noise_there_is_no_interval_and_no_verdict(arms, words):
    one = judged(*arms)[0]
    assert (one.word, one.p, one.low, one.high, one.mde) == ("undecided", None, None, None, None)
    assert one.sentence.endswith(f"; {words}")


def test_an_arm_without_values_has_no_data_and_does_not_count():
    first, second = judged(REFERENCE, (), BETTER)
    assert (first.word, first.mean, first.sentence) == ("no data", None, "no data: mAP")
    assert second == judged(REFERENCE, BETTER)[0]
    assert judged((), BETTER)[0].word == "no data"


def test_intervals_stay_within_what_a_metric_can_be():
    wild = judged((0.0, 0.9, 0.1), (0.95, 0.05, 0.9))[0]
    assert -1 <= wild.low < wild.high <= 1
    assert "cannot show any difference" in wild.sentence
    assert "e+" not in wild.sentence


def test_other_metrics_are_corrected_by_themselves_whatever_is_shown():
    assert [kinds(name, None, 10) for name in ("mAP", "NDS", "mATE", "AP/car")] == [1, 1, 5, 10]
    assert kinds("mAP", "night", 10) == 9
    alone = judged(REFERENCE, BETTER)[0]
    of_class = judged(REFERENCE, BETTER, metric="AP/car")[0]
    assert of_class.p == pytest.approx(min(1, 10 * alone.p))
    assert of_class.mde > alone.mde
    assert (of_class.high - of_class.low) > (alone.high - alone.low)
    assert of_class.comparisons == 10


def test_other_scenes_stand_beside_and_can_be_asked_about():
    small, large = (Noise(variance=sd**2, degrees=19) for sd in (0.0001, 0.02))
    for scenes, words in ((small, "yes"), (large, "not shown"), (None, None)):
        one = judged(REFERENCE, BETTER, scenes=scenes)[0]
        assert (one.word, one.on_other_scenes) == ("better", words)
    asked = judged(REFERENCE, BETTER, scenes=large, population="scenes")[0]
    assert (asked.word, asked.on_other_scenes) == ("undecided", None)
    assert asked.low < 0 < asked.high
    # Banerjee: each source with its own Student t.
    shrunk = [(6 * one + squares(values)) / 8 / 3 for values in (REFERENCE, BETTER) for one in [
        (squares(REFERENCE) + squares(BETTER)) / 4
    ]]  # fmt: skip
    degrees = min(4, sum(shrunk) ** 2 * 8 / sum(each**2 for each in shrunk))
    half = (
        stats.t.ppf(0.97875, degrees) ** 2 * sum(shrunk) + stats.t.ppf(0.97875, 19) ** 2 * 0.02**2
    ) ** 0.5
    assert asked.high - asked.mean == pytest.approx(half, rel=1e-3)
    assert asked.needed is None
    assert "no number of seeds: the scenes are too few" in asked.sentence
    unknown = judged(REFERENCE, BETTER, population="scenes")[0]
    assert (unknown.word, unknown.low) == ("undecided", None)
    assert unknown.sentence.endswith("scene noise is unknown")


def _moving_together(arms: int, seeds: int, shared: float) -> np.ndarray:
    rng = np.random.default_rng(2)
    return 0.3 + rng.normal(0, shared, seeds) + rng.normal(0, 0.001, (arms, seeds))


def test_seeds_are_paired_where_the_arms_show_that_it_pays_or_it_is_declared():
    together, apart = _moving_together(4, 5, 0.01), _moving_together(4, 5, 0.0)
    shown = judged(*together)
    assert all(one.paired for one in shown)
    assert shown[0].degrees == 12
    assert shown[0].note == "arms of one seed move together: compared seed by seed"
    rest = together - together.mean(axis=1, keepdims=True) - together.mean(axis=0) + together.mean()
    assert shown[0].seed_sd == pytest.approx((np.sum(rest**2) / 12) ** 0.5)
    assert not any(one.paired for one in judged(*apart))
    few = together[:3, :3]
    assert not judged(*few)[0].paired
    declared = judged(*few, paired=True)[0]
    assert (declared.paired, declared.degrees) == (True, 4)
    assert declared.mde < judged(*few)[0].mde
    alone = stats.ttest_rel(few[1], few[0]).pvalue
    assert declared.p >= alone - 1e-9


def test_declared_pairs_use_the_common_seeds_and_name_the_others():
    values = _moving_together(3, 4, 0.01)
    arms = [arm(values[0]), arm(values[1, :3]), arm(values[2, :3])]
    one = judged(*arms, paired=True)[0]
    assert (one.paired, one.note) == (True, "seeds 3 are not in all arms and were left out")
    assert one.mean == pytest.approx(values[1, :3].mean() - values[0, :3].mean())
    other = judged(arm(values[0]), arm(values[1], range(4, 8)), paired=True)[0]
    assert (other.paired, other.note) == (False, "too few common seeds to compare seed by seed")


@pytest.mark.parametrize("spread", ["equal", "scattered"])
def test_false_alarms_of_a_family_stay_rare(spread):
    """2,000 families of three arms of three seeds without any difference, by the rule's own half widths."""
    rng = np.random.default_rng(7)
    sd = np.exp(0.3 * rng.normal(size=(2000, 3, 1))) if spread == "scattered" else 1.0
    values = rng.normal(0, 1, (2000, 3, 3)) * sd
    sums = ((values - values.mean(axis=2, keepdims=True)) ** 2).sum(axis=2)
    rule = Rule(
        design=Design(other=3, reference=3, further=2),
        joint=equal_arms(2),
        comparisons=2,
        level=0.05,
    )
    means = values.mean(axis=2)
    hits = np.zeros(2000, dtype=bool)
    for at, further in ((1, 2), (2, 1)):
        half = rule.half_width((sums[:, at], sums[:, 0], sums[:, further]), 0.05)
        hits |= np.abs(means[:, at] - means[:, 0]) > half
    assert hits.mean() <= 0.06


def test_an_odd_seed_is_named_with_the_verdict_without_it_and_never_dropped():
    diverged = (0.310, 0.312, 0.311, 0.311, 0.02)
    usual = (0.300, 0.301, 0.302, 0.301, 0.3)
    (one,) = judged(usual, diverged, openly=True)
    assert one.mean == pytest.approx(np.mean(diverged) - np.mean(usual))
    assert one.word == "undecided"
    assert one.note.startswith(
        "seed 4 (mAP 2.00, the others 31.10 on average; 1 of 5 diverged): without better: mAP +1.02 ["
    )
    assert "; seeds scatter more than those of the other arms" in one.note
    (outlying,) = judged(usual, (0.301, 0.302, 0.3015, 0.3011, 0.28), openly=True)
    assert "seed 4 (mAP 28.00, the others 30.14 on average; beyond chance)" in outlying.note
    (of_reference,) = judged(diverged, usual, openly=True)
    assert of_reference.note.startswith("the reference's seed 4 (mAP 2.00")
    assert [one.note for one in judged(usual, usual[::-1], openly=True)] == [""]


def test_an_arm_that_scatters_more_is_named():
    wide = (0.25, 0.30, 0.35, 0.28)
    one, two = judged(REFERENCE, wide, ALIKE, openly=True)
    assert "seeds scatter more than those of the other arms (sd 4.20, all arms 2.76)" in one.note
    assert "scatter" not in two.note
