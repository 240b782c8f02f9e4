import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.aqr.attention import statistics as module
from aqr_exp.aqr.attention.statistics import attention_statistics
from aqr_exp.aqr.bias import GlobalBias, LocalBias


def dense(query, key, bias, window):
    """The same numbers from whole matrices; `window` is True at the keys of a query's windows."""
    score = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    before, after = score.softmax(-1), (score + bias.dense(key.shape[2])[:, None]).softmax(-1)
    window = window[:, None]
    inside = torch.where(window, after, 0.0)
    share = inside / inside.sum(-1, keepdim=True)
    entropy = torch.where(share > 0, -share * share.log(), 0.0).sum(-1)
    return {
        "mass_before": torch.where(window, before, 0.0).sum(-1),
        "mass_after": inside.sum(-1),
        "change": (after - before).abs().sum(-1),
        "entropy": entropy.masked_fill(~window.any(-1), 0.0),
    }


def local_bias(batch, queries, keys, slots, strength, dtype=torch.float32):
    picked = torch.rand(batch, queries, keys).argsort(dim=-1)[..., :slots]
    valid = torch.rand(batch, queries, slots) > 0.3
    valid[:, 0] = False
    value = torch.where(valid, torch.randn(batch, queries, slots, dtype=dtype) * strength, 0.0)
    window = torch.zeros(batch, queries, keys, dtype=torch.long)
    window.scatter_add_(-1, torch.where(valid, picked, 0), valid.long())
    return LocalBias(index=torch.where(valid, picked, 0), valid=valid, value=value), window > 0


def assert_dense(query, key, bias, window, tolerance):
    got = attention_statistics(query, key, bias)
    for name, wanted in dense(query, key, bias, window).items():
        torch.testing.assert_close(
            getattr(got, name), wanted, atol=tolerance, rtol=tolerance, msg=lambda m, n=name: n + m
        )
    assert torch.equal(got.has_window, window.any(-1))
    return got


@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.5, 3.0, 10.0]), st.integers(1, 12))
def test_windows_against_whole_matrices(seed, strength, slots):
    torch.manual_seed(seed)
    query, key = (torch.randn(2, 3, n, 4, dtype=torch.float64) * 2 for n in (5, 12))
    bias, window = local_bias(2, 5, 12, slots, strength, torch.float64)
    got = assert_dense(query, key, bias, window, 1e-9)
    assert not got.change[:, :, 0].any()
    assert not got.has_window[:, 0].any()


@given(st.integers(0, 2**31), st.sampled_from([0.0, 1.0, 8.0]), st.integers(0, 12))
def test_modalities_against_whole_matrices(seed, strength, lidar_keys):
    torch.manual_seed(seed)
    query, key = (torch.randn(2, 3, n, 4, dtype=torch.float64) for n in (5, 12))
    value = torch.randn(2, 5, 2, dtype=torch.float64) * strength
    everything = torch.ones(2, 5, 12, dtype=torch.bool)
    bias = GlobalBias(value=value, lidar_keys=lidar_keys)
    assert_dense(query, key, bias, everything, 1e-9)


def test_in_single_precision_and_at_size():
    torch.manual_seed(0)
    query, key = (torch.randn(2, 4, n, 16) for n in (40, 3000))
    bias, window = local_bias(2, 40, 3000, 50, 3.0)
    assert_dense(query, key, bias, window, 2e-6)


@pytest.mark.parametrize("kind", ["local", "global"])
def test_without_the_fused_kernel(monkeypatch, kind):
    monkeypatch.setattr(module, "unsupported_reason", lambda _: "no kernel")
    monkeypatch.setattr(module, "_CHUNK_SCORES", 2 * 4 * 300 * 3)
    torch.manual_seed(1)
    query, key = (torch.randn(2, 4, n, 16) for n in (10, 300))
    bias, window = local_bias(2, 10, 300, 20, 3.0)
    if kind == "global":
        bias = GlobalBias(value=torch.randn(2, 10, 2), lidar_keys=100)
        window = torch.ones_like(window)
    assert_dense(query, key, bias, window, 2e-6)


def test_by_hand():
    # Four equal scores, two keys in the window, bias log 3: shares 3/8, 3/8, 1/8, 1/8.
    query, key = torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 4, 2)
    bias = LocalBias(
        index=torch.tensor([[[1, 2, 0]]]),
        valid=torch.tensor([[[True, True, False]]]),
        value=torch.tensor([[[math.log(3.0), math.log(3.0), 0.0]]]),
    )
    got = attention_statistics(query, key, bias)
    assert got.mass_before.item() == pytest.approx(0.5)
    assert got.mass_after.item() == pytest.approx(0.75)
    assert got.change.item() == pytest.approx(0.5)
    assert got.entropy.item() == pytest.approx(math.log(2.0))


def test_even_scores_at_full_size_hold_what_the_definition_says():
    # 25 of 22,384 keys: .11 % of the mass; a bias of .9 gives .28 %, 3 gives 2.2 %, 6.8 half.
    query, key = torch.zeros(1, 1, 4, 2), torch.ones(1, 1, 22384, 2)
    index = torch.arange(25).expand(1, 4, 25)
    value = torch.tensor([0.0, 0.9, 3.0, 6.8])[None, :, None].expand(1, 4, 25)
    bias = LocalBias(index=index, valid=torch.ones(1, 4, 25, dtype=torch.bool), value=value)
    got = attention_statistics(query, key, bias)
    assert got.mass_before.flatten().tolist() == pytest.approx([25 / 22384] * 4, rel=1e-4)
    wanted = [25 * math.exp(b) / (25 * math.exp(b) + 22359) for b in (0.0, 0.9, 3.0, 6.8)]
    assert got.mass_after.flatten().tolist() == pytest.approx(wanted, rel=1e-4)
    assert [round(100 * mass, 2) for mass in wanted] == [0.11, 0.27, 2.2, 50.1]


def test_there_is_no_gradient_and_misfits_are_refused():
    query, key = (torch.randn(1, 2, n, 4, requires_grad=True) for n in (5, 12))
    bias, _ = local_bias(1, 5, 12, 3, 1.0)
    assert not attention_statistics(query, key, bias).change.requires_grad
    with pytest.raises(ValueError, match=r"names keys .* but there are keys 0 to 0"):
        attention_statistics(query, key[:, :, :1], bias)
