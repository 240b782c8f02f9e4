"""Steps whose samples are trained in parts: the gradients of the parts add up to the whole step's."""

import pytest
import torch
from mmengine.optim import OptimWrapper

from aqr_exp.cmt.detector import step_parts
from aqr_exp.cmt.variant_module import VariantRecord

# Whatever draws, mixes samples, or is normalised over maps is off.
PLAIN = (
    "model.head.dropout=0",
    "model.image.grid_mask=false",
    "model.head.denoising.noise_scale=0",
    "model.head.dense_supervision=0",
)
BOXES = (3, 0)


def collated(make_batch, boxes=BOXES):
    inputs, samples = make_batch(boxes, points=400)
    for sample in samples:
        sample.set_metainfo({"modal_dropout": ""})
    return {"inputs": inputs, "data_samples": samples}


def gradients(detector, data, *, norms_fixed=True, seed=0):
    """Losses and gradients of one step, which an optimiser that does nothing has made."""
    detector.train()
    if norms_fixed:
        for module in detector.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()
    found = {}

    class Kept(torch.optim.SGD):
        def step(self, closure=None):
            del closure
            assert not found, "one step of the optimiser"
            found.update(
                {n: p.grad.clone() for n, p in detector.named_parameters() if p.grad is not None}
            )

    torch.manual_seed(seed)
    wrapper = OptimWrapper(Kept(detector.parameters(), lr=0.0))
    logs = detector.train_step(data, wrapper)
    assert all(p.grad is None for p in detector.parameters())
    return {name: float(value.detach()) for name, value in logs.items()}, found


def apart(one, other):
    """The largest difference of two sets of gradients, relative to the largest gradient."""
    assert one.keys() == other.keys()
    top = max(float(value.abs().max()) for value in one.values())
    return max(float((one[name] - other[name]).abs().max()) for name in one) / top


def test_parts_know_the_boxes_of_the_step(make_batch):
    boxes = (3, 0, 5, 1)
    parts = list(step_parts(collated(make_batch, boxes), 2))
    assert [len(part["data_samples"]) for part in parts] == [2, 2]
    assert [len(part["inputs"]["points"]) for part in parts] == [2, 2]
    assert [tuple(part["inputs"]["imgs"].shape[:1]) for part in parts] == [(2,), (2,)]
    assert {s.metainfo["step_boxes"] for part in parts for s in part["data_samples"]} == {boxes}


SMALL = ("model.head.layers=2", "model.head.queries=40")


def test_where_nothing_depends_on_the_batch_the_parts_are_the_whole(make_detector, make_batch):
    """To float order: losses and denoising groups are those of the whole step's boxes."""
    detector = make_detector(variant="attention_bias", overrides=(*PLAIN, *SMALL))
    module, data = detector.pts_bbox_head.aqr, collated(make_batch)
    results = []
    for accumulate in (1, 2):
        detector.accumulate = accumulate
        detector.pts_bbox_head.observe(record := VariantRecord())
        results.append((*gradients(detector, data), record.scalars()))
        assert module.record.weights.shape[0] == 2
    detector.pts_bbox_head.observe(None)
    (losses, whole, watched), (in_parts, found, watched_in_parts) = results
    assert in_parts == pytest.approx(losses, rel=1e-5)
    assert apart(whole, found) < 1e-5
    assert watched_in_parts == pytest.approx(watched, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("overrides", "norms_fixed", "differs"),
    [
        # Statistics of a batch norm are a part's.
        (PLAIN, False, "gradients"),
        # Each part draws the noise of its own boxes.
        (tuple(o for o in PLAIN if "noise_scale" not in o), True, "dn_loss_cls"),
        # Objects on the maps are counted in a part.
        (tuple(o for o in PLAIN if "dense" not in o), True, "loss_dense_bev"),
    ],
    ids=["batch norms", "noise", "dense supervision"],
)
def test_what_depends_on_the_batch_differs(
    make_detector, make_batch, overrides, norms_fixed, differs
):
    detector = make_detector(overrides=(*overrides, *SMALL))
    data = collated(make_batch, (3, 2))
    losses, whole = gradients(detector, data, norms_fixed=norms_fixed)
    detector.accumulate = 2
    in_parts, found = gradients(detector, data, norms_fixed=norms_fixed)
    assert apart(whole, found) > 1e-4
    if differs in losses:
        assert in_parts[differs] != pytest.approx(losses[differs], rel=1e-5)
        assert in_parts["loss_bbox"] == pytest.approx(losses["loss_bbox"], rel=1e-5)
