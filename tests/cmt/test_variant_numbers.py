"""Numbers of the shipped variants, recorded before their modules were written against public hooks.

`numbers.json` beside this file holds losses, the norm of all gradients, and sums of evaluation's outputs.
"""

import json
from pathlib import Path

import pytest
import torch

RECORDED = json.loads(Path(__file__).with_name("numbers.json").read_text())
SMALL = ("model.head.layers=3", "model.head.queries=40", "schedule.amp_parts=all")
CASES = {
    "baseline": ("baseline", ()),
    "attention_bias": ("attention_bias", ()),
    "attention_bias by light, gaussian, recentred": (
        "attention_bias",
        (
            "variant.bias.scale.sharing=light", "variant.bias.gaussian=true",
            "variant.bias.recenter=true", "variant.router.auxiliary_loss=0.3",
        ),
    ),
    "attention_bias of all keys": (
        "attention_bias",
        ("variant.bias.local=false", "variant.bias.scale.constraint=l2"),
    ),
    "renderer_modulator": ("renderer_modulator", ("variant.router.auxiliary_loss=0.2",)),
    "renderer_modulator of width 64": (
        "renderer_modulator",
        ("model.head.width=64", "model.head.heads=4", "variant.modulator.mode=adaptive"),
    ),
}  # fmt: skip


def measured(detector, batch, *, amp):
    """Losses and gradients of a training pass, and outputs of evaluation."""
    inputs, samples = batch
    for sample, dropped in zip(samples, (None, "camera"), strict=True):
        sample.set_metainfo({"modal_dropout": dropped})
    module = detector.pts_bbox_head.aqr
    if module is not None:
        with torch.no_grad():
            weight = module.router.output.weight
            weight.copy_(torch.tensor([[-0.2], [0.2]]).expand_as(weight))
            module.router.output.bias.copy_(torch.tensor([0.4, -0.3]))
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        losses = detector.train().loss(inputs, samples)
    sum(losses.values()).backward()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=amp):
        outputs = detector.eval()._forward(inputs, samples)
    squares = [p.grad.square().sum() for p in detector.parameters() if p.grad is not None]
    return {
        **{name: value.item() for name, value in losses.items()},
        "gradient": torch.stack(squares).sum().sqrt().item(),
        **{f"out_{name}": value.abs().mean().item() for name, value in sorted(outputs.items())},
    }


@pytest.mark.parametrize("amp", [False, True], ids=["single", "bf16"])
@pytest.mark.parametrize("case", CASES)
def test_a_shipped_variant_computes_what_it_did(make_detector, make_batch, case, amp):
    variant, overrides = CASES[case]
    detector = make_detector(variant=variant, overrides=(*SMALL, *overrides))
    found = measured(detector, make_batch(points=300), amp=amp)
    wanted = RECORDED[f"{case}, {'bf16' if amp else 'single'}"]
    # Last digits are the processor's; steps of half precision are a hundred times larger.
    assert found == pytest.approx(wanted, rel=0.02 if amp else 1e-4, abs=1e-6)
