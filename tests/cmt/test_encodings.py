import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.cmt import encodings

RANGE = (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)


def test_sine_embedding_by_hand():
    # F = 4: divisors 1, 1, 1.5, 1.5; y first, then x; sine at even, cosine at odd places.
    x, y = 0.25, 0.5
    got = encodings.sine_embedding(torch.tensor([[x, y]]), 4)
    wanted = [
        math.sin(math.pi), math.cos(math.pi),
        math.sin(math.pi / 1.5), math.cos(math.pi / 1.5),
        1.0, 0.0,
        math.sin(math.pi / 3), math.cos(math.pi / 3),
    ]  # fmt: skip
    assert got.shape == (1, 8)
    torch.testing.assert_close(got[0], torch.tensor(wanted), atol=1e-6, rtol=0)


def test_sine_embedding_divisor_is_linear_in_the_index():
    features = 128
    got = encodings.sine_embedding(torch.tensor([[0.3, 0.9]]), features)[0]
    for i in range(features):
        wave = math.sin if i % 2 == 0 else math.cos
        divisor = 2 * (i // 2) / features + 1
        assert got[i] == pytest.approx(wave(2 * math.pi * 0.9 / divisor), abs=1e-5)
        assert got[features + i] == pytest.approx(wave(2 * math.pi * 0.3 / divisor), abs=1e-5)


def test_sine_embedding_ignores_height():
    with_height = encodings.sine_embedding(torch.tensor([[0.3, 0.9, 0.1]]), 8)
    assert torch.equal(with_height, encodings.sine_embedding(torch.tensor([[0.3, 0.9]]), 8))


def test_bev_cell_centres_are_row_major():
    got = encodings.bev_cell_centres(2, 4)
    wanted = [[(column + 0.5) / 4, (row + 0.5) / 2] for row in range(2) for column in range(4)]
    torch.testing.assert_close(got, torch.tensor(wanted))


def test_ray_depths_start_at_one_metre_and_stop_short_of_the_far_end():
    torch.testing.assert_close(
        encodings.ray_depths(4, 54.0), torch.tensor([1.0, 14.25, 27.5, 40.75])
    )


@given(st.floats(0.0, 1.0, width=32))
def test_inverse_sigmoid_inverts_inside_its_margins(p):
    got = encodings.inverse_sigmoid(torch.tensor([p])).sigmoid().item()
    assert got == pytest.approx(min(max(p, 1e-5), 1 - 1e-5), abs=2e-6)


def test_inverse_sigmoid_known_values():
    got = encodings.inverse_sigmoid(torch.tensor([0.0, 0.5, 0.75, 1.0, 2.0]))
    far = math.log(1 / 1e-5)
    torch.testing.assert_close(
        got, torch.tensor([-far, 0.0, math.log(3), far, far]), atol=1e-4, rtol=0
    )


def test_normalise_points_corners_and_inverse():
    corners = torch.tensor([[-54.0, -54.0, -5.0], [54.0, 54.0, 3.0], [0.0, 27.0, -1.0]])
    normal = encodings.normalise_points(corners, RANGE)
    torch.testing.assert_close(normal, torch.tensor([[0.0, 0, 0], [1, 1, 1], [0.5, 0.75, 0.5]]))
    torch.testing.assert_close(encodings.denormalise_points(normal, RANGE), corners)


@pytest.mark.parametrize("shape", [(96, 256), (96, 256, 3), [(96, 256, 3)] * 6])
def test_padded_image_size_accepts_one_shape_or_one_a_view(shape):
    assert encodings.padded_image_size([{"pad_shape": shape}]) == (96.0, 256.0)


def test_camera_token_rays_against_a_plain_loop(camera_rig):
    _, img2lidar = encodings.projection_matrices([{"lidar2img": camera_rig()}] * 2)
    depths = encodings.ray_depths(3, 54.0)
    rays = encodings.camera_token_rays(img2lidar, 2, 4, (96.0, 256.0), depths, RANGE)
    assert rays.shape == (2, 6, 8, 9)
    points = encodings.denormalise_points(rays.view(2, 6, 8, 3, 3), RANGE).numpy()
    for view, matrix in enumerate(camera_rig()):
        for row in range(2):
            for column in range(4):
                for step, depth in enumerate([1.0, 1 + 53 / 3, 1 + 2 * 53 / 3]):
                    u, v, d = (matrix @ [*points[1, view, row * 4 + column, step], 1.0])[:3]
                    # No half-pixel shift: the token looks through the corner of its cell.
                    assert u / d == pytest.approx(column * 64, abs=1e-2)
                    assert v / d == pytest.approx(row * 48, abs=1e-2)
                    assert d == pytest.approx(depth, rel=1e-4)


def test_query_rays_pass_through_the_reference_and_know_who_sees_it(camera_rig):
    lidar2img, img2lidar = encodings.projection_matrices([{"lidar2img": camera_rig()}])
    metres = torch.tensor([[[20.0, 0.0, 0.0], [-20.0, 1.0, 0.0], [0.1, 0.0, 2.9]]])
    reference = encodings.normalise_points(metres, RANGE)
    depths = encodings.ray_depths(5, 54.0)
    rays, seen = encodings.query_rays(reference, lidar2img, img2lidar, (96.0, 256.0), depths, RANGE)
    assert rays.shape == (1, 6, 3, 15)
    # The first looks along +x; the fourth along -x; the last point is above every camera.
    assert seen[0].nonzero().tolist() == [[0, 0], [3, 1]]
    points = encodings.denormalise_points(rays.view(1, 6, 3, 5, 3), RANGE)[0, 0, 0]
    centre = torch.tensor([0.5, 0.0, -0.3])
    direction = torch.nn.functional.normalize(points - centre, dim=1)
    wanted = torch.nn.functional.normalize(metres[0, 0] - centre, dim=0)
    torch.testing.assert_close(direction, wanted.expand(5, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(points[:, 0] - 0.5, depths, atol=1e-2, rtol=0)


def test_a_query_at_a_token_has_the_token_s_ray(camera_rig):
    lidar2img, img2lidar = encodings.projection_matrices([{"lidar2img": camera_rig()}])
    depths = encodings.ray_depths(16, 54.0)
    tokens = encodings.camera_token_rays(img2lidar, 6, 16, (96.0, 256.0), depths, RANGE)
    place = tokens.view(1, 6, 96, 16, 3)[:, 2, 40, 7]
    rays, seen = encodings.query_rays(
        place[:, None], lidar2img, img2lidar, (96.0, 256.0), depths, RANGE
    )
    assert seen[0, 2, 0]
    torch.testing.assert_close(rays[0, 2, 0], tokens[0, 2, 40], atol=1e-4, rtol=0)


def test_a_point_in_the_camera_plane_stays_finite_and_unseen(camera_rig):
    lidar2img, img2lidar = encodings.projection_matrices([{"lidar2img": camera_rig()[:1]}])
    reference = encodings.normalise_points(torch.tensor([[[0.5, 3.0, 0.0]]]), RANGE)
    rays, seen = encodings.query_rays(
        reference, lidar2img, img2lidar, (96.0, 256.0), encodings.ray_depths(4, 54.0), RANGE
    )
    assert not seen.any()
    assert torch.isfinite(rays).all()


def test_matrices_are_inverted_in_double_precision(camera_rig):
    lidar2img, img2lidar = encodings.projection_matrices([{"lidar2img": camera_rig()}])
    wanted = np.linalg.inv(camera_rig())[None]
    assert lidar2img.dtype == img2lidar.dtype == torch.float32
    np.testing.assert_allclose(img2lidar.numpy(), wanted, atol=1e-6)
