"""Ground-truth sampling: choose objects that collide with nothing, and paint their patches."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from aqr_exp.data.geometry import NEAREST_M, corners_m, depths_m, overlaps_any, project
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


FARTHEST_PX = 1.0
"""Of the stored image; where `patch_homography` shows a corner of the box further away, it does not fit."""

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
    """Largest error of a corner that `patch_homography` moves, in pixels, over those the patch shows.

    Cars carry their cameras at slightly different places, and drive on between the moments of LiDAR and
    camera: near and deep boxes look different then. Infinite where a corner is behind the camera.
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


def box_map(
    patch: Patch, box: np.ndarray, lidar2img: np.ndarray, bounds: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """For the pixels of a part of an image, the places in a patch that show the same of a box.

    Each pixel is followed to where its ray enters the box, and from there to the camera of the patch:
    the faces of the box are put exactly onto each other, wherever the cameras are.

    Args:
        box: [7 or more], with the image's camera outside of it.
        lidar2img: [4, 4] of the image.
        bounds: Left and top edge, width and height of the part, in pixels.

    Returns:
        Places [height, width, 2] float32 (column, row; pixel centres on integers as cv2 has them) and a
        mask [height, width] of the pixels whose ray enters the box at a point that the patch shows.
    """
    left, top, width, height = bounds
    rows, columns = np.mgrid[top : top + height, left : left + width] + 0.5
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    inverse = np.linalg.inv(lidar2img[:3, :3])
    eye, rays = -inverse @ lidar2img[:3, 3], pixels @ inverse.T
    cosine, sine = np.cos(box[6]), np.sin(box[6])
    own = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    start, steps, half = own @ (eye - box[:3]), rays @ own.T, box[3:6] / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = np.stack([(-half - start) / steps, (half - start) / steps])
    entry, leave = crossings.min(axis=0).max(axis=-1), crossings.max(axis=0).min(axis=-1)
    met = (entry <= leave) & (entry > NEAREST_M)
    points = eye + np.where(met, entry, 1.0)[..., None] * rays
    places = project(points, patch.lidar2img) - (patch.left + 0.5, patch.top + 0.5)
    size = np.array(patch.image.shape[1::-1])
    shown = met & ((places >= -0.5) & (places <= size - 0.5)).all(axis=-1)
    return places.astype(np.float32), shown


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
    image: np.ndarray,
    boxes: np.ndarray,
    patches: Sequence[Patch | None],
    lidar2img: np.ndarray,
    mixup: float = 1.0,
) -> np.ndarray:
    """Paste the patches of boxes [n, 7 or more] into an image [height, width, 3] uint8, far ones first.

    A patch of None is an object that the image already shows: it is painted again, from the image
    itself, over patches behind it. The image stays unchanged; boxes behind the camera are left out.
    `mixup` is the share of a patch in the pixels that it covers.
    """
    depths = depths_m(boxes[:, :3], lidar2img)
    painted: np.ndarray | None = None
    for place in np.argsort(-depths, kind="stable"):
        box, patch = boxes[place], patches[place]
        if (depths_m(corners_m(box[None, :7])[0], lidar2img) <= NEAREST_M).all():
            continue
        mask = outline_mask(box, lidar2img, image.shape)
        if patch is not None:
            painted = image.copy() if painted is None else painted
            _paste(painted, patch, box, mask, lidar2img, mixup)
        elif mask is not None and painted is not None:
            covered = mask.astype(bool)
            painted[covered] = image[covered]
    return image if painted is None else painted


def _paste(
    painted: np.ndarray,
    patch: Patch,
    box: np.ndarray,
    mask: np.ndarray | None,
    lidar2img: np.ndarray,
    mixup: float,
) -> None:
    """Bring a patch into place, within the outline of the box and where the patch has pixels."""
    height, width = painted.shape[:2]
    bounds = (0, 0, width, height) if mask is None else cv2.boundingRect(mask)
    left, top, width, height = bounds
    if not width or not height:
        return
    if landing_error_px(patch, box, lidar2img) > FARTHEST_PX:
        places, covered = box_map(patch, box, lidar2img, bounds)
        border = cv2.BORDER_REPLICATE
        moved = cv2.remap(patch.image, places, None, cv2.INTER_LINEAR, borderMode=border)
    else:
        moved, covered = _turned(patch, patch_homography(patch, box, lidar2img), bounds)
    if mask is not None:
        covered &= mask[top : top + height, left : left + width].astype(bool)
    region = painted[top : top + height, left : left + width]
    if mixup == 1:
        region[covered] = moved[covered]
    else:
        region[covered] = region[covered] * (1 - mixup) + moved[covered] * mixup


def _turned(
    patch: Patch, homography: np.ndarray, bounds: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """A patch as a homography moves it into a part of an image, and where it has pixels there."""
    left, top, width, height = bounds
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
    return warped, shown.astype(bool)
