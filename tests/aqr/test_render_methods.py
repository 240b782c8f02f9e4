import math

import pytest
import torch
from small_map import LAYOUT, places_of

from aqr_exp.aqr.renderer import WeightRenderer


def one_map(method, place, weight=1.0, sigma_cells=0.8):
    """The cells that one query fills in the BEV map, untouched by threshold and maximum."""
    renderer = WeightRenderer(method=method, sigma_cells=sigma_cells, threshold=0.0, maximum=100.0)
    bev, _ = renderer(torch.tensor([[[weight, 0.0]]]), places_of((place, {})), LAYOUT)
    return {
        (row, column): bev[0, 0, row, column].item() for row, column in bev[0, 0].nonzero().tolist()
    }


def test_direct_by_hand():
    assert one_map("direct", (2.9, 3.0), 0.5) == {(2, 3): 0.5}
    assert one_map("direct", (5.9, 7.9), 0.5) == {(5, 7): 0.5}


def test_gaussian_by_hand():
    got = one_map("gaussian", (2.9, 3.2), 0.5, sigma_cells=1.0)
    # From the query's cell, not from its place in it: rows 0 .. 5 and columns 0 .. 6 are in reach.
    assert set(got) == {(row, column) for row in range(6) for column in range(7)}
    assert got[2, 3] == 0.5
    assert got[1, 3] == got[2, 4] == pytest.approx(0.5 * math.exp(-0.5))
    assert got[3, 2] == pytest.approx(0.5 * math.exp(-1.0))
    assert got[5, 3] == got[2, 0] == pytest.approx(0.5 * math.exp(-4.5))


def test_a_gaussian_at_the_border_is_cut_off_and_keeps_its_peak():
    got = one_map("gaussian", (0.0, 7.9), sigma_cells=0.3)
    assert set(got) == {(0, 7), (1, 7), (0, 6), (1, 6)}
    assert got[0, 7] == 1.0
    assert got[1, 7] == pytest.approx(math.exp(-1 / 0.18))


def test_bilinear_by_hand():
    # .75 above the centre of row 2 is a quarter below that of row 3; between columns 4 and 5.
    assert one_map("bilinear", (3.25, 5.0), 0.8) == pytest.approx(
        {(2, 4): 0.1, (2, 5): 0.1, (3, 4): 0.3, (3, 5): 0.3}
    )
    assert one_map("bilinear", (3.5, 5.5)) == {(3, 5): 1.0}


def test_bilinear_keeps_all_on_the_map_at_a_border():
    assert one_map("bilinear", (0.25, 0.1)) == {(0, 0): 1.0}
    assert one_map("bilinear", (5.9, 7.99)) == {(5, 7): 1.0}
    assert one_map("bilinear", (5.9, 2.0)) == {(5, 1): 0.5, (5, 2): 0.5}


def test_distance_by_hand():
    got = one_map("distance", (2.0, 3.5))
    # On the border of rows 1 and 2, in the middle of column 3; its own row is 2.
    near, side, far = 1 / 0.5, 1 / math.hypot(0.5, 1.0), 1 / 1.5
    corner = 1 / math.hypot(1.5, 1.0)
    total = 2 * near + 4 * side + far + 2 * corner
    assert got == pytest.approx(
        {
            (1, 2): side / total, (1, 3): near / total, (1, 4): side / total,
            (2, 2): side / total, (2, 3): near / total, (2, 4): side / total,
            (3, 2): corner / total, (3, 3): far / total, (3, 4): corner / total,
        },
        rel=1e-5,
    )  # fmt: skip


def test_distance_right_at_a_centre_and_in_a_corner():
    centre = one_map("distance", (2.5, 3.5))
    assert centre[2, 3] == pytest.approx(1.0, abs=1e-5)
    assert len(centre) == 9
    corner = one_map("distance", (0.0, 0.0))
    near, side, far = 1 / math.sqrt(0.5), 1 / math.sqrt(2.5), 1 / math.sqrt(4.5)
    total = near + 2 * side + far
    assert corner == pytest.approx(
        {(0, 0): near / total, (0, 1): side / total, (1, 0): side / total, (1, 1): far / total},
        rel=1e-5,
    )
