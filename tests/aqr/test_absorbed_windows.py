"""The router's attention to tokens as they are, beside the projected way and a plain loop."""

import functools
from types import SimpleNamespace

import pytest
import torch
from attention_cases import rounding_of_window_attention
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.aqr.attention import compiled, gathered
from aqr_exp.aqr.attention.gathered import GatheredAttention
from aqr_exp.aqr.windows import Windows

pytest.importorskip("numba")

NAMES = (
    "query", "memory", "key_pos", "query.weight", "query.bias", "key.weight", "value.weight",
    "value.bias", "out.weight", "out.bias",
)  # fmt: skip


def case(*, batch=1, queries=5, keys=9, slots=4, heads=2, head_width=3, seed=0, empty=0.3):
    """Random inputs; windows may name a key twice, and the first query's is empty if any slot may be."""
    torch.manual_seed(seed)
    width = heads * head_width
    attention = GatheredAttention(width, heads)
    for name, parameter in attention.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(std=0.5)
    valid = torch.rand(batch, queries, slots) >= empty
    valid[:, 0] &= empty == 0.0
    index = torch.randint(keys, (batch, queries, slots))
    windows = Windows(
        index=torch.where(valid, index, 0), valid=valid, lidar_slots=slots, keys=keys,
        offset=torch.zeros(slots, 2, dtype=torch.long),
    )  # fmt: skip
    inputs = [torch.randn(batch, n, width, requires_grad=True) for n in (queries, keys, keys)]
    return SimpleNamespace(attention=attention, inputs=inputs, windows=windows)


def results(function, made):
    """Output, then the gradients of NAMES."""
    output = function(*made.inputs, made.windows)
    torch.manual_seed(7)
    wanted = torch.randn(output.shape).to(output.dtype)
    leaves = [*made.inputs, *made.attention.parameters()]
    return [output.detach(), *torch.autograd.grad(output, leaves, wanted, materialize_grads=True)]


def by_way(made, absorbed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathered, "absorbing_is_cheaper", lambda *_: absorbed)
        return results(made.attention, made)


def plain_loop(attention, query, memory, key_pos, windows):
    """By definition, one query and one head at a time."""
    width, rows = query.shape[2] // attention.heads, []
    for sample, number in torch.cartesian_prod(*map(torch.arange, query.shape[:2])).tolist():
        near = windows.index[sample, number][windows.valid[sample, number]]
        if not len(near):
            rows.append(0.0 * query[sample, number])
            continue
        q = attention.query(query[sample, number])
        keys = attention.key(memory[sample, near] + key_pos[sample, near])
        values = attention.value(memory[sample, near])
        heads = [slice(first, first + width) for first in range(0, len(q), width)]
        found = [(keys[:, h] @ q[h] / width**0.5).softmax(dim=0) @ values[:, h] for h in heads]
        rows.append(attention.out(torch.cat(found)))
    return torch.stack(rows).view_as(query)


def in_double(made):
    return SimpleNamespace(
        attention=made.attention.double(), windows=made.windows,
        inputs=[part.detach().double().requires_grad_() for part in made.inputs],
    )  # fmt: skip


def assert_agree(made, got, wanted):
    """As equal as single precision allows."""
    torch.manual_seed(7)
    grad_output = torch.randn(wanted[0].shape)
    allowed = rounding_of_window_attention(made.attention, made.inputs, made.windows, grad_output)
    for name, one, other, bound in zip(("output", *NAMES), got, wanted, allowed, strict=True):
        assert (one - other).abs().max() <= bound, name


@given(st.data())
def test_absorbed_and_projected_agree_with_a_plain_loop(data):
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    made = case(
        batch=draw(1, 2), queries=draw(1, 6), keys=draw(1, 12), slots=draw(1, 19), heads=draw(1, 6),
        head_width=draw(1, 9), seed=draw(0, 2**31), empty=data.draw(st.sampled_from([0.0, 0.3, 0.9])),
    )  # fmt: skip
    absorbed, projected = by_way(made, True), by_way(made, False)
    wanted = results(functools.partial(plain_loop, made.attention.double()), in_double(made))
    assert_agree(made, absorbed, wanted)
    assert_agree(made, projected, wanted)


@pytest.mark.parametrize(
    ("heads", "head_width", "slots"), [(1, 7, 1), (3, 5, 8), (4, 32, 34), (8, 25, 13), (5, 13, 7)]
)
def test_every_gradient_is_there_and_right(heads, head_width, slots):
    made = case(batch=2, queries=9, keys=40, slots=slots, heads=heads, head_width=head_width)
    got = by_way(made, True)
    wanted = results(functools.partial(plain_loop, made.attention.double()), in_double(made))
    for name, part in zip(NAMES, wanted[1:], strict=True):
        # A single slot has the share 1, whatever the scores.
        flat = slots == 1 and name in (
            "query",
            "key_pos",
            "query.weight",
            "query.bias",
            "key.weight",
        )
        assert (part.abs().max() > 0.01) != flat, name
    assert_agree(made, got, wanted)
    assert not got[0][:, 0].any()


def test_a_key_twice_in_a_window_counts_twice():
    made = case(queries=2, keys=3, slots=3, empty=0.0)
    made.windows.index[:] = torch.tensor([1, 2, 1])
    got = by_way(made, True)
    wanted = results(functools.partial(plain_loop, made.attention.double()), in_double(made))
    assert_agree(made, got, wanted)
    assert not got[2][0, 0].any()


@pytest.mark.parametrize("head_width", [8, 25, 64])
def test_the_same_bits_twice_and_with_any_number_of_threads(head_width, kernel_threads):
    made = case(batch=2, queries=90, keys=400, slots=21, heads=4, head_width=head_width)
    found = []
    for threads in (1, 1, 2, 3):
        kernel_threads(threads)
        found.append(by_way(made, True))
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        # Q (C + 2 S (H - 1)) < K C, by hand: 336 (128 + 2 S 3) = 43,008 + 2,016 S < 1,728 * 128 = 221,184.
        ((336, 1728, 34, 128, 4), True),
        ((336, 1728, 88, 128, 4), True),
        ((336, 1728, 89, 128, 4), False),
        # The published maps: windows of 5 x 5 and 8 x 8, and the whole BEV.
        ((900, 22384, 89, 256, 4), True),
        ((900, 22384, 16384, 256, 4), False),
        # One head reads as much of a token as of its key: only the projections count.
        ((10, 11, 11, 8, 1), True),
        ((11, 11, 1, 8, 1), False),
    ],
)
def test_what_is_cheaper(shape, wanted):
    queries, keys, slots, width, heads = shape
    assert gathered.absorbing_is_cheaper(*shape) == wanted
    index = torch.zeros(1, 1, 1, dtype=torch.long).expand(1, queries, slots)
    windows = Windows(
        index=index, valid=index == 0, offset=torch.zeros(1, 2, dtype=torch.long).expand(slots, 2),
        lidar_slots=slots, keys=keys,
    )  # fmt: skip
    inputs = [torch.zeros(1, 1, 1).expand(1, n, width) for n in (queries, keys, keys)]
    attention = GatheredAttention(width, heads)
    assert attention.absorbs(*inputs, windows) == wanted
    assert not attention.absorbs(*(part.double() for part in inputs), windows)
    assert not attention.absorbs(*inputs[:2], inputs[2].double(), windows)


@pytest.mark.parametrize(("keys", "wanted"), [(40, "mix_tokens"), (10, "attend")])
def test_shapes_decide_which_way_is_taken(keys, wanted, monkeypatch):
    called = []
    for module, name in ((gathered, "mix_tokens"), (compiled, "attend")):
        function = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, f=function, n=name: (called.append(n), f(*a))[1]
        )
    # 5 (6 + 2 * 4 * 1) = 70 multiplications, to 6 a key.
    made = case(keys=keys)
    made.attention(*made.inputs, made.windows)
    assert called == [wanted]
    monkeypatch.setattr(compiled, "_installed", lambda: False)
    made.attention(*made.inputs, made.windows)
    assert called == [wanted]


def test_no_query_at_all():
    made = case(queries=2)
    windows = Windows(
        index=made.windows.index[:, :0], valid=made.windows.valid[:, :0],
        offset=made.windows.offset, lidar_slots=4, keys=9,
    )  # fmt: skip
    output = made.attention(made.inputs[0][:, :0], *made.inputs[1:], windows)
    assert output.shape == (1, 0, 6)
    for gradient in torch.autograd.grad(output.sum(), made.inputs[1:]):
        assert not gradient.any()


def test_parameters_are_those_of_four_projections():
    shapes = {
        name: tuple(part.shape) for name, part in GatheredAttention(6, 2).state_dict().items()
    }
    square, row = (6, 6), (6,)
    assert shapes == {
        "query.weight": square, "query.bias": row, "key.weight": square, "value.weight": square,
        "value.bias": row, "out.weight": square, "out.bias": row,
    }  # fmt: skip
