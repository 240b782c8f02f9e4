"""The other ways to attend: a mask, a bias for all keys of a modality; and what does not fit."""

import dataclasses
import logging
import math

import pytest
import torch
from attention_cases import assert_same, leaves, random_bias, results
from torch._subclasses.fake_tensor import FakeTensorMode

from aqr_exp.aqr.attention import api, fused
from aqr_exp.aqr.attention.api import attend, attend_dense, check_fit
from aqr_exp.aqr.bias import GlobalBias, LocalBias
from aqr_exp.aqr.layout import TokenLayout, locate_queries
from aqr_exp.aqr.windows import gather_windows


@pytest.mark.parametrize("chunk_scores", [1, 700, 2**24])
def test_windows_together_with_a_mask(monkeypatch, chunk_scores):
    monkeypatch.setattr(api, "_CHUNK_SCORES", chunk_scores)
    torch.manual_seed(5)
    tensors, bias = leaves(2, 2, 9, 50, 8), random_bias(2, 9, 50, 6, 3.0)
    blocked = torch.rand(9, 50) < 0.5
    blocked[4] = True
    got = results(attend, tensors, bias, blocked)
    assert_same(got, results(attend_dense, tensors, bias, blocked), 1e-6, 1e-5)
    assert not got[0][:, :, 4].any()
    # A blocked key is as good as absent.
    moved = tensors[1].detach().clone()
    moved[:, :, blocked[3]] += 10.0
    again = attend(tensors[0], moved, tensors[2], bias, blocked)
    torch.testing.assert_close(again[:, :, 3], got[0][:, :, 3])


@pytest.mark.parametrize("kind", ["none", "global"])
def test_a_mask_without_windows(kind):
    torch.manual_seed(6)
    tensors = leaves(2, 2, 9, 50, 8)
    blocked = torch.rand(9, 50) < 0.5
    blocked[4] = True
    bias = GlobalBias(value=torch.randn(2, 9, 2), lidar_keys=20) if kind == "global" else None
    wanted = attend_dense(*tensors, bias, blocked)
    torch.testing.assert_close(attend(*tensors, bias, blocked), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("lidar_keys", [0, 17, 50])
@pytest.mark.parametrize("strength", [1.0, 10.0])
def test_a_global_bias_is_exact(lidar_keys, strength):
    torch.manual_seed(2)
    tensors = leaves(2, 3, 9, 50, 8)
    bias = GlobalBias(
        value=(torch.randn(2, 9, 2) * strength).requires_grad_(), lidar_keys=lidar_keys
    )
    got, wanted = results(attend, tensors, bias), results(attend_dense, tensors, bias)
    torch.testing.assert_close(got[0], wanted[0], atol=1e-6, rtol=1e-5)
    for name, one, other in zip(("query", "key", "value"), got[1], wanted[1], strict=False):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max(), name
    # Where all keys are one modality's the bias shifts all scores alike and has no gradient.
    torch.testing.assert_close(got[1][3], wanted[1][3], atol=1e-5, rtol=1e-5)
    assert (wanted[1][3].abs().max() > 1e-3) == (lidar_keys == 17)


def test_a_global_bias_by_hand():
    # Equal scores: e^b to 1 for each of 3 LiDAR keys against 1 camera key.
    zero = torch.zeros(1, 1, 4, 2)
    value = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]]).view(1, 1, 4, 2)
    bias = GlobalBias(value=torch.tensor([[[math.log(2.0), 0.0]]]), lidar_keys=3)
    got = attend(zero[:, :, :1], zero, value, bias)
    torch.testing.assert_close(got.flatten(), torch.tensor([6 / 7, 1 / 7]))


def test_misfits_are_named():
    torch.manual_seed(0)
    query, key, value = leaves(2, 3, 9, 50, 8)
    good = random_bias(2, 9, 50, 6, 1.0)
    check_fit(query, key, value, good, torch.zeros(9, 50, dtype=torch.bool))
    cases = [
        (random_bias(2, 8, 50, 6, 1.0), r"shape \(2, 8, 6\) does not fit 2 samples of 9 queries"),
        (random_bias(1, 9, 50, 6, 1.0), r"must begin with \(2, 9\)"),
        (GlobalBias(value=torch.zeros(2, 8, 2), lidar_keys=5), r"shape \(2, 8, 2\) does not fit"),
        (GlobalBias(value=torch.zeros(2, 9, 2), lidar_keys=51), "at most 50 LiDAR keys, not 2"),
        (random_bias(2, 9, 50, 6, 1.0).rows(slice(0, 0)), "does not fit"),
    ]  # fmt: skip
    for key_index, text in (
        (50, "names keys 0 to 50, but there are keys 0 to 49"),
        (-1, "keys -1 to"),
    ):
        index = torch.zeros_like(good.index)
        index[1, 2, 3] = key_index
        cases.append((dataclasses.replace(good, index=index), text))
    slotless = dict.fromkeys(("index", "valid", "value"))
    for name in slotless:
        slotless[name] = getattr(good, name)[..., :0]
    cases.append((LocalBias(**slotless), "at least one slot"))
    torn = dataclasses.replace(good)
    object.__setattr__(torn, "valid", good.valid[..., :5])
    cases.append((torn, r"must share a shape .*\(2, 9, 6\), \(2, 9, 5\), \(2, 9, 6\)"))
    for bias, text in cases:
        with pytest.raises(ValueError, match=text):
            attend(query, key, value, bias)
    with pytest.raises(
        ValueError, match=r"mask of shape \(1, 50\) does not fit 9 queries and 50 keys"
    ):
        check_fit(query, key, value, good, torch.zeros(1, 50, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"share a dtype, not torch.float32, torch.float64"):
        attend(query, key.double(), value, good)


def test_without_the_fused_kernel(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(fused, "_operator", lambda _name: None)
    monkeypatch.setattr(api, "_CHUNK_SCORES", 700)
    tensors, bias = leaves(2, 2, 9, 50, 8), random_bias(2, 9, 50, 6, 3.0)
    got, wanted = results(attend, tensors, bias), results(attend_dense, tensors, bias)
    assert_same(got, wanted, 1e-6, 1e-5)


@pytest.mark.parametrize("backend", ["auto", "windowed", "flex", "dense"])
def test_every_backend_gives_what_the_definition_gives(backend):
    torch.manual_seed(4)
    tensors, bias = leaves(2, 2, 9, 200, 8), random_bias(2, 9, 200, 6, 3.0)
    got = results(lambda *a: attend(*a, backend=backend), tensors, bias)
    assert_same(got, results(attend_dense, tensors, bias), 1e-6, 1e-5)


def test_a_backend_that_cannot_serve_gives_way_and_says_why_once(caplog, monkeypatch):
    api._say.cache_clear()
    torch.manual_seed(4)
    tensors, bias = leaves(2, 2, 9, 200, 8), random_bias(2, 9, 200, 6, 3.0)
    blocked = torch.zeros(9, 200, dtype=torch.bool)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            attend(*tensors, bias, backend="auto")
            attend(*tensors, bias, backend="dense")
            attend(*tensors, bias, backend="windowed")
        assert not caplog.messages
        for _ in range(2):
            attend(*tensors, bias, backend="flex")
            attend(*tensors, bias, blocked)
        monkeypatch.setattr(fused, "_operator", lambda _name: None)
        attend(*tensors, bias)
        attend(*tensors, bias, backend="flex")
    no_kernel = f"torch {torch.__version__} has no fused kernel for CPUs"
    no_backward = "tensors on cpu, where FlexAttention has no backward pass"
    assert caplog.messages == [
        f"attention backend flex cannot serve, windowed does: {no_backward}",
        "attention backend windowed cannot serve, dense does: a mask beside the bias",
        f"attention backend windowed cannot serve, dense does: {no_kernel}",
        f"attention backend flex cannot serve, dense does: {no_backward}",
    ]


def test_on_cuda_auto_is_flex():
    bias = random_bias(1, 9, 200, 6, 3.0)
    with FakeTensorMode():  # no CUDA needed to say where a tensor is
        query, key = (torch.empty(1, 2, n, 16, device="cuda") for n in (9, 200))
    layout = TokenLayout(
        bev_rows=10, bev_columns=14, bev_origin_m=(0.0, 0.0), bev_pitch_m=(1.0, 1.0), views=1,
        camera_rows=6, camera_columns=10, image_size_px=(96, 160),
    )  # fmt: skip
    places = locate_queries(torch.zeros(1, 9, 3), torch.eye(4)[None, None], layout)
    grid = gather_windows(places, layout, bev_size=1, camera_size=1, view_policy="first").grid

    def choice(wanted, bias):
        return api.choose(wanted, query, key, bias, None)

    placed = dataclasses.replace(bias, grid=grid)
    assert [choice(w, placed) for w in ("auto", "flex", "windowed", "dense")] == [
        "flex", "flex", "windowed", "dense",
    ]  # fmt: skip
    # Only where its name is typed: these kernels have run on no GPU.
    assert [choice(w, bias) for w in ("auto", "flex", "windowed")] == ["dense", "dense", "windowed"]
