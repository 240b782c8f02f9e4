"""FlexAttention in windows, as far as a CPU takes it: everything but its own backward pass."""

import dataclasses
import importlib
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from aqr_exp.aqr.attention import flex
from aqr_exp.aqr.attention.api import attend_dense
from aqr_exp.aqr.attention.flex import attend_flex
from aqr_exp.aqr.bias import AttentionBias, LocalBias
from aqr_exp.aqr.layout import QueryCells, TokenLayout
from aqr_exp.aqr.scale import BiasScale
from aqr_exp.aqr.windows import gather_windows

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")

# Interpreted, one shape after the other: nothing is to be traced anew for each.
module = importlib.import_module("torch.nn.attention.flex_attention")


@pytest.fixture(autouse=True, scope="module")
def interpreted():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
        yield


BEV_ROWS, BEV_COLUMNS, VIEWS, ROWS, COLUMNS = 5, 4, 3, 2, 6
LAYOUT = TokenLayout(
    bev_rows=BEV_ROWS, bev_columns=BEV_COLUMNS, bev_origin_m=(-54.0, -54.0), bev_pitch_m=(0.8, 0.8),
    views=VIEWS, camera_rows=ROWS, camera_columns=COLUMNS, image_size_px=(32, 96),
)  # fmt: skip


def random_places(batch, queries):
    """Anywhere, borders included; some off the BEV map, some seen by no, one or several views."""
    inside = torch.rand(batch, queries) < 0.8
    seen = torch.rand(batch, VIEWS, queries) < 0.4
    bev = (torch.rand(batch, queries, 2) * torch.tensor([BEV_ROWS, BEV_COLUMNS])) * inside[
        ..., None
    ]
    camera = torch.rand(batch, VIEWS, queries, 2) * torch.tensor([ROWS, COLUMNS])
    return QueryCells(bev=bev, bev_inside=inside, camera=camera * seen[..., None], seen=seen)


def case(*, batch=2, queries=7, bev=3, camera=2, policy="first", strength=3.0, gaussian=False):
    """Query, key and value without a gradient, and a bias whose weights have one."""
    windows = gather_windows(
        random_places(batch, queries), LAYOUT, bev_size=bev, camera_size=camera, view_policy=policy
    )
    scale = BiasScale(
        start=strength, learnable=False, minimum=0.0, maximum=20.0, constraint="clamp",
        sharing="one", layers=1,
    )  # fmt: skip
    bias = AttentionBias(scale=scale, local=True, gaussian=gaussian, max_bias=20.0, unit="score")
    weights = torch.randn(batch, queries, 2).tanh().requires_grad_()
    tensors = [torch.randn(batch, 2, n, 16) for n in (queries, LAYOUT.keys, LAYOUT.keys)]
    return tensors, bias(weights, windows, LAYOUT.bev_keys, 0), weights


def with_gradient(function, tensors, bias, weights):
    output = function(*tensors, bias)
    torch.manual_seed(3)
    (gradient,) = torch.autograd.grad(output, weights, torch.randn(output.shape), retain_graph=True)
    return output.detach(), gradient


def rounding_of_the_gradient(tensors, bias, strength):
    """The rounding that single precision may leave in the weights' gradient.

    The gradient is a sum over keys and heads, times the scale, of shares times a difference. Nothing
    cancels in the bound, and shares are rounded as the scores are large.
    """
    query, key, value = (part.double() for part in tensors)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    scores = scores + bias.dense(key.shape[2]).detach().double()[:, None]
    shares = scores.softmax(dim=-1)
    torch.manual_seed(3)
    slopes = (torch.randn(query.shape).double() @ value.mT).abs()
    terms = shares * (slopes + (shares * slopes).sum(dim=-1, keepdim=True))
    units = 0.5 * (1.0 + scores.abs().max()) * strength
    return units * torch.finfo(torch.float32).eps * terms.sum(dim=(1, 3)).max()


def assert_agree(tensors, bias, weights, strength=3.0, **how):
    got = with_gradient(lambda *a: attend_flex(*a, **how), tensors, bias, weights)
    wanted = with_gradient(attend_dense, tensors, bias, weights)
    torch.testing.assert_close(got[0], wanted[0], atol=1e-6, rtol=1e-5)
    allowed = rounding_of_the_gradient(tensors, bias, strength)
    assert (got[1] - wanted[1]).abs().max() <= allowed
    return got


@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 2**31),
    bev=st.integers(1, 5),
    camera=st.integers(1, 6),
    policy=st.sampled_from(["first", "all"]),
    strength=st.sampled_from([0.5, 10.0]),
    gaussian=st.booleans(),
)
def test_it_agrees_with_the_definition(seed, bev, camera, policy, strength, gaussian):
    torch.manual_seed(seed)
    tensors, bias, weights = case(
        bev=bev, camera=camera, policy=policy, strength=strength, gaussian=gaussian
    )
    assert_agree(tensors, bias, weights, strength, compiler=None)


def test_a_query_without_windows_attends_as_if_there_were_no_bias():
    torch.manual_seed(0)
    tensors, bias, _ = case(queries=3)
    none = QueryCells(
        bev=torch.zeros(2, 3, 2), bev_inside=torch.zeros(2, 3, dtype=torch.bool),
        camera=torch.zeros(2, VIEWS, 3, 2), seen=torch.zeros(2, VIEWS, 3, dtype=torch.bool),
    )  # fmt: skip
    windows = gather_windows(none, LAYOUT, bev_size=3, camera_size=2, view_policy="first")
    bias = LocalBias(
        index=windows.index,
        valid=windows.valid,
        value=torch.ones_like(bias.value),
        grid=windows.grid,
    )
    got = attend_flex(*tensors, bias, compiler=None)
    torch.testing.assert_close(got, attend_dense(*tensors, None), atol=1e-6, rtol=1e-5)


def test_by_hand():
    # Even scores; a query in BEV cell (0, 0) lifts the four cells of a window that reaches one ahead.
    places = QueryCells(
        bev=torch.zeros(1, 1, 2), bev_inside=torch.ones(1, 1, dtype=torch.bool),
        camera=torch.zeros(1, VIEWS, 1, 2), seen=torch.zeros(1, VIEWS, 1, dtype=torch.bool),
    )  # fmt: skip
    windows = gather_windows(places, LAYOUT, bev_size=2, camera_size=1, view_policy="first")
    bias = LocalBias(
        index=windows.index, valid=windows.valid,
        value=torch.full(windows.index.shape, math.log(4.0)), grid=windows.grid,
    )  # fmt: skip
    value = torch.zeros(1, 1, LAYOUT.keys, 16)
    value[0, 0, torch.tensor([0, 1, BEV_COLUMNS, BEV_COLUMNS + 1]), 0] = 1.0
    zero = torch.zeros(1, 1, LAYOUT.keys, 16)
    got = attend_flex(zero[:, :, :1], zero, value, bias, compiler=None)
    assert got[0, 0, 0, 0].item() == pytest.approx(16 / (16 + LAYOUT.keys - 4))


def test_steps_with_other_numbers_of_queries_do_not_compile_anew():
    # Traced and guarded as on CUDA; only the last step, to machine code, is left out.
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for queries in (7, 130, 300, 50, 129):
        torch.manual_seed(queries)
        assert_agree(*case(queries=queries), compiler="aot_eager")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    # Another number of views a query makes another kernel, and is seen to.
    places = random_places(2, 50)
    places.seen[:, :2] = True
    windows = gather_windows(places, LAYOUT, bev_size=3, camera_size=2, view_policy="all")
    bias = LocalBias(
        index=windows.index, valid=windows.valid, value=torch.zeros(windows.index.shape),
        grid=windows.grid,
    )  # fmt: skip
    tensors, _, _ = case(queries=50)
    attend_flex(*tensors, bias, compiler="aot_eager")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"device": "cpu"}, "tensors on cpu, where FlexAttention has no backward pass"),
        ({"dtype": torch.float64}, "tensors of torch.float64"),
        ({"width": 24}, "heads 24 wide, not a power of two from 16 on"),
        ({"width": 8}, "heads 8 wide, not a power of two from 16 on"),
        ({"grid": None}, "windows without places"),
        ({"torch": "old"}, f"torch {torch.__version__} has no FlexAttention"),
    ],
)
def test_what_it_cannot_serve(change, reason, monkeypatch):
    _, bias, _ = case()
    with FakeTensorMode():  # no CUDA needed to say where a tensor is
        query = torch.empty(
            1, 2, 7, change.get("width", 32), device=change.get("device", "cuda"),
            dtype=change.get("dtype", torch.bfloat16),
        )  # fmt: skip
    if "torch" in change:
        monkeypatch.setattr(flex, "_flex_attention", lambda: None)
    bias = dataclasses.replace(bias, **{key: change[key] for key in ("grid",) if key in change})
    assert flex.unsupported_reason(query, bias) == reason


def test_windows_without_places_are_refused():
    tensors, bias, _ = case()
    with pytest.raises(
        ValueError, match=r"^a bias without a grid does not say where its windows lie$"
    ):
        attend_flex(*tensors, dataclasses.replace(bias, grid=None))
