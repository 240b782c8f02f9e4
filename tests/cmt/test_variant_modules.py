"""The variants' modules in the head: what they leave alone, where they act, and their gradients."""

import pytest
import torch

from aqr_exp.aqr.bias import LocalBias
from aqr_exp.cmt.variant_module import VariantRecord
from aqr_exp.errors import RunFailedError

BOXES = ("center", "height", "dim", "rot", "vel", "cls_logits")


@pytest.fixture
def maps():
    return torch.randn(2, 64, 36, 36), torch.randn(12, 128, 6, 16)


def metas_of(samples, **more):
    return [
        {key: s.metainfo[key] for key in ("lidar2img", "pad_shape")}
        | {
            "gt_bboxes_3d": s.gt_instances_3d.bboxes_3d,
            "gt_labels_3d": s.gt_instances_3d.labels_3d,
        }
        | more
        for s in samples
    ]


def outputs_of(detector, maps, metas):
    """Raw outputs of evaluation."""
    with torch.no_grad():
        return detector.pts_bbox_head.eval()(*maps, metas)


def push(head, amount=0.7):
    """Weights away from their start: every query prefers the LiDAR."""
    for parameter in head.aqr.router.parameters():
        assert parameter.requires_grad
    with torch.no_grad():
        head.aqr.router.output.bias.copy_(torch.tensor([amount, -amount]))


@pytest.fixture
def biased(make_detector):
    return make_detector(variant="attention_bias")


def test_the_router_at_its_start_is_the_baseline(make_detector, biased, maps, make_batch):
    metas = metas_of(make_batch(points=1)[1])
    wanted = outputs_of(make_detector(), maps, metas)
    got = outputs_of(biased, maps, metas)
    for name in BOXES:
        torch.testing.assert_close(got[name], wanted[name], atol=1e-6, rtol=1e-6)


def test_scale_zero_is_the_baseline_whatever_the_weights(make_detector, maps, make_batch):
    metas = metas_of(make_batch(points=1)[1])
    still = make_detector(
        variant="attention_bias", overrides=["bias_scale=0", "learnable_scale=false"]
    )
    push(still.pts_bbox_head)
    wanted = outputs_of(make_detector(), maps, metas)
    got = outputs_of(still, maps, metas)
    assert got["aqr_weights"].std() > 0.1
    for name in BOXES:
        torch.testing.assert_close(got[name], wanted[name], atol=1e-6, rtol=1e-6)


def test_residual_one_is_the_baseline(make_detector, maps, make_batch):
    metas = metas_of(make_batch(points=1)[1])
    still = make_detector(
        variant="renderer_modulator", overrides=["variant.modulator.residual=1.0"]
    )
    wanted = outputs_of(make_detector(), maps, metas)
    got = outputs_of(still, maps, metas)
    for name in BOXES:
        torch.testing.assert_close(got[name], wanted[name], atol=1e-6, rtol=1e-6)


def test_every_variant_starts_from_the_baseline_s_parameters(make_detector, biased):
    baseline = make_detector().state_dict()
    for detector in (biased, make_detector(variant="renderer_modulator")):
        state = detector.state_dict()
        assert set(baseline) < set(state)
        new = set(state) - set(baseline)
        assert all(name.startswith("pts_bbox_head.aqr.") for name in new)
        for name, value in baseline.items():
            assert torch.equal(state[name], value), name


def test_weights_reach_every_cross_attention_and_no_self_attention(biased, maps, make_batch):
    """Each layer's cross-attention, given what it was given, answers otherwise than unbiased."""
    head = biased.pts_bbox_head.eval()
    push(head)
    calls, unbiased = [], []
    for layer in head.transformer.decoder["layers"]:
        layer.attentions[0].attn.register_forward_hook(
            lambda _mod, _args, kwargs, _out: unbiased.append(kwargs["bias"]), with_kwargs=True
        )
    for module in head.transformer.cross_attentions:
        module.register_forward_hook(
            lambda mod, args, kwargs, out: calls.append((mod, args, kwargs, out)), with_kwargs=True
        )
    metas = metas_of(make_batch(points=1)[1])
    with torch.no_grad():
        head(*maps, metas)
        assert len(calls) == 2
        assert unbiased == [None, None]
        for module, args, kwargs, out in calls:
            assert isinstance(kwargs["bias"], LocalBias)
            assert (kwargs["bias"].value != 0).any()
            assert (module.forward(*args) - out).abs().max() > 1e-4


def test_a_bias_of_another_number_of_queries_is_refused(biased, maps, make_batch):
    head = biased.pts_bbox_head.eval()
    whole = head.aqr.bias_for_layer

    def short(context, recentre):
        source = whole(context, recentre)
        return lambda layer, previous: source(layer, previous).rows(slice(0, 7))

    head.aqr.bias_for_layer = short
    with pytest.raises(RunFailedError, match=r"shape \[2, 300, \d+\], not \[2, 7, \d+\]"):
        head(*maps, metas_of(make_batch(points=1)[1]))


@pytest.mark.parametrize("variant", ["attention_bias", "renderer_modulator"])
def test_the_detection_loss_reaches_router_scale_and_features(
    make_detector, variant, maps, make_batch
):
    head = make_detector(variant=variant).pts_bbox_head.train()
    with torch.no_grad():
        head.aqr.router.output.weight.normal_(std=0.1)
        head.aqr.router.output.bias.copy_(torch.tensor([0.4, -0.4]))
    metas = metas_of(make_batch()[1])
    sum(head.loss(head(*maps, metas), metas).values()).backward()
    silent = [
        name
        for name, parameter in head.aqr.named_parameters()
        if parameter.grad is None or parameter.grad.abs().sum() == 0
    ]
    assert silent == []


@pytest.mark.parametrize(("on", "lidar_acts", "camera_acts"), [("lidar", 1, 0), ("camera", 0, 1)])
def test_a_switched_off_modality_keeps_its_features(
    make_detector, maps, make_batch, on, lidar_acts, camera_acts
):
    head = make_detector(
        variant="renderer_modulator", overrides=[f"variant.router.modalities={on}"]
    ).pts_bbox_head.eval()
    calls = []
    head.aqr.bev_modulator.register_forward_hook(lambda *_: calls.append("lidar"))
    head.aqr.camera_modulator.register_forward_hook(lambda *_: calls.append("camera"))
    with torch.no_grad():
        head(*maps, metas_of(make_batch(points=1)[1]))
    assert calls == ["lidar"] * lidar_acts + ["camera"] * camera_acts


def test_denoising_queries_get_weights_but_render_nothing(make_detector, maps, make_batch):
    head = make_detector(variant="renderer_modulator").pts_bbox_head.train()
    seen = []
    head.aqr.renderer.register_forward_hook(lambda _mod, args, _out: seen.append(args[0].shape[1]))
    metas = metas_of(make_batch(boxes=(3, 5))[1])
    task = head(*maps, metas)
    assert task["denoising"].slots == 15
    assert seen == [300]
    assert task["aqr_weights"].shape == (2, 300, 2)


def test_recentred_windows_follow_the_previous_layer_s_boxes(make_detector, maps, make_batch):
    head = make_detector(
        variant="attention_bias", overrides=["variant.bias.recenter=true"]
    ).pts_bbox_head.eval()
    head.aqr.record = record = VariantRecord()
    metas = metas_of(make_batch(points=1)[1])
    with torch.no_grad():
        task = head(*maps, metas)
    first, second = record.windows
    # The centre slot of an even window of 8: offsets -3 to 4, so slot 3 * 8 + 3.
    middle = 3 * 8 + 3
    # 36 x 36 cells of 3 m from -54 m.
    cells = ((task["center"][0] + 54.0) / 3.0).floor().long()
    wanted = cells[..., 1] * 36 + cells[..., 0]
    valid = second.valid[..., middle]
    assert valid.float().mean() > 0.9
    assert torch.equal(second.index[..., middle][valid], wanted[valid])
    assert not torch.equal(first.index[..., middle], second.index[..., middle])


def test_the_record_holds_what_was_worth_watching(biased, maps, make_batch):
    head = biased.pts_bbox_head.train()
    push(head)
    record = VariantRecord()
    head.observe(record)
    metas = metas_of(make_batch(boxes=(3, 5))[1])
    head(*maps, metas)
    scalars = record.scalars()
    assert record.first_query == 15
    assert len(record.attention) == 2
    lean = torch.tensor(0.7).tanh().item()
    assert scalars["weight_lidar_mean"] == pytest.approx(lean, abs=1e-5)
    assert scalars["weight_camera_mean"] == pytest.approx(-lean, abs=1e-5)
    assert scalars["prefers_lidar"] == 1.0
    assert scalars["bias_lidar_max"] == pytest.approx(2.5 * lean, abs=1e-4)
    assert scalars["bias_camera_min"] == pytest.approx(-2.5 * lean, abs=1e-4)
    assert scalars["mass_in_window"] != scalars["mass_in_window_unbiased"]
    assert 0 < scalars["attention_change"] < 2


def test_the_sample_level_loss_needs_to_know_what_was_dropped(make_detector, maps, make_batch):
    head = make_detector(
        variant="attention_bias", overrides=["variant.router.auxiliary_loss=0.5"]
    ).pts_bbox_head.train()
    samples = make_batch()[1]
    blind = metas_of(samples)
    with pytest.raises(
        RunFailedError, match=r"module.py:\d+: losses: .*needs `modal_dropout` in the metas"
    ):
        head.loss(head(*maps, blind), blind)
    metas = metas_of(samples, modal_dropout="lidar")
    losses = head.loss(head(*maps, metas), metas)
    assert losses["loss_sample_level"] > 0


def test_an_l2_constraint_adds_its_penalty(make_detector, maps, make_batch):
    head = make_detector(
        variant="attention_bias", overrides=["variant.bias.scale.constraint=l2"]
    ).pts_bbox_head.train()
    with torch.no_grad():
        head.aqr.scale.raw.fill_(4.5)
    metas = metas_of(make_batch()[1])
    # A hundredth of the squared distance of 4.5 from its start, 2.5.
    assert head.loss(head(*maps, metas), metas)["loss_scale"].item() == pytest.approx(0.04)
