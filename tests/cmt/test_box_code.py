import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet3d.structures import LiDARInstance3DBoxes

from aqr_exp.cmt import box_code

# x, y, bottom z, l, w, h, yaw, vx, vy
CAR = [10.0, -5.0, -1.0, 4.0, 2.0, 1.5, math.pi / 2, 3.0, -1.0]


def test_code_by_hand():
    boxes = box_code.from_lidar_boxes(LiDARInstance3DBoxes(torch.tensor([CAR]), box_dim=9))
    assert boxes[0, 2] == pytest.approx(-0.25)  # gravity centre: bottom + half the height
    wanted = [10, -5, math.log(4), math.log(2), -0.25, math.log(1.5), 1.0, 0.0, 3.0, -1.0]
    torch.testing.assert_close(box_code.encode(boxes)[0], torch.tensor(wanted), atol=1e-6, rtol=0)


def test_boxes_survive_the_round_trip_with_their_bottom_centres():
    boxes = LiDARInstance3DBoxes(torch.tensor([CAR]), box_dim=9)
    back = box_code.to_lidar_boxes(
        box_code.decode(box_code.encode(box_code.from_lidar_boxes(boxes))), LiDARInstance3DBoxes
    )
    torch.testing.assert_close(back.tensor, boxes.tensor, atol=1e-5, rtol=0)
    torch.testing.assert_close(back.corners, boxes.corners, atol=1e-5, rtol=0)


@given(
    st.tuples(*[st.floats(-50, 50, width=32)] * 3),
    st.tuples(*[st.floats(0.125, 20, width=32)] * 3),
    st.floats(-10, 10, width=32),
)
def test_decode_inverts_encode_up_to_full_turns(centre, size, yaw):
    box = torch.tensor([[*centre, *size, yaw, 1.0, -2.0]])
    back = box_code.decode(box_code.encode(box))
    torch.testing.assert_close(back[:, :6], box[:, :6], atol=1e-3, rtol=1e-4)
    assert -math.pi <= back[0, 6] <= math.pi + 1e-6
    assert math.cos(back[0, 6].item() - yaw) == pytest.approx(1.0, abs=1e-5)


def test_length_lies_along_x_at_yaw_zero():
    """The convention of mmdet3d >= 1.0; the old one had the length along y."""
    code = torch.tensor([[0, 0, math.log(4), math.log(2), 0, 0, 0, 1, 0, 0]])
    corners = box_code.to_lidar_boxes(box_code.decode(code), LiDARInstance3DBoxes).corners[0]
    torch.testing.assert_close(corners[:, 0].abs(), torch.full((8,), 2.0))
    torch.testing.assert_close(corners[:, 1].abs(), torch.full((8,), 1.0))
    torch.testing.assert_close(corners[:, 2].abs(), torch.full((8,), 0.5))


def test_yaw_turns_from_x_to_y():
    code = torch.tensor([[0, 0, math.log(4), math.log(2), 0, 0, 1, 0, 0, 0]])
    corners = box_code.to_lidar_boxes(box_code.decode(code), LiDARInstance3DBoxes).corners[0]
    torch.testing.assert_close(corners[:, 1].abs(), torch.full((8,), 2.0))


def test_unknown_velocity_stays_unknown():
    box = torch.tensor([CAR])
    box[0, 7] = math.nan
    code = box_code.encode(box)
    assert code.isnan().nonzero().tolist() == [[0, 8]]


def test_branches_join_in_the_published_order():
    branches = {
        "center": torch.tensor([[0.0, 1.0]]), "height": torch.tensor([[2.0]]),
        "dim": torch.tensor([[3.0, 4.0, 5.0]]), "rot": torch.tensor([[6.0, 7.0]]),
        "vel": torch.tensor([[8.0, 9.0]]),
    }  # fmt: skip
    assert box_code.join_branches(branches).tolist() == [list(range(10))]
    denoising = {f"dn_{name}": value + 1 for name, value in branches.items()}
    assert box_code.join_branches(denoising, "dn_").tolist() == [list(range(1, 11))]


def test_boxes_without_velocity_are_refused():
    boxes = LiDARInstance3DBoxes(torch.zeros(1, 7))
    with pytest.raises(ValueError, match="boxes need 9 numbers, velocity included; got 7"):
        box_code.from_lidar_boxes(boxes)
