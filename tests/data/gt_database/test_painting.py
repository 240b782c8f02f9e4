import numpy as np
import pytest

from aqr_exp.data.geometry import corners_m, project
from aqr_exp.data.gt_database.paste import (
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
