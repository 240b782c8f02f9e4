import pytest
import torch

from aqr_exp.aqr.bias import GlobalBias, LocalBias
from aqr_exp.cmt.attention import MultiHeadAttention, ResidualAttention
from aqr_exp.cmt.transformer import DecoderLayer


def reference(attention):
    """torch's own module with the same weights."""
    other = torch.nn.MultiheadAttention(
        attention.width, attention.heads, bias=attention.in_proj_bias is not None, batch_first=True
    )
    other.load_state_dict(attention.state_dict())
    return other


@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_torch_s(bias):
    attention = MultiHeadAttention(32, 4, bias=bias)
    if bias:
        torch.nn.init.normal_(attention.in_proj_bias)
    query, key, value = torch.randn(2, 5, 32), torch.randn(2, 7, 32), torch.randn(2, 7, 32)
    blocked = torch.rand(5, 7) < 0.4
    blocked[:, 0] = False
    for mask in (None, blocked):
        wanted, _ = reference(attention)(query, key, value, attn_mask=mask)
        torch.testing.assert_close(attention(query, key, value, mask), wanted)


def test_a_blocked_query_is_not_seen():
    attention = ResidualAttention(32, 4, 0.0, bias=True)
    query, place = torch.randn(1, 4, 32), torch.randn(1, 4, 32)
    blocked = torch.zeros(4, 4, dtype=torch.bool)
    blocked[:3, 3] = True
    changed = query.clone()
    changed[0, 3] += 1.0
    before, after = (attention(tensor, place, blocked=blocked) for tensor in (query, changed))
    assert torch.equal(before[0, :3], after[0, :3])
    assert not torch.allclose(attention(query, place)[0, :3], attention(changed, place)[0, :3])


def test_cross_attention_adds_the_encoding_to_queries_only():
    attention = ResidualAttention(32, 4, 0.0, bias=False)
    query, place = torch.randn(1, 3, 32), torch.randn(1, 3, 32)
    key, value = torch.randn(1, 6, 32), torch.randn(1, 6, 32)
    mixed, _ = reference(attention.attn)(query + place, key, value)
    torch.testing.assert_close(attention(query, place, (key, value)), query + mixed)


def test_a_mask_and_a_bias_act_together():
    """Against a softmax written out: the bias on unblocked keys, nothing from blocked ones."""
    attention = ResidualAttention(8, 2, 0.0, bias=False)
    query, key, value = torch.randn(1, 3, 8), torch.randn(1, 6, 8), torch.randn(1, 6, 8)
    blocked = torch.zeros(3, 6, dtype=torch.bool)
    blocked[1, 2:] = True
    bias = LocalBias(
        index=torch.tensor([[[0], [1], [5]]]),
        valid=torch.ones(1, 3, 1, dtype=torch.bool),
        value=torch.tensor([[[2.0], [-1.5], [3.0]]]),
    )
    matrix = torch.zeros(3, 6)
    matrix[0, 0], matrix[1, 1], matrix[2, 5] = 2.0, -1.5, 3.0
    q, k, v = (attention.attn.project(t, part) for part, t in enumerate((query, key, value)))
    scores = q @ k.transpose(-1, -2) / 2.0 + matrix
    mixed = scores.masked_fill(blocked, -torch.inf).softmax(-1) @ v
    wanted = query + attention.attn.out_proj(mixed.transpose(1, 2).flatten(-2))
    got = attention(query, torch.zeros_like(query), (key, value), blocked, bias)
    torch.testing.assert_close(got, wanted)
    assert (got - attention(query, torch.zeros_like(query), (key, value))).abs().max() > 1e-3


def some_windows(queries, keys, slots):
    """A local bias of two samples, and the same as a matrix."""
    index = torch.stack(
        [torch.randperm(keys)[:slots].sort().values for _ in range(2 * queries)]
    ).view(2, queries, slots)
    valid = torch.rand(2, queries, slots) < 0.8
    value = (torch.randn(2, queries, slots) * 2.0).requires_grad_()
    bias = LocalBias(index=index, valid=valid, value=value)
    return bias, bias.dense(keys)


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("backend", ["auto", "windowed", "dense", "flex"])
def test_projection_biases_act_beside_a_bias_of_scores(backend, watched):
    """Outputs and all gradients against torch's module, whose mask is the bias as a matrix."""
    attention = MultiHeadAttention(32, 4, bias=True)
    attention.backend = backend
    torch.nn.init.normal_(attention.in_proj_bias)
    torch.nn.init.normal_(attention.out_proj.bias)
    seen = []
    attention.observer = seen.append if watched else None
    other = reference(attention)
    query, key, value = torch.randn(2, 9, 32), torch.randn(2, 40, 32), torch.randn(2, 40, 32)
    bias, matrix = some_windows(9, 40, 6)
    got = attention(query, key, value, bias=bias)
    (wanted_bias,) = torch.autograd.grad(got.square().sum(), bias.value, retain_graph=True)
    got.square().sum().backward()
    wanted, _ = other(query, key, value, attn_mask=matrix.repeat_interleave(4, 0))
    torch.testing.assert_close(got, wanted, rtol=2e-5, atol=2e-5)
    bias.value.grad = None
    wanted.square().sum().backward()
    torch.testing.assert_close(bias.value.grad, wanted_bias, rtol=1e-4, atol=1e-4)
    for (name, ours), theirs in zip(attention.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=2e-4, msg=name)
    assert len(seen) == watched


def test_projection_biases_act_beside_a_global_bias():
    attention = MultiHeadAttention(32, 4, bias=True)
    torch.nn.init.normal_(attention.in_proj_bias)
    torch.nn.init.normal_(attention.out_proj.bias)
    query, tokens = torch.randn(2, 9, 32), torch.randn(2, 40, 32)
    bias = GlobalBias(value=torch.randn(2, 9, 2), lidar_keys=30)
    wanted, _ = reference(attention)(
        query, tokens, tokens, attn_mask=bias.dense(40).repeat_interleave(4, 0)
    )
    torch.testing.assert_close(attention(query, tokens, tokens, bias=bias), wanted)


def test_attention_probabilities_are_dropped_in_training_alone():
    """Of ones, a row's sum over what is kept, each at 1 / (1 - p)."""
    attention = MultiHeadAttention(8, 2, bias=True, dropout=0.25)
    for projection in (attention.in_proj_weight, attention.out_proj.weight):
        torch.nn.init.zeros_(projection)
    with torch.no_grad():
        attention.in_proj_bias[16:] = 1.0
        attention.out_proj.weight.copy_(torch.eye(8))
    query, tokens = torch.randn(1, 500, 8), torch.randn(1, 12, 8)
    kept = attention(query, tokens, tokens) * 0.75 * 12  # probabilities are all 1 / 12
    torch.testing.assert_close(kept, kept.round(), atol=1e-4, rtol=0)
    assert kept.max() > kept.min()
    assert kept.mean().item() / 12 == pytest.approx(0.75, abs=0.02)
    # By head: its four columns share what is dropped.
    assert torch.equal(kept[..., 0].round(), kept[..., 3].round())
    assert not torch.equal(kept[..., 0].round(), kept[..., 4].round())
    torch.testing.assert_close(attention.eval()(query, tokens, tokens), torch.ones(1, 500, 8))


def test_dropout_beside_a_bias_is_refused():
    attention = MultiHeadAttention(8, 2, bias=True, dropout=0.1)
    bias, _ = some_windows(3, 6, 2)
    query, tokens = torch.randn(2, 3, 8), torch.randn(2, 6, 8)
    with pytest.raises(ValueError, match=r"dropout=0\.1: must be 0 where scores have a bias"):
        attention(query, tokens, tokens, bias=bias)


def test_parameters_are_named_as_published():
    assert set(ResidualAttention(8, 2, 0.0, bias=True).state_dict()) == {
        "attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "attn.out_proj.bias",
    }  # fmt: skip
    assert set(ResidualAttention(8, 2, 0.0, bias=False).state_dict()) == {
        "attn.in_proj_weight", "attn.out_proj.weight",
    }  # fmt: skip


def test_dropout_is_where_it_was_published():
    """Of probabilities among the queries alone, of outputs in both; the projections' biases are zero."""
    layer = DecoderLayer(32, 4, 48, 0.1, share_dropout=0.2, projection_bias=True)
    among, across = layer.attentions
    assert (among.attn.dropout, across.attn.dropout) == (0.2, 0.0)
    assert (among.dropout.p, across.dropout.p) == (0.1, 0.1)
    for part in (among.attn, across.attn):
        assert torch.equal(part.in_proj_bias, torch.zeros(96))
        assert torch.equal(part.out_proj.bias, torch.zeros(32))
    older = DecoderLayer(32, 4, 48, 0.1, share_dropout=0.0, projection_bias=False)
    assert older.attentions[1].attn.in_proj_bias is None
    assert older.attentions[0].attn.in_proj_bias is not None


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width 10 is not a multiple of 4 heads"):
        MultiHeadAttention(10, 4, bias=True)
