import pytest
import torch

from aqr_exp.aqr.bias import LocalBias
from aqr_exp.cmt.attention import MultiHeadAttention, ResidualAttention


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


def test_parameters_are_named_as_published():
    assert set(ResidualAttention(8, 2, 0.0, bias=True).state_dict()) == {
        "attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "attn.out_proj.bias",
    }  # fmt: skip
    assert set(ResidualAttention(8, 2, 0.0, bias=False).state_dict()) == {
        "attn.in_proj_weight", "attn.out_proj.weight",
    }  # fmt: skip


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width 10 is not a multiple of 4 heads"):
        MultiHeadAttention(10, 4, bias=True)
