"""No variant, as it trains by default, ever makes a tensor of queries x keys."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from aqr_exp.cmt.variant_module import VariantRecord


class Shapes(TorchDispatchMode):
    """Remembers the shape of everything that any operation returned, forward and backward."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.seen.add(tuple(tensor.shape))
        return result


def step(make_detector, make_batch, variant, *overrides, watched=False):
    """Shapes of one training step; and its queries, denoising ones included, and keys."""
    detector = make_detector(variant=variant, overrides=overrides).train()
    head = detector.pts_bbox_head
    if watched:
        head.observe(VariantRecord())
    sizes = {}
    head.transformer.register_forward_hook(
        lambda _m, args, _o: sizes.update(queries=args[2].shape[1], keys=args[0].shape[1])
    )
    inputs, samples = make_batch(boxes=(3, 5))
    with Shapes() as shapes:
        losses = detector.loss(inputs, samples)
        sum(loss for name, loss in losses.items() if "loss" in name).backward()
    return shapes.seen, sizes["queries"], sizes["keys"]


def pairs(seen, queries, keys):
    """Shapes that pair queries with keys."""
    return {shape for shape in seen if queries in shape and keys in shape}


@pytest.mark.parametrize(
    ("variant", "watched"),
    [
        ("baseline", False),
        ("attention_bias", False),
        ("attention_bias", True),
        ("renderer_modulator", False),
    ],
)
def test_no_default_path_makes_the_matrix(make_detector, make_batch, variant, watched):
    seen, queries, keys = step(make_detector, make_batch, variant, watched=watched)
    assert queries == 300 + 15
    assert (2, queries, 128) in seen
    assert any(keys in shape for shape in seen)
    assert not pairs(seen, queries, keys)
    assert max(torch.Size(shape).numel() for shape in pairs(seen, queries, queries)) >= queries**2


def test_the_reference_does(make_detector, make_batch):
    overrides = ("variant.bias.attention=dense",)
    seen, queries, keys = step(make_detector, make_batch, "attention_bias", *overrides)
    assert (2, queries, keys) in pairs(seen, queries, keys)
