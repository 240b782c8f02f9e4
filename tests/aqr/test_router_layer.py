"""The router's layer with dropout, a second norm and a random last layer."""

import math

import pytest
import torch
from small_map import LAYOUT
from small_router import QUERIES, inputs_of, router_of, trained, windows_of
from torch.nn import functional

from aqr_exp.aqr.attention import correction

# Each of them has a key: a layer without windows knows no other queries.
PLACED = [query for query in QUERIES if query != (None, {})]
EVERYTHING = {"dropout": 0.3, "ffn_dropout": 0.4, "post_norm": True}


def by_definition(router, inputs, windows, keep_attention, keep_found, keep_hidden, keep_added):
    """The layer with its masks given: 0, or 1 over the share that is kept."""
    query_pos, memory, key_pos = inputs
    attention = router.cross_attn
    query, key, value = (
        projection(x)[0].unflatten(-1, (attention.heads, -1))
        for projection, x in (
            (attention.query, query_pos),
            (attention.key, memory + key_pos),
            (attention.value, memory),
        )
    )
    key, value = key[windows.index[0].long()], value[windows.index[0].long()]  # [Q, S, H, c]
    scores = torch.einsum("qhc,qshc->qsh", query, key) / math.sqrt(query.shape[-1])
    share = scores.masked_fill(~windows.valid[0, :, :, None], -torch.inf).softmax(dim=1)
    found = attention.out(torch.einsum("qsh,qshc->qhc", share * keep_attention, value).flatten(1))
    content = functional.layer_norm(
        found * keep_found, (8,), router.attn_norm.weight, router.attn_norm.bias
    )
    hidden = router.ffn[0](content).relu() * keep_hidden
    content = content + router.ffn[2](hidden) * keep_added
    content = functional.layer_norm(content, (8,), router.ffn_norm.weight, router.ffn_norm.bias)
    content = functional.layer_norm(content, (8,), router.post_norm.weight, router.post_norm.bias)
    return router.output(content).tanh()[None]


@pytest.mark.parametrize("chunk", [correction._CHUNK_NUMBERS, 1])
def test_training_drops_probabilities_findings_and_the_feed_forward_block(chunk, monkeypatch):
    """The same draws, by the definition; the backward pass sees those of the forward pass."""
    monkeypatch.setattr(correction, "_CHUNK_NUMBERS", chunk)
    router, inputs = trained(**EVERYTHING), inputs_of(queries=len(PLACED))
    windows = windows_of(*PLACED)
    slots, rows = windows.index.shape[-1], len(PLACED)
    torch.manual_seed(5)
    got = router(*inputs, windows)
    torch.manual_seed(5)
    parts = [1] * rows if chunk == 1 else [rows]
    ones = {"dtype": torch.float64}
    keep_attention = torch.cat(
        [functional.dropout(torch.ones(part, slots, 2, **ones), 0.3) for part in parts]
    )
    masks = [
        functional.dropout(torch.ones(1, rows, width, **ones), share)[0]
        for width, share in ((8, 0.3), (12, 0.4), (8, 0.4))
    ]
    assert all((mask == 0).any() and (mask > 1).any() for mask in (keep_attention, *masks))
    wanted = by_definition(router, inputs, windows, keep_attention, *masks)
    torch.testing.assert_close(got, wanted, atol=1e-12, rtol=0)
    pull = torch.randn(1, rows, 2, dtype=torch.float64)
    leaves = [*inputs, *router.parameters()]
    found, expected = (torch.autograd.grad(each, leaves, pull) for each in (got, wanted))
    for one, other in zip(found, expected, strict=True):
        assert other.abs().max() > 1e-5
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-10)


def test_dropout_acts_in_training_alone_and_draws_nothing_where_it_is_off():
    inputs, windows = inputs_of(), windows_of(*QUERIES)
    plain, dropping = trained(), trained(dropout=0.3, ffn_dropout=0.3)
    assert torch.equal(dropping.eval()(*inputs, windows), plain(*inputs, windows))
    assert not torch.equal(dropping.train()(*inputs, windows), plain(*inputs, windows))
    before = torch.get_rng_state()
    plain.train()(*inputs, windows)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_query_without_any_key_drops_nothing_it_has_not_found():
    router, inputs = trained(dropout=0.5), inputs_of()
    nowhere = router.train()(*inputs, windows_of(*QUERIES))[0, 4]
    torch.testing.assert_close(nowhere, router.eval()(*inputs, windows_of(*QUERIES))[0, 4])


def test_the_layer_with_a_second_norm_is_momes():
    """MoME's layer as its configuration builds it, in evaluation: mmcv's own class with our weights."""
    from mmcv.cnn.bricks.transformer import BaseTransformerLayer

    router, inputs = trained(heads=4, post_norm=True), inputs_of(queries=len(PLACED))
    windows = windows_of(*PLACED)
    layer = BaseTransformerLayer(
        attn_cfgs=[{"type": "MultiheadAttention", "embed_dims": 8, "num_heads": 4, "dropout": 0.1}],
        ffn_cfgs={
            "type": "FFN", "embed_dims": 8, "feedforward_channels": 12, "num_fcs": 2, "ffn_drop": 0.0,
            "act_cfg": {"type": "ReLU", "inplace": True},
        },
        operation_order=("cross_attn", "norm", "ffn", "norm"),
    ).double().eval()  # fmt: skip
    # What MoME drops: probabilities and what attention found, nothing in the feed-forward block.
    assert (layer.attentions[0].attn.dropout, layer.attentions[0].dropout_layer.p) == (0.1, 0.1)
    assert {each.p for each in layer.ffns[0].modules() if isinstance(each, torch.nn.Dropout)} == {0}
    attention, own = router.cross_attn, layer.attentions[0].attn
    with torch.no_grad():
        own.in_proj_weight.copy_(
            torch.cat([attention.query.weight, attention.key.weight, attention.value.weight])
        )
        own.in_proj_bias.copy_(
            torch.cat([attention.query.bias, torch.zeros(8), attention.value.bias])
        )
    own.out_proj.load_state_dict(attention.out.state_dict())
    layer.ffns[0].layers[0][0].load_state_dict(router.ffn[0].state_dict())
    layer.ffns[0].layers[1].load_state_dict(router.ffn[2].state_dict())
    layer.norms[0].load_state_dict(router.attn_norm.state_dict())
    layer.norms[1].load_state_dict(router.ffn_norm.state_dict())
    blocked = torch.ones(len(PLACED), LAYOUT.keys, dtype=torch.bool)
    for row in range(len(PLACED)):
        blocked[row, windows.index[0, row][windows.valid[0, row]]] = False
    query_pos, memory, key_pos = (part.transpose(0, 1) for part in inputs)
    content = layer(
        torch.zeros_like(query_pos), memory, memory, query_pos=query_pos, key_pos=key_pos,
        attn_masks=[blocked],
    )  # fmt: skip
    wanted = router.output(router.post_norm(content)).tanh().transpose(0, 1)
    torch.testing.assert_close(router(*inputs, windows), wanted, atol=1e-12, rtol=0)


def test_the_second_norm_is_a_parameter_only_where_it_is():
    plain, more = router_of(), router_of(post_norm=True)
    assert set(more.state_dict()) - set(plain.state_dict()) == {
        "post_norm.weight", "post_norm.bias",
    }  # fmt: skip
    assert all(
        torch.equal(more.state_dict()[name], value) for name, value in plain.state_dict().items()
    )


def test_a_random_last_layer_tells_queries_apart_from_the_first_step_on():
    router, inputs = router_of(init_weight="xavier", init_bias=1.5), inputs_of(dtype=torch.float32)
    bound = math.sqrt(6.0 / (8 + 2))
    assert 0.5 * bound < router.output.weight.abs().max() <= bound
    assert router.output.bias.tolist() == [1.5, 1.5]
    weights = router(*inputs, windows_of(*QUERIES))
    assert weights[0, :4].std(dim=0).min() > 0.01
    weights.square().sum().backward()
    assert [name for name, p in router.named_parameters() if p.grad.abs().sum() == 0] == []
