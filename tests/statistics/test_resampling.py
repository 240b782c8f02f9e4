from dataclasses import replace

import numpy as np
import pytest
from made_up_runs import MadeUpData, kept_run, made_up_records

from aqr_exp.evaluate.conditions import CONDITIONS, DataCondition, RunScorer
from aqr_exp.statistics import resampling
from aqr_exp.statistics.resampling import Resampling, resample, samples_digest, scene_part
from aqr_exp.statistics.run_scores import prepare
from aqr_exp.store.store import Store

WHOLE = scene_part(DataCondition())


@pytest.fixture(scope="module")
def records():
    rng = np.random.default_rng(0)
    return made_up_records(MadeUpData.draw(rng, scenes=6, night=2), np.zeros(6), rng)


def test_evaluations_are_the_whole_then_resamples(records):
    run = resample(records, WHOLE, Resampling(resamples=7))
    assert len(run.scores.ap) == 1 + 7
    np.testing.assert_array_equal(run.scores.ap[:1], RunScorer(records).scores().ap)
    assert run.observed("mAP", DataCondition()) == run.scores.mean_ap()[0]
    np.testing.assert_array_equal(run.drawn("mAP", DataCondition()), run.scores.mean_ap()[1:])
    assert (run.scores.samples == 24).all()


def test_samples_of_a_scene_move_together(records):
    drawn = resampling._scene_weights(6, Resampling(resamples=50))[1:]
    assert drawn.sum(axis=1).tolist() == [6] * 50
    assert drawn.std() > 0.5
    run = resample(records, WHOLE, Resampling(resamples=50))
    by_scene = run.scene_truths
    np.testing.assert_array_equal(run.scores.truths[1:], drawn @ by_scene)


def test_only_scenes_of_the_condition_are_drawn(records):
    run = resample(records, scene_part(CONDITIONS["night"]), Resampling(resamples=30))
    assert run.scene_truths.shape == (2, 10)
    assert (run.scores.samples == 8).all()


def test_a_condition_without_scenes_has_nothing(records):
    run = resample(records, scene_part(CONDITIONS["rain"]), Resampling(resamples=3))
    assert run.scene_truths.shape == (0, 10)
    assert run.scores.samples.tolist() == [0] * 4


def test_conditions_that_differ_in_classes_share_their_part():
    assert scene_part(CONDITIONS["small"]) == scene_part(CONDITIONS["large"]) == WHOLE
    assert scene_part(CONDITIONS["night"]) != scene_part(CONDITIONS["day"])
    assert scene_part(CONDITIONS["day"]) == CONDITIONS["day"]


@pytest.mark.parametrize("threads", [1, 3])
def test_draws_depend_on_their_seed_alone(records, monkeypatch, threads):
    known = resample(records, WHOLE, Resampling(resamples=20)).scores.ap
    monkeypatch.setattr(resampling, "_threads", lambda: threads)
    for name in ("_ENTRIES_AT_ONCE", "_ENTRIES_OF_A_THREAD"):
        monkeypatch.setattr(resampling, name, 1)
    np.testing.assert_array_equal(
        resample(records, WHOLE, Resampling(resamples=20)).scores.ap, known
    )
    other = resample(records, WHOLE, Resampling(resamples=20, seed=1)).scores.ap
    assert not np.array_equal(other, known)


def test_progress_ends_with_everything_done(records, monkeypatch):
    monkeypatch.setattr(resampling, "_ENTRIES_AT_ONCE", 1)
    told = []
    resample(records, WHOLE, Resampling(resamples=100), lambda *both: told.append(both))
    assert len(told) > 20
    assert max(told) == (101, 101)


def test_the_digest_is_of_samples_and_scenes(records):
    samples = records.samples
    known = samples_digest(samples)
    assert known == samples_digest(replace(samples, scene_descriptions=("",) * 6))
    assert known != samples_digest(replace(samples, tokens=samples.tokens[::-1]))
    assert known != samples_digest(replace(samples, scene=samples.scene[::-1].copy()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"resamples": 1}, "resamples must be at least 2, got 1"),
        ({"confidence": 1.0}, "confidence must lie between 0 and 1, got 1.0"),
        ({"power": 0.0}, "power must lie between 0 and 1, got 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Resampling(**wrong)


def test_preparing_fills_the_cache_once_and_tells_how_far_it_is(tmp_path, records):
    store = Store(tmp_path)
    rows = [kept_run(store, "a", seed, records) for seed in (0, 1)]
    rows.append(kept_run(store, "b", 0, made_up_records(_data(records), np.ones(6), _rng())))
    store.folder("b-s0").records_path.write_bytes(b"gone")
    told: list[tuple[int, int]] = []
    settings = Resampling(resamples=50)
    conditions = [DataCondition(), CONDITIONS["night"], CONDITIONS["small"]]

    def fill() -> None:
        prepare(
            rows, conditions, store=store, settings=settings, progress=lambda *it: told.append(it)
        )

    fill()
    # Two runs with the same records count once; small shares the part of the whole; b is damaged.
    assert {total for _, total in told} == {4 * 50}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert max(told)[0] == 2 * 50
    del told[:]
    fill()
    assert told == []


def _data(records) -> MadeUpData:
    return MadeUpData(samples=records.samples, truths=records.tables["all"].truths)


def _rng() -> np.random.Generator:
    return np.random.default_rng(5)
