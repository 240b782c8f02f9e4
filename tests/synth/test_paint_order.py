import itertools
from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aqr_exp.data.geometry import overlap as overlap_of
from aqr_exp.synth.actors import Size, footprints
from aqr_exp.synth.polygons import cuboid_precedence, rectangle_precedence, sort_by_precedence

overlap = partial(overlap_of, touching=True)


def test_a_cone_before_a_long_wall_is_drawn_last_although_the_wall_is_nearer_at_its_middle() -> (
    None
):
    wall = footprints(np.array([2.0, 5.0, 0.0]), Size(length=40.0, width=1.0, height=3.0))
    cone = footprints(np.array([18.0, 3.0, 0.0]), Size(length=0.5, width=0.5, height=1.0))
    precedence = rectangle_precedence(np.stack([wall, cone]), np.array([0.0, 0.0]))
    assert precedence[0, 1]
    assert sort_by_precedence(precedence, np.array([5.4, 18.2])) == [0, 1]
    behind = footprints(np.array([18.0, 7.0, 0.0]), Size(length=0.5, width=0.5, height=1.0))
    precedence = rectangle_precedence(np.stack([wall, behind]), np.array([0.0, 0.0]))
    assert sort_by_precedence(precedence, np.array([25.0, 19.0])) == [1, 0]


def test_free_things_go_farthest_first_and_cycles_end() -> None:
    nothing = np.zeros((3, 3), dtype=bool)
    assert sort_by_precedence(nothing, np.array([1.0, 3.0, 2.0])) == [1, 2, 0]
    ring = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=bool)
    assert sorted(sort_by_precedence(ring, np.array([1.0, 3.0, 2.0]))) == [0, 1, 2]


def test_a_roof_is_drawn_after_the_body_from_above_and_before_it_from_below() -> None:
    low = np.array([[-1.0, -1.0, 0.0], [-1.0, -1.0, 1.0]])
    high = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 2.0]])
    away = np.array([1.0, 2.0])
    above = cuboid_precedence(low, high, np.array([5.0, 0.0, 3.0]))
    assert sort_by_precedence(above, away) == [0, 1]
    under = cuboid_precedence(low, high, np.array([5.0, 0.0, 0.5]))
    assert sort_by_precedence(under, away) == [1, 0]


def _entry(corners: np.ndarray, direction: np.ndarray) -> float:
    """Distance from the origin along a ray to a convex rectangle, by its edges; inf when missed."""
    hits = []
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        edge = end - start
        matrix = np.stack([direction, -edge], axis=1)
        if abs(np.linalg.det(matrix)) < 1e-9:
            continue
        along, share = np.linalg.solve(matrix, start)
        if along > 0 and 0 <= share <= 1:
            hits.append(along)
    return min(hits, default=np.inf)


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_on_every_ray_the_nearest_is_drawn_last(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes: list[np.ndarray] = []
    for _ in range(30):
        pose = np.array([*rng.uniform(-20, 20, 2), rng.uniform(-3, 3)])
        size = Size(length=rng.uniform(0.5, 14), width=rng.uniform(0.3, 4), height=1.0)
        box = footprints(pose, size)
        me = footprints(np.zeros(3), Size(length=1.0, width=1.0, height=1.0))
        if not any(overlap(box, other) for other in [*boxes, me]):
            boxes.append(box)
    precedence = rectangle_precedence(np.stack(boxes), np.zeros(2))
    strict = precedence & ~precedence.T
    for angle in np.linspace(-np.pi, np.pi, 40):
        ray = np.array([np.cos(angle), np.sin(angle)])
        entries = [(_entry(box, ray), index) for index, box in enumerate(boxes)]
        met = sorted((entry, index) for entry, index in entries if np.isfinite(entry))
        for (_, near), (_, far) in itertools.combinations(met, 2):
            assert strict[far, near]
