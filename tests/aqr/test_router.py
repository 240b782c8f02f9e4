import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_router import QUERIES, inputs_of, router_of, trained, windows_of
from torch.nn import functional

from aqr_exp.aqr.router import activate


def dense(router, query_pos, memory, key_pos, windows):
    """The router by its definition: all scores, minus infinity outside the windows."""
    attention = router.cross_attn
    query, key, value = (
        projection(x).squeeze(0).unflatten(-1, (attention.heads, -1)).transpose(0, 1)
        for projection, x in (
            (attention.query, query_pos),
            (attention.key, memory + key_pos),
            (attention.value, memory),
        )
    )
    rows = []
    for number in range(query_pos.shape[1]):
        outside = torch.full((windows.keys,), -torch.inf, dtype=torch.float64)
        outside[windows.index[0, number][windows.valid[0, number]]] = 0.0
        if outside.isinf().all():
            content = torch.zeros(query_pos.shape[-1], dtype=torch.float64)
        else:
            scores = torch.einsum("hc,hkc->hk", query[:, number], key) / math.sqrt(query.shape[-1])
            share = (scores + outside).softmax(dim=-1)
            content = attention.out(torch.einsum("hk,hkc->hc", share, value).flatten())
        content = functional.layer_norm(
            content, (8,), router.attn_norm.weight, router.attn_norm.bias
        )
        content = content + router.ffn[2](router.ffn[0](content).relu())
        content = functional.layer_norm(content, (8,), router.ffn_norm.weight, router.ffn_norm.bias)
        rows.append(router.output(content))
    logits = torch.stack(rows)[None]
    return {"tanh": torch.tanh, "sigmoid": torch.sigmoid}[router.activation](logits)


@pytest.mark.parametrize("view_policy", ["first", "all"])
@pytest.mark.parametrize(("activation", "heads"), [("tanh", 1), ("sigmoid", 2), ("tanh", 4)])
def test_weights_and_all_gradients_are_the_dense_ones(activation, heads, view_policy):
    router, inputs = trained(activation=activation, heads=heads), inputs_of()
    windows = windows_of(*QUERIES, view_policy=view_policy)
    leaves = [*inputs, *router.parameters()]
    torch.manual_seed(2)
    pull = torch.randn(1, len(QUERIES), 2, dtype=torch.float64)
    got, wanted = router(*inputs, windows), dense(router, *inputs, windows)
    torch.testing.assert_close(got, wanted, atol=1e-12, rtol=0)
    pairs = zip(
        torch.autograd.grad(got, leaves, pull),
        torch.autograd.grad(wanted, leaves, pull),
        strict=True,
    )
    for one, other in pairs:
        assert other.abs().max() > 1e-4
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-10)


def test_a_query_without_any_key_has_the_weights_of_an_empty_content():
    router, (query_pos, memory, key_pos) = trained(), inputs_of()
    weights = router(query_pos, memory, key_pos, windows_of(*QUERIES))
    nowhere = weights[0, 4]
    assert nowhere.isfinite().all()
    tokens = [query_pos, memory, key_pos, *router.cross_attn.parameters()]
    for gradient in torch.autograd.grad(nowhere.sum(), tokens):
        assert torch.equal(gradient, torch.zeros_like(gradient))
    # The norm of a zero content is its own bias.
    content = router.attn_norm.bias
    content = functional.layer_norm(
        content + router.ffn(content), (8,), router.ffn_norm.weight, router.ffn_norm.bias
    )
    torch.testing.assert_close(nowhere, router.output(content).tanh())


def test_no_query_with_any_key_at_all():
    router, inputs = trained(), inputs_of(queries=2)
    weights = router(*inputs, windows_of((None, {}), (None, {})))
    weights.sum().backward()
    assert weights.isfinite().all()
    assert torch.equal(weights[0, 0], weights[0, 1])
    assert all(p.grad.isfinite().all() for p in (*inputs, *router.parameters()))


def test_weights_depend_on_the_windows_alone():
    router, (query_pos, memory, key_pos) = trained(), inputs_of()
    windows = windows_of(*QUERIES)
    before = router(query_pos, memory, key_pos, windows)
    with torch.no_grad():
        memory[0, 25] += 5.0  # BEV cell (3, 1): in the window of the third query alone
    after = router(query_pos, memory, key_pos, windows)
    changed = (before != after).any(-1)[0]
    assert changed.tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize(
    ("activation", "init_bias", "weight"),
    [
        ("tanh", 0.0, 0.0),
        ("tanh", 1.5, 0.905148),
        ("sigmoid", 1.5, 0.817574),
        ("sigmoid", 0.0, 0.5),
        ("logsigmoid", 0.0, -0.693147),
        ("logsigmoid", 1.5, -0.201413),
    ],
)
def test_every_weight_starts_at_the_activation_of_the_bias(activation, init_bias, weight):
    router = router_of(activation=activation, init_bias=init_bias)
    got = router(*inputs_of(dtype=torch.float32), windows_of(*QUERIES))
    torch.testing.assert_close(got, torch.full((1, 6, 2), weight), atol=1e-6, rtol=0)


def test_tanh_starts_at_exactly_zero_and_learns():
    router, inputs = router_of(), inputs_of(dtype=torch.float32)
    windows = windows_of(*QUERIES)
    weights = router(*inputs, windows)
    assert torch.equal(weights, torch.zeros(1, 6, 2))
    torch.autograd.backward(weights, torch.randn(1, 6, 2))
    assert router.output.weight.grad.abs().min() > 0
    assert router.output.bias.grad.abs().min() > 0
    with torch.no_grad():
        router.output.weight -= 0.1 * router.output.weight.grad
    router.zero_grad()
    router(*inputs, windows)[..., 0].sum().backward()
    silent = [name for name, p in router.named_parameters() if p.grad.abs().sum() == 0]
    assert silent == []


@given(st.floats(-30.0, 30.0))
def test_activations_by_their_definitions(logit):
    got = {name: activate(torch.tensor(logit, dtype=torch.float64), name).item()
           for name in ("tanh", "sigmoid", "logsigmoid")}  # fmt: skip
    share = 1.0 / (1.0 + math.exp(-logit))
    assert got["tanh"] == pytest.approx(math.tanh(logit), abs=1e-12)
    assert got["sigmoid"] == pytest.approx(share, rel=1e-12)
    assert got["logsigmoid"] == pytest.approx(-math.log1p(math.exp(-logit)), rel=1e-9)
    assert -1.0 <= got["tanh"] <= 1.0
    assert 0.0 <= got["sigmoid"] <= 1.0
    assert got["logsigmoid"] <= 0.0


def test_logsigmoid_is_below_zero_without_end():
    logits = torch.tensor([-1000.0, -2.0, 0.0, 1000.0])
    got = activate(logits, "logsigmoid")
    torch.testing.assert_close(got, torch.tensor([-1000.0, -2.126928, -0.693147, 0.0]))


def test_the_state_holds_parameters_alone():
    router = router_of()
    assert set(router.state_dict()) == {name for name, _ in router.named_parameters()}
    assert {name.split(".")[0] for name in router.state_dict()} == {
        "cross_attn", "attn_norm", "ffn", "ffn_norm", "output",
    }  # fmt: skip


def test_weights_stay_in_full_precision_under_autocast():
    router = router_of(activation="sigmoid", init_bias=0.3)
    torch.nn.init.normal_(router.output.weight)
    case = *inputs_of(dtype=torch.float32), windows_of(*QUERIES)
    wanted = router(*case)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = router(*case)
        halved = router(*(t.bfloat16() for t in case[:3]), case[3])
        constant = router_of(kind="constant")(*(t.bfloat16() for t in case[:3]), case[3])
    assert got.dtype == halved.dtype == constant.dtype == torch.float32
    assert torch.equal(got, wanted)
    torch.testing.assert_close(halved, wanted, atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "relu"}, "activation='relu': must be one of tanh, sigmoid, logsigmoid"),
        ({"kind": "fixed"}, "kind='fixed': must be one of learned, constant, shuffled"),
        ({"modalities": "radar"}, "modalities='radar': must be one of both, lidar, camera"),
        ({"heads": 3}, "heads=3: must be at least 1 and divide width=8"),
        ({"constant": (1.0,)}, "constant=(1.0,): must be two finite weights"),
        ({"constant": (1.0, math.nan)}, "constant=(1.0, nan): must be two finite weights"),
        ({"init_bias": math.inf}, "init_bias=inf: must be a finite number"),
        ({"neutral": math.nan}, "neutral=nan: must be a finite number"),
        ({"init_weight": "normal"}, "init_weight='normal': must be one of zero, xavier"),
        ({"dropout": 1.0}, "dropout=1.0: must be from 0 to below 1"),
        ({"dropout": math.nan}, "dropout=nan: must be from 0 to below 1"),
        ({"ffn_dropout": -0.1}, "ffn_dropout=-0.1: must be from 0 to below 1"),
    ],
)
def test_wrong_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        router_of(**changes)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation='gelu': must be one of tanh, sigmoid"):
        activate(torch.zeros(1), "gelu")


def test_windows_of_other_tokens_are_refused():
    query_pos, memory, key_pos = inputs_of()
    with pytest.raises(ValueError, match="do not fit"):
        trained()(query_pos, memory[:, 1:], key_pos[:, 1:], windows_of(*QUERIES))
