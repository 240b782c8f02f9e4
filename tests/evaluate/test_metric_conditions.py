import numpy as np
import pytest
from detection_cases import CASES, predictions_in_memory
from devkit_verdict import TOLERANCE, Verdict, write_file
from made_up_tables import sample_token
from plain_loop import boxes_of, truth_of
from small_world import World

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.conditions import (
    CONDITIONS,
    DataCondition,
    RunScorer,
    condition_metrics,
    sample_weights,
)
from aqr_exp.evaluate.evaluation import make_records
from aqr_exp.evaluate.predictions import Predictions
from aqr_exp.evaluate.protocol import ERROR_NAMES
from aqr_exp.evaluate.records import BANDS_M, MatchRecords, SplitSamples

SPLIT = "everything"


@pytest.fixture(scope="module")
def records(world: World) -> MatchRecords:
    truth = world.truth(SPLIT)
    results = CASES["found and random"](world.boxes, world.samples[SPLIT])
    return make_records(truth, predictions_in_memory(results, truth))


@pytest.mark.parametrize(
    ("condition", "split"), [("night", "night only"), ("rain", "rain only"), ("dry", "dry only")]
)
def test_a_subset_is_what_the_devkit_says_of_its_scenes_alone(
    world, records, tmp_path, condition, split
):
    results = CASES["found and random"](world.boxes, world.samples[SPLIT])
    part = {sample_token(sample): results[sample_token(sample)] for sample in world.samples[split]}
    path = write_file(tmp_path / "result.json", part)
    scores = RunScorer(records).scores(CONDITIONS[condition])
    assert scores.samples[0] == len(part)
    Verdict(world.nusc, path, split).assert_same(scores)


def test_the_nearest_band_is_what_the_devkit_says_with_that_range(world, records, tmp_path):
    results = CASES["found and random"](world.boxes, world.samples[SPLIT])
    path = write_file(tmp_path / "result.json", results)
    verdict = Verdict(world.nusc, path, SPLIT, max_range_m=20)
    verdict.assert_same(RunScorer(records).scores(CONDITIONS["0-20m"]))


def test_bands_share_out_the_ground_truths(records):
    scorer = RunScorer(records)
    whole = scorer.scores().truths
    bands = [scorer.scores(CONDITIONS[name]).truths for name in ("0-20m", "20-30m", "30-50m")]
    np.testing.assert_array_equal(sum(bands), whole)
    assert all(band.sum() > 5 for band in bands)


def test_a_box_at_a_bands_edge_is_in_the_next():
    boxes = boxes_of([(0, 0, np.nextafter(20, 0), 0), (0, 0, 20, 0), (0, 0, 0, 30)])
    found = Predictions(source="", boxes=boxes, score=np.full(3, 0.5), place=np.arange(3))
    tables = make_records(truth_of(boxes), found).tables
    assert [tables[name].truths.sum() for name in ("all", *BANDS_M)] == [3, 1, 1, 1]
    assert [len(tables[name].score) for name in ("all", *BANDS_M)] == [3, 1, 1, 1]
    # Each is matched within its band alone.
    np.testing.assert_array_equal(tables["0-20m"].matched, [0b1111])


def test_a_band_counts_the_classes_it_can_hold():
    names = {
        name: {CLASS_NAMES[i] for i in each.labels(NUSCENES)} for name, each in CONDITIONS.items()
    }
    assert len(names["0-20m"]) == len(names["20-30m"]) == len(names["night"]) == 10
    assert set(CLASS_NAMES) - names["30-50m"] == {"barrier", "traffic_cone"}
    assert names["small"] == {"pedestrian", "motorcycle", "bicycle", "traffic_cone", "barrier"}
    assert names["large"] == set(CLASS_NAMES) - names["small"]


def test_opposites_share_out_the_samples(records):
    metrics = condition_metrics(records)
    assert list(metrics) == list(CONDITIONS)
    assert metrics["night"]["samples"] + metrics["day"]["samples"] == 15
    assert metrics["rain"]["samples"] + metrics["dry"]["samples"] == 15
    assert metrics["night"]["samples"] == 5
    assert metrics["rain"]["samples"] == 10


def test_a_size_group_is_the_mean_of_its_classes(records):
    whole, metrics = RunScorer(records).scores(), condition_metrics(records)
    for name in ("small", "large"):
        labels = CONDITIONS[name].labels(NUSCENES)
        part = metrics[name]
        aps = [whole.class_ap()[0, label] for label in labels]
        assert part["mAP"] == pytest.approx(np.mean(aps), abs=TOLERANCE)
        errors = np.nanmean(whole.errors[0, list(labels)], axis=0)
        assert [part[each] for each in ERROR_NAMES] == pytest.approx(errors.tolist())
        nds = (5 * part["mAP"] + np.maximum(1 - errors, 0).sum()) / 10
        assert part["NDS"] == pytest.approx(nds)
        assert sum(key.startswith("gt/") for key in part) == 5


def test_records_without_bands_have_the_other_conditions(world, records):
    truth = world.truth(SPLIT)
    results = CASES["found and random"](world.boxes, world.samples[SPLIT])
    plain = make_records(truth, predictions_in_memory(results, truth), bands=False)
    metrics = condition_metrics(plain)
    assert list(metrics) == ["night", "day", "rain", "dry", "small", "large"]
    assert metrics["rain"] == condition_metrics(records)["rain"]


@pytest.mark.parametrize(
    ("description", "night", "rain"),
    [
        ("Night, heavy rain", True, True),
        ("After RAIN, nighttime", True, True),
        ("Rainy day", False, True),
        ("Train station, knights, drain", False, False),
        ("", False, False),
    ],
)
def test_conditions_are_words_of_the_description(description, night, rain):
    samples = SplitSamples(
        tokens=("a", "b"),
        scene=np.array([0, 1]),
        scene_names=("one", "two"),
        scene_descriptions=(description, "clear"),
    )
    assert samples.under("night").tolist() == [night, False]
    assert samples.under("rain").tolist() == [rain, False]


def test_scene_weights_reach_their_samples_and_go_with_conditions(records):
    weights = sample_weights(records.samples, np.array([[2, 0, 1], [1, 1, 1]]))
    np.testing.assert_array_equal(weights[0], [2] * 5 + [0] * 5 + [1] * 5)
    scorer = RunScorer(records)
    rain = scorer.scores(CONDITIONS["rain"], weights)
    assert rain.samples.tolist() == [5, 10]
    alone = scorer.scores(weights=np.repeat([[0, 0, 1]], 5, axis=1).reshape(1, 3, 5).reshape(1, 15))
    assert alone.samples.tolist() == [5]
    np.testing.assert_array_equal(
        rain.ap[1], scorer.scores(DataCondition(word="rain")).ap[0], err_msg="weights of one"
    )
