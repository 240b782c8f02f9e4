"""Scenes by hand: every scene is scored as if it were the whole data set."""

from pathlib import Path

import numpy as np
import pytest
from made_up_runs import MadeUpData, kept_run, made_up_arms, made_up_records

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.protocol import ERROR_NAMES
from aqr_exp.evaluate.records import WHOLE, MatchRecords, MatchTable, SplitSamples
from aqr_exp.evaluate.scorer import Scorer
from aqr_exp.report.compare.scenes import scene_changes, scene_scores
from aqr_exp.store.store import Store

CAR = CLASS_NAMES.index("car")
TRUCK = CLASS_NAMES.index("truck")


def by_hand(cars_found: tuple[bool, bool, bool]) -> MatchRecords:
    """Three scenes of one sample with one car each, the last with a truck that nobody finds as well.

    A car that is found matches at all four distances, so that its AP is 1.
    """
    found = [sample for sample, right in enumerate(cars_found) if right]
    start = np.zeros(11, dtype=np.int64)
    start[CAR + 1 :] = len(found)
    truths = np.zeros((3, len(CLASS_NAMES)), dtype=np.uint8)
    truths[:, CAR], truths[2, TRUCK] = 1, 1
    table = MatchTable(
        class_start=start,
        sample=np.array(found, dtype=np.uint8),
        score=np.linspace(0.9, 0.5, len(found)),
        matched=np.full(len(found), 15, dtype=np.uint8),
        errors=np.zeros((len(found), len(ERROR_NAMES))),
        truths=truths,
    )
    samples = SplitSamples(
        tokens=("a", "b", "c"),
        scene=np.arange(3),
        scene_names=("scene-1", "scene-2", "scene-3"),
        scene_descriptions=("Day", "Night", "Rain"),
    )
    return MatchRecords(samples=samples, tables={WHOLE: table}, header={"split": "by hand"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results; echo $HOME")


def test_a_scene_is_scored_over_its_own_classes(store: Store) -> None:
    row = kept_run(store, "a", 0, by_hand((True, False, True)))
    scores = scene_scores(store, row)
    np.testing.assert_allclose(scores.scores.class_ap()[:, CAR], [1.0, 0.0, 1.0])
    assert scores.scores.truths[:, TRUCK].tolist() == [0, 0, 1]
    assert scores.scores.samples.tolist() == [1, 1, 1]
    # The third scene has a truck besides its car.
    np.testing.assert_allclose(scores.mean_ap(), [1.0, 0.0, 0.5])


def test_the_most_changed_scene_comes_first_with_its_seeds(store: Store) -> None:
    reference = [
        kept_run(store, "a", 0, by_hand((True, True, False))),
        kept_run(store, "a", 1, by_hand((True, False, False))),
    ]
    other = [
        kept_run(store, "b", 0, by_hand((False, True, True))),
        kept_run(store, "b", 1, by_hand((False, True, False))),
    ]
    found = scene_changes(reference, other, store=store)
    assert found.notes == ()
    told = [(c.scene, c.description, c.samples, c.truths) for c in found.changes]
    assert told == [
        ("scene-1", "Day", 1, 1),
        ("scene-2", "Night", 1, 1),
        ("scene-3", "Rain", 1, 2),
    ]
    np.testing.assert_allclose([c.reference for c in found.changes], [1.0, 0.5, 0.0])
    np.testing.assert_allclose([c.other for c in found.changes], [0.0, 1.0, 0.25])
    np.testing.assert_allclose([c.difference for c in found.changes], [-1.0, 0.5, 0.25])
    assert [(c.agreeing, c.pairs) for c in found.changes] == [(2, 2), (1, 2), (1, 2)]


def test_other_seeds_make_no_pairs(store: Store) -> None:
    reference = [kept_run(store, "a", 0, by_hand((True, True, False)))]
    other = [kept_run(store, "b", 7, by_hand((False, True, True)))]
    changes = scene_changes(reference, other, store=store).changes
    assert [(c.scene, c.pairs, c.agreeing) for c in changes] == [
        ("scene-1", 0, 0),
        ("scene-3", 0, 0),
        ("scene-2", 0, 0),
    ]
    np.testing.assert_allclose([c.difference for c in changes], [-1.0, 0.5, 0.0], atol=1e-12)


def test_every_scene_equals_an_evaluation_of_it_alone(store: Store) -> None:
    rng = np.random.default_rng(3)
    data = MadeUpData.draw(rng, scenes=5, per_scene=3)
    records = made_up_records(data, rng.normal(0, 1, 5), rng)
    row = kept_run(store, "a", 0, records)
    found = scene_scores(store, row)
    for scene in range(5):
        weights = (data.samples.scene == scene).astype(np.int64)[None]
        alone = Scorer(records.tables[WHOLE]).scores(weights)
        np.testing.assert_array_equal(found.scores.class_ap()[scene], alone.class_ap()[0])
        np.testing.assert_array_equal(found.scores.truths[scene], alone.truths[0])


def test_without_fitting_records_there_are_no_scenes_and_a_reason(store: Store) -> None:
    rng = np.random.default_rng(0)
    arms = made_up_arms(store, rng, seeds=1)
    path = store.folder(arms["b"][0].name).records_path
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    found = scene_changes(arms["a"], arms["b"], store=store)
    fault = "b-s0: its records.npz is not what it was scored from"
    assert found.notes == (f"no scenes are compared: {fault}",)
    path.unlink()
    found = scene_changes(arms["a"], arms["b"], store=store)
    assert found.notes == ("no scenes are compared: b-s0: its records.npz is missing",)
    other = kept_run(store, "c", 0, by_hand((True, True, True)))
    found = scene_changes(arms["a"], [other], store=store)
    assert found.notes == ("no scenes are compared: the runs were scored on different samples",)
    assert found.changes == ()
