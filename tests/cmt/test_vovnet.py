import pytest
import torch
from torch.nn import functional

from aqr_exp.cmt.image_branch import STAGE_CHANNELS, VoVNet99


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return VoVNet99(out_stages=(2, 3))


def test_names_and_shapes_are_the_published_ones(backbone):
    """Worked out by hand from the papers' table: stem, then 1, 3, 9 and 3 blocks of five layers."""
    shapes = {name: tuple(value.shape) for name, value in backbone.state_dict().items()}
    assert shapes["stem.stem_1/conv.weight"] == (64, 3, 3, 3)
    assert shapes["stem.stem_3/norm.running_var"] == (128,)
    assert shapes["stage2.OSA2_1.layers.0.OSA2_1_0/conv.weight"] == (128, 128, 3, 3)
    assert shapes["stage2.OSA2_1.concat.OSA2_1_concat/conv.weight"] == (256, 128 + 5 * 128, 1, 1)
    assert shapes["stage3.OSA3_3.layers.0.OSA3_3_0/conv.weight"] == (160, 512, 3, 3)
    assert shapes["stage4.OSA4_9.ese.fc.bias"] == (768,)
    assert shapes["stage5.OSA5_1.layers.0.OSA5_1_0/conv.weight"] == (224, 768, 3, 3)
    assert shapes["stage5.OSA5_3.concat.OSA5_3_concat/norm.bias"] == (1024,)
    # Convolution and norm are 6 entries each, the gate 2: 3 in the stem, 6 and a gate in 16 blocks.
    assert len(shapes) == 3 * 6 + 16 * (6 * 6 + 2)
    assert not any("Pooling" in name for name in shapes)


def test_maps_have_the_stages_sizes(backbone):
    """The poolings round up: 50 -> 25 at stride 8, 13 at 16, 7 at 32 where floors give 12 and 6."""
    with torch.no_grad():
        fine, coarse = backbone.eval()(torch.randn(1, 3, 64, 200))
    assert fine.shape == (1, STAGE_CHANNELS[2], 4, 12)
    assert coarse.shape == (1, STAGE_CHANNELS[3], 2, 6)


def test_a_block_is_its_formula(backbone):
    block = backbone.stage4.OSA4_2.eval()
    features = torch.randn(1, 768, 5, 7)
    with torch.no_grad():
        found = block(features)
        outputs = [features]
        for index in range(5):
            conv = getattr(block.layers[index], f"OSA4_2_{index}/conv")
            norm = getattr(block.layers[index], f"OSA4_2_{index}/norm")
            outputs.append(functional.relu(norm(conv(outputs[-1]))))
        conv, norm, _ = block.concat
        mixed = functional.relu(norm(conv(torch.cat(outputs, dim=1))))
        gate = (block.ese.fc(mixed.mean((2, 3), keepdim=True)) + 3).clamp(0, 6) / 6
    torch.testing.assert_close(found, mixed * gate + features)


def test_only_later_blocks_of_a_stage_are_residual(backbone):
    residual = {
        name: module.residual
        for name, module in backbone.named_modules()
        if "_" in name[-3:-1] and hasattr(module, "residual")
    }
    assert len(residual) == 16
    assert {name for name, value in residual.items() if not value} == {
        f"stage{number}.OSA{number}_1" for number in (2, 3, 4, 5)
    }


def test_norms_keep_their_statistics_and_frozen_parts_stay_frozen():
    backbone = VoVNet99(out_stages=(2,), frozen_stages=1).train()
    assert not any(
        p.requires_grad
        for part in ("stem", "stage2")
        for p in backbone.get_submodule(part).parameters()
    )
    assert all(p.requires_grad for p in backbone.stage3.parameters())
    norms = [m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 3 + 16 * 6
    assert not any(norm.training for norm in norms)
    assert not backbone.stage2.training
    assert backbone.stage3.training
    free = VoVNet99(out_stages=(2,), norm_eval=False).train()
    assert all(m.training for m in free.modules())


def test_recomputing_changes_no_gradient(backbone):
    images = torch.randn(1, 3, 32, 64)
    gradients = []
    for checkpointing in (False, True):
        backbone.checkpointing = checkpointing
        backbone.train().zero_grad()
        backbone(images)[-1].square().mean().backward()
        gradients.append(backbone.stage3.OSA3_1.ese.fc.weight.grad.clone())
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0
