import pytest
import torch

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


@pytest.mark.parametrize("near", [True, False])
def test_scores_start_at_a_tenth_and_offsets_where_asked(near):
    head = SeparateTaskHead(
        width=64, layers=2, branches=BRANCHES, hidden=32, start_at_reference=near
    )
    outputs = head(torch.randn(2, 1, 200, 64))
    assert head.get_submodule("cls_logits")[3].bias.sigmoid().mean().item() == pytest.approx(
        0.1, abs=0.01
    )
    assert (outputs["center"].std().item() < 0.1) is near
