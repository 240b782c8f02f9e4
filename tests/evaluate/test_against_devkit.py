"""Every number of the official devkit, on right, wrong and hostile detections."""

from pathlib import Path

import numpy as np
import pytest
from detection_cases import CASES, few_scores, predictions_in_memory
from devkit_verdict import TOLERANCE, Verdict, repeated_scores, write_file
from nuscenes.eval.detection.constants import TP_METRICS
from small_world import Results, World

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.evaluation import make_records, score_results
from aqr_exp.evaluate.metric import score_results as official_score_results
from aqr_exp.evaluate.predictions import read_predictions
from aqr_exp.evaluate.protocol import MATCH_DISTANCES_M, measured
from aqr_exp.evaluate.records import WHOLE
from aqr_exp.evaluate.scorer import Scorer, Scores


def _results(world: World, case: str, split: str) -> Results:
    return CASES[case](world.boxes, world.samples[split])


def _ours(world: World, path: Path, split: str) -> Scores:
    truth = world.truth(split)
    records = make_records(truth, read_predictions(path, truth), bands=False)
    return Scorer(records.tables[WHOLE]).scores()


@pytest.mark.parametrize(
    ("case", "split"),
    [
        *((case, "mini_val") for case in CASES),
        # A custom split ranks equal scores by its own order of samples, not by the file's.
        *((case, "everything") for case in ("found and random", "few scores", "another order")),
    ],
)
def test_all_numbers_are_the_devkits(world, tmp_path, case, split):
    path = write_file(tmp_path / "result.json", _results(world, case, split))
    Verdict(world.nusc, path, split).assert_same(_ours(world, path, split))


def test_the_cases_are_worth_comparing(world, tmp_path):
    path = write_file(tmp_path / "result.json", _results(world, "found and random", "everything"))
    scores = _ours(world, path, "everything")
    assert (scores.truths[0] > 0).all()
    assert scores.truths.max() > 50
    assert (scores.ap[0] > 0).sum() > 20
    assert 0.1 < scores.mean_ap()[0] < 0.9
    assert ((scores.errors[0] > 0) & (scores.errors[0] != 1)).sum() > 20
    # Trailers are detected in the other split too, but there are none.
    others = _ours(world, write_file(path, _results(world, "random", "mini_val")), "mini_val")
    assert others.truths[0, CLASS_NAMES.index("trailer")] == 0


def test_weights_are_what_the_devkit_says_of_copies(world, tmp_path):
    path = write_file(tmp_path / "result.json", _results(world, "found and random", "everything"))
    truth = world.truth("everything")
    table = make_records(truth, read_predictions(path, truth), bands=False).tables[WHOLE]
    weights = np.random.default_rng(0).integers(0, 4, (1, len(truth.samples)))
    scores = Scorer(table).scores(weights)
    by_token = dict(zip(truth.samples.tokens, weights[0].tolist(), strict=True))
    aps, errors = repeated_scores(Verdict(world.nusc, path, "everything"), by_token)
    expected = [[aps[name, each] for each in MATCH_DISTANCES_M] for name in CLASS_NAMES]
    np.testing.assert_allclose(scores.ap[0], expected, rtol=0, atol=TOLERANCE)
    expected = [[errors[name, each] for each in TP_METRICS] for name in CLASS_NAMES]
    expected = np.where(measured(NUSCENES), expected, np.nan)
    np.testing.assert_allclose(scores.errors[0], expected, rtol=0, atol=TOLERANCE)


def test_the_order_of_samples_decides_between_equal_scores(world, tmp_path):
    """Otherwise the cases above would not notice a wrong order."""
    results = few_scores(world.boxes, world.samples["mini_val"])
    there = _ours(world, write_file(tmp_path / "there.json", results), "mini_val")
    back = dict(reversed(results.items()))
    here = _ours(world, write_file(tmp_path / "here.json", back), "mini_val")
    assert np.abs(there.ap - here.ap).max() > 1e-6


def test_in_memory_is_as_from_a_file(world, tmp_path):
    results = _results(world, "found", "mini_val")
    path = write_file(tmp_path / "result.json", results)
    truth = world.truth("mini_val")
    kept, read = predictions_in_memory(results, truth), read_predictions(path, truth)
    assert len(kept.boxes) > 50
    for name, value in vars(kept.boxes).items():
        np.testing.assert_array_equal(value, getattr(read.boxes, name))
    np.testing.assert_array_equal(kept.score, read.score)


def test_it_takes_and_gives_what_the_official_scoring_does(world, tmp_path):
    path = write_file(tmp_path / "result.json", _results(world, "found", "everything"))
    ours = score_results(path, world.root, world.version, "everything")
    official = official_score_results(path, world.root, world.version, "everything")
    assert list(ours) == list(official)
    assert ours == pytest.approx(official, rel=0, abs=1e-9)


def test_a_matched_box_without_size_is_refused_as_there(world, tmp_path):
    results = _results(world, "exact", "mini_val")
    token, boxes = next((token, boxes) for token, boxes in results.items() if boxes)
    for box in boxes:
        box["size"] = [0.0, 4.0, 1.5]
    path = write_file(tmp_path / "result.json", results)
    with pytest.raises(AssertionError, match="sizes must be >0"):
        Verdict(world.nusc, path, "mini_val")
    with pytest.raises(
        Exception, match=rf"{token}, box \d+: size=\[0.0, 4.0, 1.5\] \(allowed: above 0\)"
    ):
        _ours(world, path, "mini_val")
