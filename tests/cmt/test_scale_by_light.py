"""A scale of the bias by the light of the images: as seen by the whole detector."""

import pytest
import torch

from aqr_exp.cmt.variant_module import VariantRecord
from aqr_exp.config.load import load_run
from aqr_exp.errors import RequestError

LIGHT = "variant.bias.scale.sharing=light"
# As conf/model/cmt_base.yaml normalises them, (B, G, R).
MEAN = torch.tensor([103.530, 116.280, 123.675])
STD = torch.tensor([57.375, 57.120, 58.395])


def filled(shares):
    """Normalised images of one grey each, as shares of the mean that they are normalised by."""
    grey = (torch.tensor(shares)[:, None] * MEAN - MEAN) / STD
    return grey[:, None, :, None, None].expand(-1, 6, -1, 96, 256).clone()


@pytest.fixture
def case(make_detector, make_batch):
    """A detector whose weights are 0.5 and -0.5, and a night, a dusk and a day."""
    detector = make_detector(variant="attention_bias", overrides=[LIGHT])
    with torch.no_grad():
        detector.pts_bbox_head.aqr.router.output.bias.copy_(torch.tensor([0.5493061, -0.5493061]))
    inputs, samples = make_batch(boxes=(2, 3, 4))
    return detector, {**inputs, "imgs": filled([0.0, 0.25, 1.5])}, samples


def test_darkness_and_light_have_their_own_scales(case):
    detector, inputs, samples = case
    head = detector.eval().pts_bbox_head
    head.aqr.scale.raw.data.copy_(torch.tensor([1.0, 3.0]))
    head.aqr.record = record = VariantRecord()
    with torch.no_grad():
        detector._forward(inputs, samples)
    for bias in record.biases:
        for sample, scale in enumerate([1.0, 1.5, 3.0]):  # light of 0, .25, and no more than 1
            lidar = bias.value[sample, :, :64][bias.valid[sample, :, :64]]
            torch.testing.assert_close(lidar, torch.full_like(lidar, 0.5 * scale))
            camera = bias.value[sample, :, 64:][bias.valid[sample, :, 64:]]
            torch.testing.assert_close(camera, torch.full_like(camera, -0.5 * scale))


def test_both_scales_learn_and_equal_ones_are_one(case, make_detector):
    detector, inputs, samples = case
    one = make_detector(variant="attention_bias")
    state = {n: v for n, v in detector.state_dict().items() if not n.endswith("scale.raw")}
    one.load_state_dict(state, strict=False)
    losses = []
    for each in (detector.train(), one.train()):
        torch.manual_seed(3)
        losses.append(each.loss(inputs, samples))
    assert {n: v.item() for n, v in losses[0].items()} == {
        n: v.item() for n, v in losses[1].items()
    }
    sum(losses[0].values()).backward()
    assert detector.pts_bbox_head.aqr.scale.raw.grad.abs().min() > 0


def test_other_scales_do_not_look_at_the_images(make_detector):
    assert make_detector(variant="attention_bias").pts_bbox_head.aqr.reads_colour is False
    assert make_detector(variant="renderer_modulator").pts_bbox_head.aqr.reads_colour is False


def test_light_needs_a_normalisation_to_be_measured_by():
    with pytest.raises(RequestError) as caught:
        load_run("attention_bias", [LIGHT, "model.image.mean=[0,116,123]"])
    assert str(caught.value) == (
        "model.image.mean=[0.0, 116.0, 123.0]: must be positive: "
        "variant.bias.scale.sharing=light measures light by it"
    )
    assert load_run("attention_bias", ["model.image.mean=[0,116,123]"])
    with pytest.raises(RequestError, match=r"one of one, modality, layer, light: did you mean 'li"):
        load_run("attention_bias", ["variant.bias.scale.sharing=ligth"])
