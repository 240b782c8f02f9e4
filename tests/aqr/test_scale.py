import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.aqr.scale import BiasScale

ANNEAL = ((0, 1.0, 2.5), (5, 0.5, 4.0), (15, 0.1, 5.0))


def scale_of(constraint="clamp", **changes):
    options = {
        "start": 2.5, "learnable": True, "minimum": 0.5, "maximum": 5.0, "sharing": "one", "layers": 6,
    }  # fmt: skip
    return BiasScale(constraint=constraint, **{**options, **changes})


def gradient(scale, layer=0):
    (got,) = torch.autograd.grad(scale(layer)[0], scale.raw)
    return got


@pytest.mark.parametrize(
    ("raw", "value", "slope"),
    [(2.0, 2.0, 1.0), (0.5, 0.5, 1.0), (5.0, 5.0, 1.0), (0.4, 0.5, 0.0), (5.1, 5.0, 0.0)],
)
def test_clamp_inside_at_and_outside_its_bounds(raw, value, slope):
    scale = scale_of()
    scale.raw.data.fill_(raw)
    assert scale(3).tolist() == [value, value]
    assert gradient(scale).tolist() == [slope]


@pytest.mark.parametrize("raw", [-8.0, -1.0, 0.0, 2.0, 8.0])
def test_sigmoid_always_has_a_gradient(raw):
    scale = scale_of("sigmoid")
    scale.raw.data.fill_(raw)
    share = 1.0 / (1.0 + math.exp(-raw))
    assert scale(0)[0].item() == pytest.approx(0.5 + 4.5 * share, rel=1e-6)
    assert gradient(scale).item() == pytest.approx(4.5 * share * (1.0 - share), rel=1e-3)
    assert gradient(scale).item() > 0.0


def test_l2_by_hand():
    scale = scale_of("l2", sharing="modality")
    assert scale.penalty().item() == 0.0
    scale.raw.data.copy_(torch.tensor([4.5, 7.0]))  # the bounds do not act
    assert scale(0).tolist() == [4.5, 7.0]
    assert gradient(scale).tolist() == [1.0, 0.0]
    # .01 (2^2 + 4.5^2), and its derivative .02 (s - s0).
    penalty = scale.penalty()
    assert penalty.item() == pytest.approx(0.2425)
    (slope,) = torch.autograd.grad(penalty, scale.raw)
    torch.testing.assert_close(slope, torch.tensor([0.04, 0.09]))
    assert scale_of("l2", l2_weight=3.0, start=2.0).penalty().item() == 0.0


@pytest.mark.parametrize("constraint", ["clamp", "sigmoid"])
def test_only_l2_has_a_penalty(constraint):
    scale = scale_of(constraint)
    scale.raw.data.fill_(1.0)
    assert scale.penalty().item() == 0.0
    assert scale_of("l2", learnable=False).penalty().item() == 0.0


@given(
    st.floats(0.0, 20.0), st.floats(0.1, 10.0), st.floats(0.0, 1.0),
    st.sampled_from(["clamp", "l2", "sigmoid"]), st.sampled_from(["one", "modality", "layer"]),
)  # fmt: skip
def test_it_starts_at_start(minimum, width, share, constraint, sharing):
    maximum = minimum + width
    start = min(max(minimum + share * width, minimum), maximum)
    scale = scale_of(
        constraint, start=start, minimum=minimum, maximum=maximum, sharing=sharing, layers=2
    )
    on_bound = constraint == "sigmoid" and start in (minimum, maximum)
    moved = 0.01 * width if on_bound else 0.0
    wanted = start + (moved if start == minimum else -moved)
    for value in scale(1).tolist():
        assert value == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_sigmoid_starts_at_start_next_to_a_bound_and_a_hundredth_from_it_on_it():
    for start, wanted in [(0.501, 0.501), (4.999, 4.999), (0.5, 0.545), (5.0, 4.955)]:
        scale = scale_of("sigmoid", start=start)
        assert scale(0)[0].item() == pytest.approx(wanted, rel=1e-6)
        assert gradient(scale).item() > 5e-4


def test_fixed_scale_is_a_buffer_and_knows_no_bounds():
    scale = scale_of("sigmoid", learnable=False, start=10.0, sharing="modality")
    assert list(scale.parameters()) == []
    assert scale(0).tolist() == [10.0, 10.0]
    scale.set_epoch(9)
    assert scale.values().tolist() == [10.0, 10.0]
    assert set(scale.state_dict()) == {"raw", "limits"}
    assert scale_of("clamp", learnable=False, start=0.0)(0).tolist() == [0.0, 0.0]


def test_sharing():
    one, pair, each = (scale_of(sharing=name) for name in ("one", "modality", "layer"))
    assert (one.labels, pair.labels) == (("scale",), ("scale_lidar", "scale_camera"))
    assert each.labels == tuple(f"scale_layer{layer}" for layer in range(6))
    one.raw.data.fill_(1.5)
    assert one(0).tolist() == one(5).tolist() == [1.5, 1.5]
    pair.raw.data.copy_(torch.tensor([1.0, 2.0]))
    assert pair(0).tolist() == pair(5).tolist() == [1.0, 2.0]
    each.raw.data.copy_(torch.arange(6) * 0.5 + 1.0)
    assert each(3).tolist() == [2.5, 2.5]
    assert each.values().tolist() == [1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
    assert gradient(each, layer=4).tolist() == [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    for layer in (6, -1):
        with pytest.raises(ValueError, match=f"layer {layer}: there are scales for 6 layers"):
            each(layer)


def test_what_was_read_does_not_follow_the_parameter():
    for constraint in ("clamp", "l2", "sigmoid"):
        scale = scale_of(constraint)
        before, values = scale(0), scale.values()
        assert not values.requires_grad
        scale.raw.data.fill_(1.0)
        assert before[0].item() == values.item() == pytest.approx(2.5)


def test_bounds_by_epoch():
    scale = scale_of("clamp", anneal=ANNEAL)
    seen = {}
    for epoch in (0, 4, 5, 14, 15, 30):
        scale.set_epoch(epoch)
        seen[epoch] = scale.bounds
    early, middle, late = (1.0, 2.5), (0.5, 4.0), (0.1, 5.0)
    assert seen == {0: early, 4: early, 5: middle, 14: middle, 15: late, 30: late}
    later = scale_of("clamp", anneal=ANNEAL[1:])
    assert later.bounds == (0.5, 5.0)
    later.set_epoch(5)
    assert later.bounds == middle


@pytest.mark.parametrize("constraint", ["clamp", "sigmoid"])
def test_wider_bounds_leave_the_scale_where_it_is(constraint):
    scale = scale_of(constraint, anneal=ANNEAL, start=2.0, sharing="modality")
    scale.raw.data += torch.tensor([-0.3, 0.2])
    before = scale.values()
    for epoch in (5, 15):
        scale.set_epoch(epoch)
        torch.testing.assert_close(scale.values(), before, atol=1e-6, rtol=0)
        assert gradient(scale)[0] > 0.1


def test_a_scale_carried_past_a_bound_goes_on_from_the_bound():
    scale = scale_of("clamp", anneal=ANNEAL)
    scale.raw.data.fill_(2.9)
    assert scale.values().item() == 2.5
    scale.set_epoch(4)  # the same bounds: nothing moves, not even what is outside
    assert scale.raw.item() == pytest.approx(2.9)
    scale.set_epoch(5)
    assert scale.values().item() == 2.5
    assert gradient(scale).item() == 1.0


def test_narrower_bounds_move_the_scale_as_far_as_they_must():
    narrowing = ((0, 0.0, 10.0), (1, 2.0, 4.0))
    for constraint, wanted in (("clamp", 4.0), ("sigmoid", 3.98)):
        scale = scale_of(constraint, anneal=narrowing, start=9.0)
        scale.set_epoch(1)
        assert scale.values().item() == pytest.approx(wanted, rel=1e-6)
        assert gradient(scale).item() > 0.01


@pytest.mark.parametrize("constraint", ["clamp", "sigmoid"])
def test_state_goes_with_its_bounds(constraint):
    scale = scale_of(constraint, anneal=ANNEAL, sharing="layer")
    scale.set_epoch(7)
    scale.raw.data += torch.linspace(-0.5, 0.5, 6)
    other = scale_of(constraint, anneal=ANNEAL, sharing="layer")
    other.load_state_dict(scale.state_dict())
    assert other.bounds == (0.5, 4.0)
    assert torch.equal(other.values(), scale.values())
    raw = other.raw.detach().clone()
    other.set_epoch(7)  # what a resumed run calls: nothing may move
    assert torch.equal(other.raw, raw)
    for one in (scale, other):
        one.set_epoch(15)
    assert torch.equal(other.values(), scale.values())


def test_bounds_are_the_numbers_that_were_given():
    scale = scale_of("clamp", minimum=0.1)
    assert scale.bounds == (0.1, 5.0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"constraint": "clip"}, "constraint='clip': must be one of clamp, l2, sigmoid"),
        ({"sharing": "head"}, "sharing='head': must be one of one, modality, layer"),
        ({"minimum": 5.0}, r"bounds \[5.0, 5.0\]: the minimum must be below the maximum"),
        ({"maximum": math.nan}, r"bounds \[0.5, nan\]"),
        ({"start": math.nan}, "start=nan: the scale must be a finite number"),
        ({"start": math.inf, "learnable": False}, "start=inf"),
        ({"start": 5.01}, r"start=5.01: a learnable scale starts within \[0.5, 5.0\]"),
        ({"start": 0.0, "constraint": "sigmoid"}, r"start=0.0: a learnable scale starts within"),
        ({"start": 3.0, "anneal": ANNEAL}, r"start=3.0: .* within \[1.0, 2.5\]"),
        ({"anneal": ((3, 1.0, 2.0), (3, 1.0, 4.0))}, r"first epochs \[3, 3\] must be in order"),
        ({"anneal": ((4, 1.0, 2.0), (3, 1.0, 4.0))}, r"first epochs \[4, 3\] must be in order"),
        ({"anneal": ((-1, 1.0, 4.0),)}, r"first epochs \[-1\]"),
        ({"anneal": ((1, 4.0, 1.0),)}, r"bounds \[4.0, 1.0\]"),
        (
            {"anneal": ANNEAL, "constraint": "l2"},
            "no bounds act on a scale that is learned under l2",
        ),
        ({"anneal": ANNEAL, "learnable": False}, "no bounds act on a scale that is fixed"),
    ],
)
def test_contradictions_are_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        scale_of(**changes)


def test_two_scales_are_mixed_by_the_light_of_each_sample():
    scale = scale_of(sharing="light")
    assert scale.labels == ("scale_dark", "scale_bright")
    light = torch.tensor([0.0, 0.25, 1.0])
    # Equal at the start: the same as one scale, whatever the light, to the bit.
    assert scale(0, light).tolist() == [[[2.5, 2.5]]] * 3
    scale.raw.data.copy_(torch.tensor([1.0, 3.0]))
    got = scale(5, light)
    assert got.shape == (3, 1, 2)
    assert got.tolist() == [[[1.0, 1.0]], [[1.5, 1.5]], [[3.0, 3.0]]]
    (slope,) = torch.autograd.grad(got[..., 0].sum(), scale.raw)
    assert slope.tolist() == [1.75, 1.25]
    assert scale.values().tolist() == [1.0, 3.0]


def test_a_scale_by_light_needs_it_and_others_do_not_look_at_it():
    with pytest.raises(ValueError, match=r"^sharing='light' needs the light of each sample$"):
        scale_of(sharing="light")(0)
    assert scale_of(sharing="modality")(0, torch.tensor([math.nan])).tolist() == [2.5, 2.5]


def test_a_bound_holds_each_of_the_two():
    scale = scale_of(sharing="light")
    scale.raw.data.copy_(torch.tensor([9.0, 0.1]))
    assert scale(0, torch.tensor([0.0, 1.0]))[:, 0, 0].tolist() == [5.0, 0.5]
