import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_loop import plain_scores, repeated

from aqr_exp.evaluate import scorer as scorer_module
from aqr_exp.evaluate.records import MatchTable, exact_floats, smallest_unsigned
from aqr_exp.evaluate.scorer import Scorer
from aqr_exp.evaluate.weighting import RECALLS, Found, Ranking, Targets

SAMPLES = 4


def made_up_table(
    seed: int, detections: int = 60, scores: int = 1000, spare: int = 3, samples: int = SAMPLES
) -> MatchTable:
    """A table of three classes; few `scores` make ties common, few `spare` truths high recalls."""
    rng = np.random.default_rng(seed)
    label = np.sort(rng.choice([0, 5, 9], detections))
    score = rng.integers(0, scores, detections) / scores
    order = np.lexsort((-score, label))
    sample = rng.integers(0, samples, detections)
    nearest = rng.choice([0b0000, 0b1000, 0b1100, 0b1110, 0b1111], detections)
    # Greedy matching can lose at a greater distance what it had at a smaller one.
    nearest ^= np.where(rng.random(detections) < 0.1, 0b1000, 0)
    hits = nearest >> 2 & 1
    errors = rng.random((int(hits.sum()), 5))
    errors[rng.random(errors.shape) < 0.3] = np.nan
    errors[:, :3] = rng.random((len(errors), 3))
    truths = np.zeros((samples, 10), dtype=np.uint8)
    for bit in range(4):
        counts = np.zeros_like(truths)
        np.add.at(counts, (sample, label), (nearest >> bit & 1).astype(np.uint8))
        truths = np.maximum(truths, counts)
    truths[:, [0, 5, 9]] += rng.integers(0, spare + 1, (samples, 3)).astype(np.uint8)
    return MatchTable(
        class_start=np.searchsorted(label, np.arange(11)),
        sample=sample.astype(np.uint16),
        score=score[order],
        matched=nearest.astype(np.uint8),
        errors=errors,
        truths=truths,
    )


def assert_plain(table: MatchTable, ap: np.ndarray, errors: np.ndarray) -> None:
    expected_ap, expected_errors = plain_scores(table)
    np.testing.assert_allclose(ap, expected_ap, rtol=0, atol=1e-12)
    np.testing.assert_allclose(errors, expected_errors, rtol=0, atol=1e-12)


_tables = st.builds(
    made_up_table,
    seed=st.integers(0, 2**32 - 1),
    detections=st.integers(0, 80),
    scores=st.sampled_from([1, 2, 5, 1000]),
    spare=st.integers(0, 9),
)


@given(table=_tables)
def test_one_of_each_is_the_plain_evaluation(table):
    scores = Scorer(table).scores()
    assert_plain(table, scores.ap[0], scores.errors[0])


@given(table=_tables, data=st.data())
@settings(max_examples=60)
def test_weights_are_copies(table, data):
    row = st.lists(st.integers(0, 4), min_size=SAMPLES, max_size=SAMPLES)
    weights = np.array(data.draw(st.lists(row, min_size=1, max_size=4)))
    scores = Scorer(table).scores(weights)
    assert scores.samples.tolist() == weights.sum(axis=1).tolist()
    for index, each in enumerate(weights):
        copies = repeated(table, each)
        assert_plain(copies, scores.ap[index], scores.errors[index])
        np.testing.assert_array_equal(scores.truths[index], copies.truths.sum(axis=0))


def test_the_tables_are_worth_comparing():
    scores = Scorer(made_up_table(0)).scores()
    assert ((scores.ap[0] > 0.05) & (scores.ap[0] < 0.99)).sum() >= 8
    assert (~np.isin(scores.errors[0], [0, 1]) & ~np.isnan(scores.errors[0])).sum() >= 10


@pytest.mark.parametrize("entries", [1, 100, 10**9])
def test_how_many_are_worked_on_together_does_not_matter(monkeypatch, entries):
    table, rng = made_up_table(3), np.random.default_rng(0)
    weights = rng.integers(0, 4, (13, SAMPLES))
    expected = [Scorer(table).scores(weights[index : index + 1]) for index in range(13)]
    monkeypatch.setattr(scorer_module, "_ENTRIES_AT_ONCE", entries)
    together = Scorer(table).scores(weights)
    np.testing.assert_array_equal(together.ap, np.concatenate([each.ap for each in expected]))
    np.testing.assert_allclose(
        together.errors, np.concatenate([each.errors for each in expected]), rtol=0, atol=1e-15
    )


def test_twice_everything_is_nearly_the_same():
    """Copies refine the steps of the curves; they cannot move a metric by more than a step."""
    scorer = Scorer(made_up_table(4, detections=400, spare=30))
    once, twice = (scorer.scores(np.full((1, SAMPLES), count)) for count in (1, 2))
    assert not np.array_equal(once.ap, twice.ap)
    np.testing.assert_allclose(once.ap, twice.ap, atol=0.02)


def test_no_sample_at_all_has_no_ap_and_full_errors():
    scores = Scorer(made_up_table(5)).scores(np.zeros((2, SAMPLES), dtype=int))
    assert not scores.ap.any()
    assert np.nanmin(scores.errors) == 1
    assert scores.nds().tolist() == [0, 0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((1, 3), dtype=int), r"weights has shape \(1, 3\), not \(R, 4\)"),
        (np.ones(4, dtype=int), r"weights has shape \(4,\), not \(R, 4\)"),
        (np.full((1, 4), -1), "weights must be whole numbers of 0 or more, got int64"),
        (np.full((1, 4), 0.5), "weights must be whole numbers of 0 or more, got float64"),
    ],
)
def test_other_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        Scorer(made_up_table(6)).scores(weights)


@given(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=4))
def test_a_ranking_lists_the_copies_of_each_row(rows):
    ranking, hits = Ranking(np.array(rows)), np.array([True, False, True, True, False])
    found = Found(ranking, hits[ranking.detection])
    before = matched_before = 0
    for row, start, total, first, matches in zip(
        rows, ranking.start, ranking.total, found.start, found.total, strict=True
    ):
        copies = [index for index, count in enumerate(row) for _ in range(count)]
        assert (int(start[0]), int(total[0])) == (before, len(copies))
        assert ranking.detection[before : before + len(copies)].tolist() == copies
        places = [before + at for at, index in enumerate(copies) if hits[index]]
        assert (int(first[0]), int(matches[0])) == (matched_before, len(places))
        assert found.place[matched_before : matched_before + len(places)].tolist() == places
        before, matched_before = before + len(copies), matched_before + len(places)


@given(st.integers(0, 3000))
def test_targets_are_the_quotients_the_benchmark_compares(truths):
    targets = Targets.of(np.array([truths]))
    count = max(truths, 1)
    for recall, below in zip(RECALLS, targets.below[0], strict=True):
        assert below / count <= recall < (below + 1) / count


def test_numbers_are_kept_small_but_exact():
    assert smallest_unsigned(np.array([0, 255])).dtype == np.uint8
    assert smallest_unsigned(np.array([0, 256])).dtype == np.uint16
    assert smallest_unsigned(np.zeros(0, dtype=int)).dtype == np.uint8
    assert exact_floats(np.array([0.5, 0.25])).dtype == np.float32
    assert exact_floats(np.array([0.5, 0.1])).dtype == np.float64
