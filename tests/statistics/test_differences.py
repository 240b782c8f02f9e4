import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from made_up_runs import MadeUpData, kept_run, made_up_arms, made_up_records
from scipy import stats

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.errors import RequestError
from aqr_exp.evaluate.conditions import CONDITIONS, RunScorer, sample_weights
from aqr_exp.evaluate.records import read_records
from aqr_exp.statistics import run_scores
from aqr_exp.statistics.differences import arm_interval, arm_intervals
from aqr_exp.statistics.differences import compare_arms as compare_family
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.verdicts import ArmDifference
from aqr_exp.store.collect import RunRow
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store

FEW = Resampling(resamples=60)
SCENES = Resampling(resamples=60, population="scenes")


def compare_arms(reference, other, metrics, **request) -> dict[str, ArmDifference]:
    """Of a family of one comparison."""
    return {
        metric: found
        for metric, (found,) in compare_family(reference, [other], metrics, **request).items()
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("results; it's"))


@pytest.fixture(scope="module")
def arms(store) -> dict[str, list[RunRow]]:
    rng = np.random.default_rng(1)
    data = MadeUpData.draw(rng, scenes=8, night=3, present=set(CLASS_NAMES) - {"bus"})
    return made_up_arms(store, rng, ("a", "b", "c"), seeds=4, data=data)


def _bare(seed: int, value: float, **changes) -> RunRow:
    """A run without records."""
    return RunRow(
        name=f"x-f-s{seed}{changes.pop('rerun', '')}",
        status=RunStatus(changes.pop("status", "completed")),
        updated=changes.pop("updated", ""),
        record={"seed": seed},
        metrics={"mAP": value} | changes,
    )


def _without_cache(store: Store, rows: list[RunRow], **metrics) -> list[RunRow]:
    """The same runs under names the cache has not seen."""
    return [msgspec.structs.replace(row, metrics={**row.metrics, **metrics}) for row in rows]


def test_difference_against_its_parts(store, arms):
    """Mean, both noises and the interval, computed again from the runs' records by NumPy and SciPy."""
    found = compare_arms(arms["a"], arms["b"], ["mAP", "NDS"], store=store, settings=SCENES)
    for metric, each in found.items():
        a, b = (np.array([row.metric(metric) for row in arms[arm]]) for arm in "ab")
        rng = np.random.default_rng(FEW.seed)
        drawn = rng.multinomial(8, np.full(8, 1 / 8), FEW.resamples)
        values = []
        for row in (*arms["a"], *arms["b"]):
            records = read_records(store.folder(row.name).records_path)
            scores = RunScorer(records).scores(weights=sample_weights(records.samples, drawn))
            values.append(scores.mean_ap() if metric == "mAP" else scores.nds())
        covariance = np.cov(np.array(values))
        blocks = covariance[:4, :4], covariance[4:, 4:]
        within = sum((each.sum() - np.trace(each)) / 12 for each in blocks)
        scenes = max(within - 2 * covariance[:4, 4:].mean(), 0) * 8 / 7
        s2 = (a.var(ddof=1) + b.var(ddof=1)) / 2
        shrunk = [(6 * s2 + 3 * each.var(ddof=1)) / 9 / 4 for each in (a, b)]
        degrees = min(6, sum(shrunk) ** 2 * 9 / sum(each**2 for each in shrunk))
        alone = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
        square = stats.t.ppf(0.975, degrees) ** 2 * sum(shrunk)
        half = np.sqrt(square + stats.t.ppf(0.975, 7) ** 2 * scenes)
        half = max(half, (alone.high - alone.low) / 2)
        mean = b.mean() - a.mean()
        assert each.mean == pytest.approx(mean, abs=1e-12)
        assert each.seed_sd == pytest.approx(s2**0.5)
        assert (each.low, each.high) == pytest.approx((mean - half, mean + half), abs=1e-6)
        assert (each.n_reference, each.n_other, each.scenes) == (4, 4, 8)
        assert each.note == ""


def test_runs_without_records_are_judged_by_seeds_alone(tmp_path):
    reference = [_bare(seed, value) for seed, value in enumerate([0.30, 0.32, 0.31, 0.35])]
    other = [_bare(seed, value) for seed, value in enumerate([0.33, 0.34, 0.36, 0.37])]
    found = compare_arms(reference, other, ["mAP"], store=Store(tmp_path))["mAP"]
    expected = stats.ttest_ind([0.33, 0.34, 0.36, 0.37], [0.30, 0.32, 0.31, 0.35], equal_var=False)
    assert found.p >= expected.pvalue - 1e-9
    ends = expected.confidence_interval(0.95)
    assert found.low <= ends.low + 1e-6
    assert found.high >= ends.high - 1e-6
    assert (found.scenes, found.elsewhere) == (0, None)
    assert "x-f-s0, x-f-s1, x-f-s2 and 5 more: no match records" in found.note


def test_the_numbers_of_seeds_do_not_matter(tmp_path):
    reference = [_bare(seed, value) for seed, value in enumerate([0.30, 0.32, 0.31])]
    values = [0.33, 0.39, 0.36]
    store = Store(tmp_path)
    same, some, other = (
        compare_arms(
            reference, [_bare(seed + by, v) for seed, v in enumerate(values)], ["mAP"], store=store
        )["mAP"]
        for by in (0, 2, 5)
    )
    for each in (some, other):
        assert (each.mean, each.p, each.low, each.mde) == (same.mean, same.p, same.low, same.mde)
        assert (each.n_reference, each.n_other) == (3, 3)


def test_one_seed_is_not_judged(store, arms):
    for settings in (FEW, SCENES):
        found = compare_arms(arms["a"][:1], arms["b"][:1], ["mAP"], store=store, settings=settings)[
            "mAP"
        ]
        assert (found.p, found.seed_sd, found.mde, found.low) == (None, None, None, None)
        assert found.word == "undecided"


def test_further_arms_tell_of_noise(store, arms):
    (two,) = compare_family(arms["a"], [arms["b"]], ["mAP"], store=store, settings=FEW)["mAP"]
    (three,) = compare_family(
        arms["a"], [arms["b"]], ["mAP"], further=[arms["c"]], store=store, settings=FEW
    )["mAP"]
    assert (two.degrees, three.degrees, two.comparisons, three.comparisons) == (6, 9, 1, 1)
    assert two.mean == three.mean


def test_the_other_way_round_is_the_opposite(store, arms):
    there = compare_arms(arms["a"], arms["b"], ["mAP", "mATE"], store=store, settings=FEW)
    back = compare_arms(arms["b"], arms["a"], ["mAP", "mATE"], store=store, settings=FEW)
    for metric in there:
        first, second = there[metric], back[metric]
        assert first.mean == -second.mean
        assert (first.low, first.high) == pytest.approx((-second.high, -second.low))
        assert first.p == pytest.approx(second.p)
        assert first.mde == pytest.approx(second.mde)
        assert first.needed == second.needed


def test_order_of_runs_does_not_matter_and_draws_are_repeatable(store, arms, tmp_path):
    found = compare_arms(arms["a"], arms["b"], ["mAP"], store=store, settings=FEW)
    assert found == compare_arms(
        arms["a"][::-1], arms["b"][2:] + arms["b"][:2], ["mAP"], store=store, settings=FEW
    )
    for path in sorted(store.cache_dir.rglob("*.*")):
        path.unlink()
    assert found == compare_arms(arms["a"], arms["b"], ["mAP"], store=store, settings=FEW)
    others = Resampling(resamples=60, seed=1)
    again = arm_interval(arms["a"], "mAP", store=store, settings=others)
    before = arm_interval(arms["a"], "mAP", store=store, settings=FEW)
    assert again.scene_sd != before.scene_sd
    assert again.mean == before.mean


def test_an_arm_against_itself_is_no_difference(store, arms):
    found = compare_arms(arms["a"], arms["a"], ["mAP"], store=store, settings=FEW)["mAP"]
    assert (found.mean, found.p, found.low) == (0, 1, -found.high)


def test_seeds_that_do_not_differ_are_not_judged(tmp_path):
    reference = [_bare(seed, 0.25) for seed in range(3)]
    other = [_bare(seed, 0.5) for seed in range(3)]
    found = compare_arms(reference, other, ["mAP"], store=Store(tmp_path))["mAP"]
    assert (found.word, found.p, found.low) == ("undecided", None, None)
    assert "the seeds do not differ at all: is the seed in effect?" in found.sentence


def test_a_condition_is_resampled_over_its_scenes(store, arms):
    found = compare_arms(
        arms["a"], arms["b"], ["mAP"], store=store, condition="night", settings=FEW
    )["mAP"]
    values = []
    for row in (*arms["a"], *arms["b"]):
        records = read_records(store.folder(row.name).records_path)
        values.append(RunScorer(records).scores(CONDITIONS["night"]).mean_ap()[0])
    assert found.mean == pytest.approx(np.mean(values[4:]) - np.mean(values[:4]))
    assert found.scenes == 3
    assert "only 3 scenes have such objects" in found.note


def test_where_nothing_can_be_measured_there_is_no_number(store, arms):
    metrics = ["mAP", "AP/car"]
    found = compare_arms(arms["a"], arms["b"], metrics, store=store, condition="rain", settings=FEW)
    bus = compare_arms(arms["a"], arms["b"], ["AP/bus"], store=store, settings=FEW)["AP/bus"]
    for each in (*found.values(), bus):
        assert (each.mean, each.low, each.p, each.mde, each.n_other) == (None, None, None, None, 0)
        assert each.word == "no data"
        assert each.note == f"no ground truth to measure {each.metric} on"
    interval = arm_interval(arms["a"], "AP/bus", store=store, settings=FEW)
    assert (interval.mean, interval.n) == (None, 0)


def test_a_class_has_its_own_scenes(tmp_path):
    store, rng = Store(tmp_path), np.random.default_rng(0)
    data = MadeUpData.draw(rng, scenes=6)
    truths = data.truths.copy()
    truths[data.samples.scene > 1, 3] = 0
    arms = made_up_arms(store, rng, seeds=2, data=replace(data, truths=truths))
    found = compare_arms(arms["a"], arms["b"], ["AP/bus", "mAP"], store=store, settings=FEW)
    assert (found["AP/bus"].scenes, found["mAP"].scenes) == (2, 6)
    assert "only 2 scenes have such objects" in found["AP/bus"].note


def test_other_numbers_of_a_run_are_compared_over_seeds(tmp_path):
    reference = [_bare(seed, 0.3, train_time_s=value) for seed, value in enumerate([10.0, 12.0])]
    other = [_bare(seed, 0.3, train_time_s=value) for seed, value in enumerate([11.0, 14.0])]
    found = compare_arms(reference, other, ["train_time_s"], store=Store(tmp_path))["train_time_s"]
    assert found.mean == 1.5
    assert found.note == ""


def test_an_unknown_condition_is_named(tmp_path):
    with pytest.raises(RequestError, match="unknown condition 'nigth': did you mean 'night'"):
        compare_arms([], [], ["mAP"], store=Store(tmp_path), condition="nigth")


def test_no_runs_is_nothing_to_compare(tmp_path):
    found = compare_arms([], [_bare(0, 0.5)], ["mAP"], store=Store(tmp_path))["mAP"]
    assert (found.mean, found.word) == (None, "no data")


def test_the_last_rerun_of_a_seed_counts_and_failed_ones_do_not(tmp_path):
    rows = [
        _bare(0, 0.1, updated="2026-01-02"),
        _bare(0, 0.2, updated="2026-01-01", rerun="-a2"),
        _bare(1, 0.4),
        _bare(2, 0.9, status=RunStatus.FAILED),
    ]
    interval = arm_interval(rows, "mAP", store=Store(tmp_path))
    assert (interval.mean, interval.n) == (pytest.approx(0.3), 2)


def test_an_arms_interval_against_scipy(tmp_path):
    values = [0.30, 0.32, 0.31, 0.35]
    rows = [_bare(seed, value) for seed, value in enumerate(values)]
    interval = arm_interval(rows, "mAP", store=Store(tmp_path))
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert interval.sd == pytest.approx(np.std(values, ddof=1))


def test_an_arms_interval_holds_both_noises(store, arms):
    interval = arm_intervals(arms["a"], ["mAP"], store=store, settings=SCENES)["mAP"]
    seeds_alone = stats.t.ppf(0.975, 3) * interval.sd / 2
    assert interval.low < interval.mean - seeds_alone
    assert interval.high > interval.mean + seeds_alone
    assert interval.scene_sd > 0
    assert interval.method == "t over seeds and bootstrap over scenes"
    alone = arm_interval(arms["a"][:1], "mAP", store=store, settings=SCENES)
    assert (alone.n, alone.sd) == (1, None)
    assert alone.low < alone.mean < alone.high


def test_runs_on_other_samples_are_not_resampled_together(store, arms, tmp_path):
    rng = np.random.default_rng(2)
    other = [
        kept_run(store, "elsewhere", seed, made_up_records(data, np.zeros(9), rng))
        for seed, data in enumerate([MadeUpData.draw(rng, scenes=9)] * 2)
    ]
    found = compare_arms(arms["a"], other, ["mAP"], store=store, settings=FEW)["mAP"]
    assert found.scenes == 0
    assert "the runs were scored on different samples" in found.note


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "its records.npz is missing"),
        (lambda path: path.write_bytes(b""), "its records.npz is not what it was scored from"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"),
            "its records.npz is not what it was scored from",
        ),
    ],
)
def test_records_that_are_gone_or_changed_leave_seeds_and_say_so(tmp_path, damage, reason):
    store, rng = Store(tmp_path), np.random.default_rng(0)
    arms = made_up_arms(store, rng, seeds=3, data=MadeUpData.draw(rng, scenes=5))
    path = store.folder("b-s1").records_path
    content = path.read_bytes()
    damage(path)
    found = compare_arms(arms["a"], arms["b"], ["mAP"], store=store, settings=FEW)["mAP"]
    assert found.note == f"scene noise is unknown: b-s1: {reason}"
    assert found.scenes == 0
    assert found.p is not None
    # When the records are back, so is scene noise: the makeshift was not kept.
    path.write_bytes(content)
    again = compare_arms(arms["a"], arms["b"], ["mAP"], store=store, settings=FEW)["mAP"]
    assert (again.scenes, again.note) == (5, "")


def test_damaged_records_without_a_named_digest(tmp_path):
    store, rng = Store(tmp_path), np.random.default_rng(0)
    arms = made_up_arms(store, rng, seeds=2, data=MadeUpData.draw(rng, scenes=5))
    store.folder("b-s1").records_path.write_bytes(b"PK")
    arms["b"][1].metrics.pop("records_sha256")
    arms["b"][1] = msgspec.structs.replace(arms["b"][1], verified=False)
    found = compare_arms(arms["a"], arms["b"], ["mAP"], store=store, settings=FEW)["mAP"]
    assert found.note == "scene noise is unknown: b-s1: its records.npz is damaged"


def test_records_that_verified_metrics_do_not_name_are_of_another_run(tmp_path):
    store, rng = Store(tmp_path), np.random.default_rng(0)
    arms = made_up_arms(store, rng, seeds=2, data=MadeUpData.draw(rng, scenes=5))
    arms["b"][1].metrics.pop("records_sha256")
    found = compare_arms(arms["a"], arms["b"], ["mAP"], store=store, settings=FEW)["mAP"]
    assert found.note == "scene noise is unknown: b-s1: no match records"


def test_a_metric_that_records_do_not_confirm_is_named(tmp_path):
    store, rng = Store(tmp_path), np.random.default_rng(0)
    arms = made_up_arms(store, rng, seeds=2, data=MadeUpData.draw(rng, scenes=5))
    changed = _without_cache(store, arms["b"], mAP=0.9)
    found = compare_arms(arms["a"], changed, ["mAP", "NDS"], store=store, settings=FEW)
    assert "b-s0: mAP in metrics.json is not what its records give" in found["mAP"].note
    assert found["mAP"].scenes == 0
    assert found["NDS"].scenes == 5


class _Counted:
    def __init__(self, monkeypatch) -> None:
        self.runs = 0
        resample = run_scores.resample

        def counted(*arguments):
            self.runs += 1
            return resample(*arguments)

        monkeypatch.setattr(run_scores, "resample", counted)


def test_the_cache_is_used_and_may_be_damaged_or_gone(tmp_path, monkeypatch):
    store, rng = Store(tmp_path), np.random.default_rng(0)
    arms = made_up_arms(store, rng, ("a", "b", "c"), 2, data=MadeUpData.draw(rng, scenes=5))
    counted = _Counted(monkeypatch)

    def compare(other: str = "b"):
        return compare_arms(arms["a"], arms[other], ["mAP"], store=store, settings=FEW)

    first = compare()
    assert counted.runs == 4
    assert compare() == first
    assert counted.runs == 4
    compare("c")
    assert counted.runs == 6  # the reference is not resampled again
    for place, damage in (
        ("results", lambda data: data.replace(b'"scenes": 5', b'"scenes": 6')),
        ("results", lambda data: data[: len(data) // 2]),
        ("runs", lambda data: data[:-40] + b"!" + data[-39:]),
        ("runs", lambda _: b""),
    ):
        for path in (store.cache_dir / "inference").rglob("*.*"):
            if path.parent.name == place:
                path.write_bytes(damage(path.read_bytes()))
            elif place == "runs":
                path.unlink()
        assert compare() == first
    assert counted.runs == 14


def test_a_cached_result_does_not_outlive_its_cause(tmp_path):
    store, rng = Store(tmp_path), np.random.default_rng(0)
    data = MadeUpData.draw(rng, scenes=5)
    arms = made_up_arms(store, rng, seeds=2, data=data)
    first = compare_arms(arms["a"], arms["b"], ["mAP"], store=store, settings=FEW)
    arms["b"][0] = kept_run(store, "again", 0, made_up_records(data, np.full(5, 2.0), rng))
    second = compare_arms(arms["a"], arms["b"], ["mAP"], store=store, settings=FEW)
    assert second["mAP"].mean > first["mAP"].mean


def test_entries_that_lie_under_anothers_name_count_as_absent(tmp_path):
    store, rng = Store(tmp_path), np.random.default_rng(0)
    arms = made_up_arms(store, rng, seeds=2, data=MadeUpData.draw(rng, scenes=5))
    first, mirrored = (
        compare_arms(*pair, ["mAP"], store=store, settings=FEW)
        for pair in ((arms["a"], arms["b"]), (arms["b"], arms["a"]))
    )
    assert first["mAP"].mean == -mirrored["mAP"].mean != 0
    for place in ("results", "runs"):
        paths = sorted((store.cache_dir / "inference" / place).iterdir())
        contents = [path.read_bytes() for path in paths]
        for path, content in zip(paths, [*contents[1:], contents[0]], strict=True):
            path.write_bytes(content)
    assert compare_arms(arms["a"], arms["b"], ["mAP"], store=store, settings=FEW) == first


def test_results_that_cannot_be_kept_are_given_all_the_same(tmp_path):
    store, rng = Store(tmp_path), np.random.default_rng(0)
    arms = made_up_arms(store, rng, seeds=2, data=MadeUpData.draw(rng, scenes=5))
    store.cache_dir.parent.mkdir(exist_ok=True)
    store.cache_dir.write_text("in the way")
    assert compare_arms(arms["a"], arms["b"], ["mAP"], store=store, settings=FEW)["mAP"].scenes == 5


def test_cached_numbers_are_plain_json(store, arms):
    compare_arms(arms["a"], arms["b"], ["mAP"], store=store, settings=FEW)
    entries = list((store.cache_dir / "inference" / "results").glob("*.json"))
    assert entries
    for path in entries:
        assert set(json.loads(path.read_text())) == {"sha256", "content"}


def test_a_class_without_ground_truth_has_no_data_even_without_records(tmp_path):
    classes = {"AP/bus": 0.0, "gt/bus": 0, "AP/car": 0.4, "gt/car": 9}
    reference = [_bare(seed, 0.3, **classes) for seed in range(3)]
    other = [_bare(seed + 3, 0.3, **classes) for seed in range(3)]
    found = compare_arms(reference, other, ["AP/bus", "AP/car"], store=Store(tmp_path))
    assert (found["AP/bus"].word, found["AP/bus"].mean) == ("no data", None)
    assert "no ground truth to measure AP/bus on" in found["AP/bus"].note
    assert found["AP/car"].mean == 0.0


def test_means_have_intervals_over_seeds_and_within_what_the_metric_can_be(store, arms):
    values = [row.metric("mAP") for row in arms["a"]]
    half = stats.t.ppf(0.975, 3) * stats.sem(values)
    found = arm_interval(arms["a"], "mAP", store=store, settings=FEW)
    assert (found.low, found.high) == pytest.approx(
        (np.mean(values) - half, np.mean(values) + half)
    )
    wide = [_bare(seed, value) for seed, value in enumerate([0.01, 0.9, 0.95])]
    outside = arm_interval(wide, "mAP", store=store)
    assert (outside.low, outside.high) == (0.0, 1.0)
