import pytest
import torch

from aqr_exp.cmt.encodings import inverse_sigmoid
from aqr_exp.cmt.task_head import GroupLayerNorm1d, SeparateTaskHead

BRANCHES = {"center": 2, "cls_logits": 10}


def test_group_norm_is_a_layer_norm_per_group_with_a_small_eps():
    norm = GroupLayerNorm1d(12, groups=3)
    assert norm.eps == 1e-6
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    # Small numbers: a larger eps would show.
    x = torch.randn(2, 12, 5) * 1e-3
    got = norm(x)
    for group in range(3):
        rows = slice(4 * group, 4 * group + 4)
        wanted = torch.nn.functional.layer_norm(
            x[:, rows].transpose(1, 2), (4,), norm.weight[rows], norm.bias[rows], eps=1e-6
        ).transpose(1, 2)
        torch.testing.assert_close(got[:, rows], wanted, atol=1e-5, rtol=1e-4)


def test_each_layer_has_its_own_group():
    head = SeparateTaskHead(width=8, layers=3, branches=BRANCHES, hidden=4)
    decoded = torch.randn(3, 2, 5, 8)
    whole = head(decoded)
    assert {name: value.shape for name, value in whole.items()} == {
        "center": (3, 2, 5, 2),
        "cls_logits": (3, 2, 5, 10),
    }
    changed = decoded.clone()
    changed[1] += 1.0
    again = head(changed)
    for name, value in whole.items():
        assert torch.equal(value[[0, 2]], again[name][[0, 2]])
        assert not torch.allclose(value[1], again[name][1])


def test_outputs_equal_a_plain_network_of_each_layer():
    head = SeparateTaskHead(width=8, layers=2, branches=BRANCHES, hidden=4)
    decoded = torch.randn(2, 2, 5, 8)
    first, norm, _, last = head.get_submodule("center")
    for layer in range(2):
        rows, outs = slice(4 * layer, 4 * layer + 4), slice(2 * layer, 2 * layer + 2)
        hidden = decoded[layer] @ first.weight[rows, :, 0].T
        hidden = torch.nn.functional.layer_norm(
            hidden, (4,), norm.weight[rows], norm.bias[rows], 1e-6
        ).relu()
        wanted = hidden @ last.weight[outs, :, 0].T + last.bias[outs]
        torch.testing.assert_close(head(decoded)["center"][layer], wanted, atol=1e-5, rtol=1e-4)


def start_distances(start, heads):
    """Of some heads: first boxes from their reference points, m (all layers), and raw outputs by branch."""
    metres = torch.tensor([108.0, 108.0, 8.0])
    branches = {"center": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2, "cls_logits": 10}
    apart, outputs = [], []
    for seed in range(heads):
        torch.manual_seed(seed)
        head = SeparateTaskHead(width=256, layers=6, branches=branches, hidden=64, start=start)
        torch.manual_seed(100 + seed)
        reference = torch.rand(900, 3)
        with torch.no_grad():
            outputs.append(head(torch.randn(6, 1, 900, 256)))
        offset = torch.cat((outputs[-1]["center"], outputs[-1]["height"]), dim=-1)
        apart.append(((offset + inverse_sigmoid(reference)).sigmoid() - reference) * metres)
    raw = {name: torch.stack([one[name] for one in outputs]) for name in branches}
    return torch.stack(apart), raw


def test_boxes_start_as_far_from_their_references_as_published():
    """Of the running published heads, the same seeds: median 8.337 m, in BEV 8.316 m."""
    apart, raw = start_distances("torch", 16)
    assert apart.norm(dim=-1).median().item() == pytest.approx(8.0, rel=0.05)
    assert apart.norm(dim=-1).median().item() == pytest.approx(8.337, rel=1e-3)
    assert apart[..., :2].norm(dim=-1).median().item() == pytest.approx(8.316, rel=1e-3)
    assert raw["dim"].std().item() == pytest.approx(0.40, abs=0.01)
    assert raw["vel"].std().item() == pytest.approx(0.40, abs=0.01)
    assert raw["cls_logits"].mean().item() == pytest.approx(0.0, abs=0.05)


def test_the_larger_start_of_older_runs():
    """What the published class gives where its own initialisation is called, which nothing does."""
    apart, raw = start_distances("kaiming", 6)
    assert apart.norm(dim=-1).median().item() == pytest.approx(39.0, rel=0.05)
    assert raw["dim"].std().item() == pytest.approx(1.86, rel=0.05)
    assert raw["cls_logits"].mean().item() == pytest.approx(-2.19, abs=0.05)


@pytest.mark.parametrize("start", ["torch", "kaiming"])
def test_outputs_start_near_zero_where_asked(start):
    head = SeparateTaskHead(
        width=64, layers=2, branches=BRANCHES, hidden=32, start=start, start_at_reference=True
    )
    with torch.no_grad():
        outputs = head(torch.randn(2, 1, 200, 64))
    assert outputs["center"].std().item() < 0.1
    score = outputs["cls_logits"].sigmoid().mean().item()
    assert score == pytest.approx(0.1 if start == "kaiming" else 0.5, abs=0.02)
