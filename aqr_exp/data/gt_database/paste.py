"""Ground-truth sampling: choose objects that collide with nothing, and paint their patches."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from aqr_exp.data.geometry import corners_m, depths_m, overlaps_any, project
from aqr_exp.data.gt_database.store import Patch


def sample_objects(
    pools: Sequence[np.ndarray],
    per_class: Sequence[int],
    present: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Places of the objects drawn, without replacement, to fill each class up to `per_class`.

    `pools` holds the places of the objects of each class, `present` [classes] the number already there.
    """
    drawn = []
    for pool, wanted, there in zip(pools, per_class, present, strict=True):
        count = min(max(0, wanted - int(there)), len(pool))
        drawn.append(pool[rng.choice(len(pool), count, replace=False)] if count else pool[:0])
    return np.concatenate(drawn)


def without_collisions(
    places: np.ndarray, box_of: Callable[[int], np.ndarray], obstacles: np.ndarray
) -> list[int]:
    """Candidates that overlap, seen from above, neither an obstacle [G, 7] nor one kept before."""
    kept: list[int] = []
    for place in places:
        box = np.asarray(box_of(int(place)), dtype=np.float64)[:7]
        if not overlaps_any(box, obstacles):
            kept.append(int(place))
            obstacles = np.concatenate([obstacles, box[None]])
    return kept


# cv2.fillConvexPoly takes fixed-point places with so many fractional bits.
_SHIFT = 4


def patch_homography(patch: Patch, box: np.ndarray, lidar2img: np.ndarray) -> np.ndarray:
    """[3, 3] from the stored image a patch was cut from to the image it is pasted into.

    The same place in the LiDAR frame lies at other pixels of another car's camera. The map is exact for
    points as far from the first camera's plane as the box's centre.
    """
    depth = float(depths_m(box[:3], patch.lidar2img))
    # A pixel p at that depth is the point X with A X + b = depth * p, for either camera's own A and b.
    turn = lidar2img[:3, :3] @ np.linalg.inv(patch.lidar2img[:3, :3])
    shift = lidar2img[:3, 3] - turn @ patch.lidar2img[:3, 3]
    matrix = depth * turn
    matrix[:, 2] += shift
    return np.asarray(matrix / matrix[2, 2])


def landing_error_px(patch: Patch, box: np.ndarray, lidar2img: np.ndarray) -> float:
    """Largest error of a pasted corner, in pixels, over the corners that the patch shows.

    Cars carry their cameras at slightly different places: near and deep boxes look different then.
    `lidar2img` [4, 4] is of the camera that the patch is pasted into.
    """
    corners = corners_m(np.asarray(box, dtype=np.float64)[None, :7])[0]
    source, wanted = project(corners, patch.lidar2img), project(corners, lidar2img)
    if not np.isfinite(wanted).all():
        return float("inf")
    height, width = patch.image.shape[:2]
    place = source - (patch.left, patch.top)
    shown = ((place >= 0) & (place <= (width, height))).all(axis=1)
    moved = np.column_stack([source, np.ones(8)]) @ patch_homography(patch, box, lidar2img).T
    landed = moved[:, :2] / moved[:, 2:]
    return float(np.abs(landed - wanted)[shown].max(initial=0.0))


def outline_mask(
    box: np.ndarray, lidar2img: np.ndarray, size_px: tuple[int, ...]
) -> np.ndarray | None:
    """uint8 mask [height, width], 1 in the hull of a box's corners; None if one is behind the camera."""
    corners = project(corners_m(np.asarray(box, dtype=np.float64)[None, :7])[0], lidar2img)
    if not np.isfinite(corners).all():
        return None
    # Beyond these nothing is drawn; fixed-point places must not overflow.
    corners = np.clip(corners, -16.0 * max(size_px), 16.0 * max(size_px))
    # cv2 puts pixel centres on integers, the projection puts them on half integers.
    fixed = np.round((corners - 0.5) * (1 << _SHIFT)).astype(np.int32)
    mask = np.zeros(size_px[:2], dtype=np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(fixed), 1, lineType=cv2.LINE_8, shift=_SHIFT)
    return mask


def paint(
    image: np.ndarray, boxes: np.ndarray, patches: Sequence[Patch | None], lidar2img: np.ndarray
) -> np.ndarray:
    """Paste the patches of boxes [n, 7 or more] into an image [height, width, 3] uint8, far ones first.

    A patch of None is an object that the image already shows: it is painted again, from the image
    itself, over patches behind it. The image stays unchanged; boxes behind the camera are left out.
    """
    depths = depths_m(boxes[:, :3], lidar2img)
    painted: np.ndarray | None = None
    for place in np.argsort(-depths, kind="stable"):
        box, patch = boxes[place], patches[place]
        if depths[place] <= 0 or (patch is None and painted is None):
            continue
        mask = outline_mask(box, lidar2img, image.shape)
        if mask is None:
            continue
        painted = image.copy() if painted is None else painted
        if patch is None:
            covered = mask.astype(bool)
            painted[covered] = image[covered]
        else:
            _paste(painted, patch, mask, patch_homography(patch, box, lidar2img))
    return image if painted is None else painted


def _paste(painted: np.ndarray, patch: Patch, mask: np.ndarray, homography: np.ndarray) -> None:
    """Warp a patch into place, within the mask and where the patch has pixels."""
    bounds = cv2.boundingRect(mask)
    left, top, width, height = bounds
    if not width or not height:
        return
    # Pixel centres: half a pixel from cv2's place to the projection's on one side, back on the other.
    into = np.array([[1, 0, -left - 0.5], [0, 1, -top - 0.5], [0, 0, 1.0]])
    out_of = np.array([[1, 0, patch.left + 0.5], [0, 1, patch.top + 0.5], [0, 0, 1.0]])
    matrix = into @ homography @ out_of
    warped = cv2.warpPerspective(
        patch.image,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    whole = np.ones(patch.image.shape[:2], np.uint8)
    shown = cv2.warpPerspective(whole, matrix, (width, height), flags=cv2.INTER_NEAREST)
    region = painted[top : top + height, left : left + width]
    covered = (mask[top : top + height, left : left + width] & shown).astype(bool)
    region[covered] = warped[covered]
