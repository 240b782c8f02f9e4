import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_loop import boxes_of, choices, truth_of
from pyquaternion import Quaternion

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.evaluate.boxes import Boxes
from aqr_exp.evaluate.matching import match
from aqr_exp.evaluate.predictions import Predictions
from aqr_exp.evaluate.protocol import MATCH_DISTANCES_M
from aqr_exp.evaluate.records import MatchTable

CAR, BARRIER, BICYCLE = 0, 5, 7


def run(truths: Boxes, boxes: Boxes, score: list[float]) -> MatchTable:
    predictions = Predictions(
        source="memory", boxes=boxes, score=np.array(score), place=np.arange(len(boxes))
    )
    return match(truth_of(truths), truths, predictions)


def test_the_foremost_takes_the_nearest_and_the_next_what_is_left():
    truths = boxes_of([(0, CAR, 0, 0), (0, CAR, 3, 0)])
    # The second is nearest to the first ground truth too, but comes later: it gets the other, 2.6 m off.
    boxes = boxes_of([(0, CAR, 0.3, 0), (0, CAR, 0.4, 0), (0, CAR, 0.1, 0)])
    table = run(truths, boxes, [0.9, 0.8, 0.7])
    np.testing.assert_array_equal(table.score, [0.9, 0.8, 0.7])
    # Bits are .5, 1, 2 and 4 m.
    np.testing.assert_array_equal(table.matched, [0b1111, 0b1000, 0])
    np.testing.assert_allclose(table.errors[:, 0], [0.3])
    np.testing.assert_array_equal(table.truths.sum(axis=0), [2] + [0] * 9)


def test_one_turned_away_may_turn_away_another():
    # In order a, b, c: a and b want the first ground truth, c the second. b is pushed to the second, which
    # pushes c to the third: but only where b may reach so far.
    truths = boxes_of([(0, CAR, 0, 0), (0, CAR, 1.5, 0), (0, CAR, 3, 0)])
    boxes = boxes_of([(0, CAR, 1.75, 0), (0, CAR, 0.125, 0), (0, CAR, 0.25, 0)])
    table = run(truths, boxes, [0.1, 0.9, 0.5])
    np.testing.assert_array_equal(table.matched, [0b1111, 0b1100, 0b1111])
    np.testing.assert_array_equal(table.errors[:, 0], [0.125, 1.25, 1.25])


def test_other_samples_and_classes_are_out_of_reach():
    truths = boxes_of([(0, CAR, 0, 0), (1, BICYCLE, 0, 0)])
    boxes = boxes_of([(1, CAR, 0, 0), (0, BICYCLE, 0, 0), (2, CAR, 0, 0)])
    table = run(truths, boxes, [0.9, 0.8, 0.7])
    np.testing.assert_array_equal(table.matched, [0, 0, 0])
    np.testing.assert_array_equal(table.class_start, [0, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3])


def test_a_distance_at_the_threshold_is_too_far():
    truths = boxes_of([(0, CAR, 0, 0)])
    for away, bits in ((0.5, 0b1110), (np.nextafter(0.5, 0), 0b1111), (4.0, 0), (2.0, 0b1000)):
        np.testing.assert_array_equal(
            run(truths, boxes_of([(0, CAR, away, 0)]), [0.5]).matched, bits
        )


def test_equal_scores_rank_the_later_first_and_equal_distances_the_earlier():
    truths = boxes_of([(0, CAR, 0, 1), (0, CAR, 0, -1)])
    boxes = boxes_of([(0, CAR, 0, 0), (1, CAR, 0, 0), (0, CAR, 0, 0)])
    table = run(truths, boxes, [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(table.sample, [0, 1, 0])
    # The last detection comes first and takes the first ground truth; the first gets the second.
    np.testing.assert_array_equal(table.matched, [0b1100, 0, 0b1100])


def test_the_five_errors_by_hand():
    turned = [Quaternion(axis=(0, 0, 1), angle=angle).elements for angle in (0.25, 3.0)]
    truths = boxes_of(
        [(0, CAR, 0, 0), (0, BARRIER, 9, 9)],
        size=np.array([[2.0, 4.0, 1.0], [1.0, 1.0, 1.0]]),
        velocity=np.array([[3.0, 0.0], [np.nan, np.nan]]),
        attribute=np.array([0, -1]),
    )
    boxes = boxes_of(
        [(0, CAR, 0.3, 0.4), (0, BARRIER, 9, 9)],
        size=np.array([[2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]),
        rotation=np.array(turned),
        velocity=np.array([[0.0, 4.0], [0.0, 0.0]]),
        attribute=np.array([1, 1]),
    )
    errors = run(truths, boxes, [0.5, 0.5]).errors
    # IoU: 2 x 2 x 1 common, of 8 + 8 - 4 together.
    np.testing.assert_allclose(errors[0], [0.5, 1 - 4 / 12, 0.25, 5.0, 1.0], atol=1e-12)
    # A barrier turned by 3 is one turned by 3 - pi.
    np.testing.assert_allclose(errors[1], [0, 0, np.pi - 3, np.nan, np.nan], atol=1e-12)


def test_a_right_attribute_is_no_error():
    attribute = np.array([NUSCENES.attributes.index("vehicle.parked")])
    truths = boxes_of([(0, CAR, 0, 0)], attribute=attribute)
    assert run(truths, boxes_of([(0, CAR, 0, 0)], attribute=attribute), [0.5]).errors[0, 4] == 0
    assert run(truths, boxes_of([(0, CAR, 0, 0)]), [0.5]).errors[0, 4] == 1


def test_nothing_detected_and_nothing_there():
    nothing, one = boxes_of([]), boxes_of([(0, CAR, 0, 0)])
    assert run(one, nothing, []).truths.sum() == 1
    np.testing.assert_array_equal(run(nothing, one, [0.5]).matched, [0])
    assert run(nothing, nothing, []).errors.shape == (0, 5)


def test_a_matched_box_without_size_is_named():
    boxes = boxes_of([(1, CAR, 0, 0)] * 2, size=np.array([[1.0, 1, 1], [1, -2, 1]]))
    truths = boxes_of([(1, CAR, 0, 0)] * 2)
    message = r"memory: sample sample1, box 1: size=\[1.0, -2.0, 1.0\] \(allowed: above 0\)"
    with pytest.raises(Exception, match=message):
        run(truths, boxes, [0.5, 0.6])
    # Out of reach of any ground truth its size is never asked for, as in the devkit.
    assert not run(boxes_of([(1, CAR, 9, 9)]), boxes, [0.5, 0.6]).matched.any()


# A coarse grid: equal distances, distances at a threshold, equal scores and crowds are common.
_place = st.tuples(
    st.sampled_from([0, 0, 0, 1]),
    st.sampled_from([CAR, CAR, CAR, BICYCLE]),
    st.integers(0, 8).map(lambda x: x / 2),
    st.integers(0, 3).map(lambda y: y / 2),
)
_scored = st.tuples(_place, st.integers(0, 4).map(lambda score: score / 4))


@given(truths=st.lists(_place, max_size=8), found=st.lists(_scored, max_size=12))
def test_all_at_once_is_as_one_after_another(truths, found):
    truth_boxes, boxes = boxes_of(truths), boxes_of([place for place, _ in found])
    score = [each for _, each in found]
    table = run(truth_boxes, boxes, score)
    for label in (CAR, BICYCLE):
        for bit, distance_m in enumerate(MATCH_DISTANCES_M):
            chosen = choices(truth_boxes, boxes, np.array(score), label, distance_m)
            np.testing.assert_array_equal(
                table.hits(label, bit), [truth is not None for _, truth in chosen]
            )
            np.testing.assert_array_equal(
                table.sample[table.rows(label)], [boxes.sample[index] for index, _ in chosen]
            )
            if bit == 2:
                pairs = [(index, truth) for index, truth in chosen if truth is not None]
                away = [
                    np.linalg.norm(boxes.centre[i, :2] - truth_boxes.centre[j, :2])
                    for i, j in pairs
                ]
                np.testing.assert_array_equal(table.class_errors(label)[:, 0], away)


def test_distances_are_the_devkits_to_the_last_bit():
    """One bit more or less decides at a threshold, and between two that are equally near."""
    rng = np.random.default_rng(0)
    places = rng.normal(500, 1.2, (4000, 2))
    truths = boxes_of([(0, CAR, *place) for place in places[:1]])
    boxes = boxes_of([(0, CAR, *place) for place in places[1:]])
    expected = np.array([np.linalg.norm(place - places[0]) for place in places[1:]])
    # Alone with the ground truth, each takes it.
    for index in np.flatnonzero(expected < 2)[:300]:
        table = run(truths, boxes.take(np.array([index])), [0.5])
        assert table.errors[0, 0] == expected[index]


def test_a_crowd_at_one_place_is_served_in_order():
    """The longest queue there can be: everybody wants the same ones in the same order."""
    rng = np.random.default_rng(1)
    truths = boxes_of([(0, CAR, *place) for place in rng.normal(0, 0.1, (60, 2))])
    boxes = boxes_of([(0, CAR, 0, 0)] * 80)
    table = run(truths, boxes, rng.random(80).tolist())
    np.testing.assert_array_equal(table.matched, [0b1111] * 60 + [0] * 20)
    assert (np.diff(table.errors[:, 0]) >= 0).all()


def test_many_pairs_are_worked_on_in_parts(monkeypatch):
    rng = np.random.default_rng(2)
    truths = boxes_of([(s, CAR, *rng.normal(0, 3, 2)) for s in range(3) for _ in range(9)])
    boxes = boxes_of([(s, CAR, *rng.normal(0, 3, 2)) for s in range(3) for _ in range(20)])
    score = rng.random(60).tolist()
    whole = run(truths, boxes, score)
    monkeypatch.setattr("aqr_exp.evaluate.matching._PAIRS_AT_ONCE", 7)
    parts = run(truths, boxes, score)
    assert whole.matched.any()
    for name, value in vars(whole).items():
        np.testing.assert_array_equal(vars(parts)[name], value)
