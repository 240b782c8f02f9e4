import numpy as np

from aqr_exp.data.gt_database.paste import sample_objects, without_collisions

POOLS = [np.arange(100, 120), np.arange(200, 203), np.arange(0)]


def test_every_class_is_filled_up_to_its_number_as_far_as_there_are_objects():
    present = np.array([3, 1, 0])
    rng = np.random.default_rng(0)
    drawn = sample_objects(POOLS, [5, 9, 4], present, rng)
    assert len(drawn) == 2 + 3 + 0
    assert len(set(drawn)) == len(drawn)
    assert sorted(drawn[2:]) == [200, 201, 202]
    full = sample_objects(POOLS, [2, 1, 0], present, rng)
    assert len(full) == 0


def test_draws_are_a_function_of_the_generator():
    def draw(seed):
        return sample_objects(POOLS, [4, 1, 0], np.zeros(3, int), np.random.default_rng(seed))

    np.testing.assert_array_equal(draw(1), draw(1))
    assert len({tuple(draw(seed)) for seed in range(20)}) > 15


def test_nothing_is_put_where_something_stands_or_was_put():
    boxes = {
        0: [0.0, 0, 0, 4, 2, 1, 0],  # on the obstacle
        1: [20.0, 0, 0, 4, 2, 1, 0],
        2: [21.0, 0, 0, 4, 2, 1, 0],  # on number 1
        3: [21.0, 2.5, 9, 4, 2, 1, 0],
    }
    obstacles = np.array([[1.0, 0.5, 0, 4, 2, 1, 0.3]])
    kept = without_collisions(np.arange(4), lambda place: np.array(boxes[place]), obstacles)
    assert kept == [1, 3]
    kept = without_collisions(np.array([2, 1]), lambda p: np.array(boxes[p]), np.empty((0, 7)))
    assert kept == [2]
