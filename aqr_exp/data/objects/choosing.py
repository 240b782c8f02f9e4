"""Which objects are pasted into a sample: how many of each class, and none that would touch another."""

from collections.abc import Callable, Sequence

import numpy as np

from aqr_exp.data.box_geometry import overlaps_any


def choose_objects(
    pools: Sequence[np.ndarray],
    per_class: Sequence[int],
    present: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw what is lacking of each class.

    Args:
        pools: Places of the objects of each class.
        per_class: Each class is filled up to so many.
        present: [classes] objects that the sample has of each.
        rng: Draws without replacement.

    Returns:
        Places of the objects drawn, class by class.
    """
    drawn = []
    for pool, wanted, there in zip(pools, per_class, present, strict=True):
        count = min(max(0, wanted - int(there)), len(pool))
        drawn.append(pool[rng.choice(len(pool), count, replace=False)] if count else pool[:0])
    return np.concatenate(drawn)


def without_collisions(
    places: np.ndarray, box_of: Callable[[int], np.ndarray], obstacles: np.ndarray
) -> list[int]:
    """Keep objects that overlap, seen from above, neither an obstacle nor one kept before.

    Args:
        places: Candidates in order.
        box_of: The box [7 or more] of a candidate.
        obstacles: [G, 7] boxes that are there.
    """
    kept: list[int] = []
    for place in places:
        box = np.asarray(box_of(int(place)), dtype=np.float64)[:7]
        if not overlaps_any(box, obstacles):
            kept.append(int(place))
            obstacles = np.concatenate([obstacles, box[None]])
    return kept
