import cv2
import numpy as np
import pytest

from aqr_exp.data.geometry import corners_m, project
from aqr_exp.data.gt_database.paste import (
    FARTHEST_PX,
    box_map,
    landing_error_px,
    outline_mask,
    paint,
    patch_homography,
)
from aqr_exp.data.gt_database.store import Patch

HEIGHT, WIDTH = 180, 320


def camera(yaw_deg: float = 0.0, at=(0.0, 0.0, 0.0), focal: float = 250.0) -> np.ndarray:
    """A camera that looks along y (turned by yaw), x right, -z down."""
    turn = np.deg2rad(yaw_deg)
    right = np.array([np.cos(turn), np.sin(turn), 0])
    ahead = np.array([-np.sin(turn), np.cos(turn), 0])
    lidar2cam = np.eye(4)
    lidar2cam[:3, :3] = np.stack([right, [0, 0, -1], ahead])
    lidar2cam[:3, 3] = -lidar2cam[:3, :3] @ np.asarray(at)
    intrinsic = np.eye(4)
    intrinsic[:3, :3] = [[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]]
    return intrinsic @ lidar2cam


def ramp() -> np.ndarray:
    """An image whose blue says the column and whose green says the row of each pixel's centre."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([columns * 0.75, rows * 1.0, np.zeros_like(rows)], axis=-1).astype(np.uint8)


def patch_of(box: np.ndarray, matrix: np.ndarray, image: np.ndarray) -> Patch:
    pixels = project(corners_m(box[None])[0], matrix)
    low = np.maximum(np.floor(pixels.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(pixels.max(axis=0)), (WIDTH, HEIGHT)).astype(int)
    cut = image[low[1] : high[1], low[0] : high[0]]
    return Patch(view=0, left=int(low[0]), top=int(low[1]), image=cut, lidar2img=matrix)


BOX = np.array([0.5, 12.0, -0.3, 3.0, 2.0, 2.0, 0.4])


@pytest.mark.parametrize("yaw_deg", [0.0, 2.0, -3.0])
def test_a_turned_camera_with_another_lens_sees_every_corner_where_the_patch_lands(yaw_deg):
    source, target = camera(), camera(yaw_deg, focal=240.0)
    patch = patch_of(BOX, source, ramp())
    assert landing_error_px(patch, BOX, target) < 1e-6
    corner = project(corners_m(BOX[None])[0], source)[3]
    moved = patch_homography(patch, BOX, target) @ [*corner, 1.0]
    expected = project(corners_m(BOX[None])[0], target)[3]
    np.testing.assert_allclose(moved[:2] / moved[2], expected, atol=1e-9)


def test_a_moved_camera_is_exact_at_the_centres_depth_and_the_error_is_told_elsewhere():
    source, target = camera(at=(-0.2, 0.0, 0.05)), camera(at=(0.1, 0.0, 0.05))
    patch = patch_of(BOX, source, ramp())
    homography = patch_homography(patch, BOX, target)
    centre = homography @ [*project(BOX[:3], source), 1.0]
    np.testing.assert_allclose(centre[:2] / centre[2], project(BOX[:3], target), atol=1e-9)
    # Parallax by hand: shift * focal * |1 / depth of the corner - 1 / depth of the centre|.
    depths = corners_m(BOX[None])[0][:, 1]
    expected = np.abs(0.3 * 250.0 * (1 / depths - 1 / 12.0)).max()
    assert landing_error_px(patch, BOX, target) == pytest.approx(expected, rel=1e-6)
    assert landing_error_px(patch, BOX, camera(180.0)) == float("inf")


@pytest.mark.parametrize("yaw_deg", [0.0, 2.5])
def test_every_pasted_pixel_comes_from_the_place_the_homography_says(yaw_deg):
    source, target = camera(), camera(yaw_deg, focal=260.0)
    patch = patch_of(BOX, source, ramp())
    empty = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    painted = paint(empty, BOX[None], [patch], target)
    rows, columns = np.nonzero(painted[..., 2] == 0)
    assert len(rows) > 500
    back = np.linalg.inv(patch_homography(patch, BOX, target))
    place = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], axis=-1) @ back.T
    place = place[:, :2] / place[:, 2:] - 0.5
    # At the patch's border half a pixel may be repeated; grey values are whole numbers.
    away_columns = painted[rows, columns, 0] / 0.75 - place[:, 0]
    away_rows = painted[rows, columns, 1] - place[:, 1]
    assert np.abs(away_columns).max() <= 2.0
    assert np.abs(away_rows).max() <= 1.1
    assert np.abs(away_columns + 0.5).mean() < 1.0
    assert np.abs(away_rows + 0.25).mean() < 0.5
    # Nothing outside the box's outline changes, and the outline is covered to its corners.
    mask = outline_mask(BOX, target, empty.shape).astype(bool)
    assert (painted[~mask] == 255).all()
    assert (painted[..., 2] == 0)[mask].mean() > 0.97
    assert (empty == 255).all()


def solid(colour: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), colour, np.uint8)


def test_depth_decides_who_hides_whom():
    matrix = camera()
    near = np.array([0.0, 8.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    middle = np.array([0.0, 12.0, 0.0, 3.0, 1.0, 3.0, 0.0])
    far = np.array([0.0, 20.0, 0.0, 9.0, 1.0, 8.0, 0.0])
    image = solid(10)
    boxes = np.stack([near, middle, far])
    patches = [patch_of(near, matrix, solid(200)), None, patch_of(far, matrix, solid(100))]
    painted = paint(image, boxes, patches, matrix)[..., 0]
    # From the middle outwards: the near patch, the image's own object before the far patch, the far one.
    row = painted[HEIGHT // 2, WIDTH // 2 :]
    assert row[0] == 200
    assert row[25] == 10  # the image's own: 1.5 m at 11.5 m end at 32.6 px, the near's at 16.7 px
    assert row[45] == 100
    assert row[75] == 10  # beyond the far one: 4.5 m at 19.5 m end at 57.7 px
    # Behind the camera nothing is painted.
    behind = np.array([[0.0, -5.0, 0, 1, 1, 1, 0]])
    assert paint(image, behind, patches[:1], matrix) is image


def test_without_patches_the_very_image_comes_back():
    image = solid(7)
    assert paint(image, BOX[None], [None], camera()) is image


# Pasted by another camera's eye ------------------------------------------------------------------


def face_corners(box: np.ndarray) -> np.ndarray:
    """[6, 4, 3] the corners of each face of a box, in its round."""
    corners = corners_m(box[None])[0]
    rounds = [
        (0, 1, 2, 3),
        (4, 5, 6, 7),
        *((i, (i + 1) % 4, (i + 1) % 4 + 4, i + 4) for i in range(4)),
    ]
    return corners[np.array(rounds)]


def render(box: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A box with a smooth texture on every face as a camera sees it, face by face."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    eye = -np.linalg.inv(matrix[:3, :3]) @ matrix[:3, 3]
    faces = face_corners(box)
    along = np.linspace(0, 1, 64)
    for number, face in enumerate(faces):
        outward = face.mean(axis=0) - box[:3]
        if (eye - face.mean(axis=0)) @ outward <= 0:
            continue  # its back is seen
        texture = np.empty((64, 64, 3), np.uint8)
        texture[..., 0] = 60 + 180 * along[None, :]
        texture[..., 1] = 60 + 180 * along[:, None]
        texture[..., 2] = 40 + 35 * number
        square = np.array([[0, 0], [63, 0], [63, 63], [0, 63]], np.float32)
        seen = project(face, matrix).astype(np.float32) - 0.5
        turn = cv2.getPerspectiveTransform(square, seen)
        size = (WIDTH, HEIGHT)
        warped = cv2.warpPerspective(texture, turn, size, borderMode=cv2.BORDER_REPLICATE)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.fillConvexPoly(mask, np.round(seen * 16).astype(np.int32), 1, shift=4)
        image[mask == 1] = warped[mask == 1]
    return image


NEAR = np.array([0.6, 5.0, -0.2, 3.4, 1.6, 1.4, 1.2])


@pytest.mark.parametrize("shift", [(0.0, 0.4, 0.0), (0.0, -0.4, 0.0), (0.3, 0.2, 0.1)])
def test_a_near_box_is_painted_as_a_moved_camera_sees_it(shift):
    source, target = camera(), camera(1.0, at=shift, focal=240.0)
    patch = patch_of(NEAR, source, render(NEAR, source))
    assert landing_error_px(patch, NEAR, target) > 2 * FARTHEST_PX
    wanted = render(NEAR, target).astype(int)
    painted = paint(np.zeros((HEIGHT, WIDTH, 3), np.uint8), NEAR[None], [patch], target).astype(int)
    outline = cv2.erode(outline_mask(NEAR, target, (HEIGHT, WIDTH)), np.ones((5, 5))).astype(bool)
    away = np.abs(painted - wanted)[outline]
    assert np.median(away) <= 2
    assert (away.max(axis=-1) > 25).mean() < 0.04  # edges of faces, and slivers that only one sees
    assert (painted[outline].sum(axis=-1) > 0).mean() > 0.98
    # The homography at the depth of the centre shows the faces elsewhere.
    turn = patch_homography(patch, NEAR, target)
    offset = np.array([[1, 0, patch.left], [0, 1, patch.top], [0, 0, 1.0]])
    flat = cv2.warpPerspective(patch.image, turn @ offset, (WIDTH, HEIGHT)).astype(int)
    assert np.abs(flat - wanted)[outline].mean() > 4 * away.mean()


def test_every_corner_comes_from_its_own_place_on_a_rig_whose_cameras_move():
    """Two moments of one car, whose cameras are moved by the way it drives after the LiDAR's turn."""
    rng = np.random.default_rng(0)
    refused = near = pictures = 0
    for _ in range(60):
        distance = rng.uniform(4, 20)
        yaw = rng.uniform(0, 360)
        ahead = np.array([-np.sin(np.deg2rad(yaw)), np.cos(np.deg2rad(yaw)), 0.0])
        box = np.array([*(distance * ahead), 4.2, 1.8, 1.6, rng.uniform(-np.pi, np.pi)])
        places = [rng.uniform(-0.2, 0.2) * np.array([0.0, 1.0, 0.0]) for _ in range(2)]
        source, target = (camera(yaw + rng.normal(), at=place) for place in places)
        patch = patch_of(box, source, ramp())
        off = landing_error_px(patch, box, target) > FARTHEST_PX
        pictures += 1
        refused += off
        near += off and distance < 10
        corners = corners_m(box[None])[0]
        at = project(corners, target)
        low, high = np.floor(at.min(axis=0)).astype(int), np.ceil(at.max(axis=0)).astype(int)
        places_px, met = box_map(patch, box, target, (*low, *(high - low)))
        assert met.any()
        # Where a visible corner is met, it is that corner's place in the patch.
        for corner, pixel in zip(corners, at, strict=True):
            column, row = np.clip(np.floor(pixel - low).astype(int), 0, high - low - 1)
            if not met[row, column] or not _is_front(box, corner, target):
                continue
            wanted = project(corner, source) - (patch.left + 0.5, patch.top + 0.5)
            step = np.abs(pixel - low - (column + 0.5, row + 0.5)).max()
            assert step <= 1.0
            # Less than a pixel beside the corner, on faces that are seen a little stretched.
            assert np.abs(places_px[row, column] - wanted).max() < 2.5
    # What was refused for it before, of all pictures and of the nearer ones.
    assert refused / pictures > 0.1
    assert near / refused > 0.8


def _is_front(box: np.ndarray, corner: np.ndarray, matrix: np.ndarray) -> bool:
    """True for a corner of three faces that all look at the camera."""
    eye = -np.linalg.inv(matrix[:3, :3]) @ matrix[:3, 3]
    faces = [face for face in face_corners(box) if (np.abs(face - corner).max(axis=1) < 1e-9).any()]
    return all((eye - face.mean(axis=0)) @ (face.mean(axis=0) - box[:3]) > 0 for face in faces)


def test_a_box_that_reaches_behind_the_camera_is_painted_as_far_as_it_is_seen():
    source, target = camera(at=(0.0, -0.8, 0.0)), camera()
    box = np.array([1.4, 2.0, 0.0, 1.0, 4.2, 1.5, 0.0])  # from -.1 to 4.1 m ahead, at the right
    patch = patch_of(box, source, solid(90))
    assert landing_error_px(patch, box, target) == float("inf")
    painted = paint(solid(7), box[None], [patch], target)[..., 0]
    # The face at x = .9 is met at y = .9 * 250 / (u - 160), at the border after 1.4 m.
    row = painted[HEIGHT // 2]
    assert (row[: 160 + 52] == 7).all()  # 4.1 m ahead is at 54.9 px from the middle
    assert (row[160 + 58 :] == 90).all()
    inside = np.array([0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 0.0])
    assert (paint(solid(7), inside[None], [patch], target) == 7).all()


@pytest.mark.parametrize(("mixup", "grey"), [(1.0, 200), (0.5, 101), (0.0, 3), (0.25, 52)])
def test_mixup_is_the_share_of_the_patch_in_what_it_covers(mixup, grey):
    """3 and 200: whole parts, cut off as the published code does."""
    matrix = camera()
    box = np.array([0.0, 10.0, 0.0, 3.0, 1.0, 2.0, 0.0])
    own = np.array([0.0, 7.0, 0.0, 0.5, 0.5, 0.5, 0.0])
    patches = [patch_of(box, matrix, solid(200)), None]
    painted = paint(solid(3), np.stack([box, own]), patches, matrix, mixup)[..., 0]
    assert set(np.unique(painted)) == {3, grey}
    outline = outline_mask(box, matrix, (HEIGHT, WIDTH)).astype(bool)
    mine = outline_mask(own, matrix, (HEIGHT, WIDTH)).astype(bool)
    assert (painted[outline & ~mine] == grey).mean() > 0.97
    assert (painted[mine] == 3).all()  # what stands before it stays whole
