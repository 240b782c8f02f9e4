"""In which order to draw things so that the near ones cover the far ones.

Two convex things that do not overlap have a line (in space: a plane) between them. What lies on the
camera's side of it can hide the other and cannot be hidden by it, so the other is drawn first. This is
right where sorting by distance is not: a long wall beside a small cone, say.
"""

import numpy as np


def sort_by_precedence(first: np.ndarray, distance: np.ndarray) -> list[int]:
    """Order things so that every demand is met; where there is none, the farthest goes first.

    Args:
        first: [N, N], whether i has to be drawn before j.
        distance: [N], decides between free candidates and breaks cycles.

    Returns:
        Indices in drawing order.
    """
    waiting = (first & ~first.T).sum(axis=0).astype(np.float64)
    strict = first & ~first.T
    left = np.ones(len(distance), dtype=bool)
    order: list[int] = []
    for _ in range(len(distance)):
        free = left & (waiting == 0)
        if not free.any():
            free = left
        pick = int(np.argmax(np.where(free, distance, -np.inf)))
        order.append(pick)
        left[pick] = False
        waiting = waiting - strict[pick]
    return order


def rectangle_precedence(corners: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Which of some rectangles on the ground must be drawn before which.

    Args:
        corners: [N, 4, 2] counter-clockwise.
        camera: [2] the viewer's place in the same frame.

    Returns:
        [N, N], whether i cannot hide j although j may hide i.
    """
    edges = np.roll(corners, -1, axis=1) - corners
    normals = np.stack([edges[..., 1], -edges[..., 0]], axis=-1)
    offsets = np.einsum("nek,nek->ne", normals, corners)
    # beyond[i, e, j]: all of j lies outside edge e of i.
    heights = np.einsum("iek,jck->iejc", normals, corners) - offsets[:, :, None, None]
    beyond = heights.min(axis=-1) >= 0.0
    outside = np.einsum("nek,k->ne", normals, camera) > offsets
    nearer = (beyond & outside[:, :, None]).any(axis=1)
    farther = (beyond & ~outside[:, :, None]).any(axis=1)
    return nearer | farther.T


def cuboid_precedence(low: np.ndarray, high: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Which of some cuboids along common axes must be drawn before which.

    Args:
        low: [N, 3] smallest coordinates.
        high: [N, 3] largest coordinates.
        camera: [3] the viewer's place in the same frame.

    Returns:
        [N, N], whether i cannot hide j although j may hide i.
    """
    slack = 1e-9
    above = (low[None] >= high[:, None] - slack) & (camera > high)[:, None]
    below = (high[None] <= low[:, None] + slack) & (camera < low)[:, None]
    # The plane may also run along j's side of the gap.
    over = (low[None] >= high[:, None] - slack) & (camera >= low)[None]
    under = (high[None] <= low[:, None] + slack) & (camera <= high)[None]
    return np.asarray((above | below | over | under).any(axis=-1))
