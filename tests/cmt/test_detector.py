import math

import pytest
import torch

LOSSES = {
    f"{layer}{kind}loss_{part}"
    for layer in ("", "d0.")
    for kind in ("", "dn_")
    for part in ("cls", "bbox")
} | {"loss_dense_bev", "loss_dense_offset", "loss_dense_camera"}
MATCHED = {name for name in LOSSES if "dn_" not in name}


def total(losses):
    return sum(losses.values())


def test_every_parameter_gets_a_gradient(tiny, make_batch):
    inputs, samples = make_batch()
    # ResNet starts its residual branches at zero, behind which no gradient reaches.
    for name, parameter in tiny.img_backbone.named_parameters():
        if name.endswith("bn2.weight"):
            torch.nn.init.ones_(parameter)
    losses = tiny.loss(inputs, samples)
    assert set(losses) == LOSSES
    assert all(loss.dtype == torch.float32 and loss.dim() == 0 for loss in losses.values())
    total(losses).backward()
    without = [
        name
        for name, parameter in tiny.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    # Queries start without content: the first self-attention has nothing to mix, as in DETR.
    first = "pts_bbox_head.transformer.decoder.layers.0."
    assert set(without) == {
        first + "attentions.0.attn.in_proj_weight",
        first + "attentions.0.attn.out_proj.weight",
        first + "norms.0.weight",
    }
    assert len(list(tiny.parameters())) > 100


def test_equal_seeds_give_equal_losses_bit_for_bit(make_detector, make_batch):
    def two_steps(seed):
        detector = make_detector(seed=seed)
        optimizer = torch.optim.SGD(detector.parameters(), lr=1e-3)
        values = []
        for step in range(2):
            losses = detector.loss(*make_batch(seed=step))
            optimizer.zero_grad()
            total(losses).backward()
            optimizer.step()
            values.append({name: loss.item() for name, loss in losses.items()})
        return values

    assert two_steps(1) == two_steps(1)
    assert two_steps(1) != two_steps(2)


def test_predictions_are_boxes_of_the_asked_type(tiny, make_batch):
    inputs, samples = make_batch()
    tiny.eval()
    with torch.no_grad():
        found = tiny(inputs, samples, mode="predict")
    assert found[0] is samples[0]
    for sample in found:
        instances = sample.pred_instances_3d
        assert isinstance(instances.bboxes_3d, sample.metainfo["box_type_3d"])
        assert instances.bboxes_3d.tensor.shape == (len(instances.scores_3d), 9)
        assert 0 < len(instances.scores_3d) <= 200
        assert instances.scores_3d.dtype == torch.float32
        assert (instances.scores_3d.diff() <= 0).all()
        assert instances.labels_3d.min() >= 0
        assert instances.labels_3d.max() < 10


def test_evaluation_does_not_depend_on_the_rest_of_the_batch(tiny, make_batch):
    inputs, samples = make_batch(boxes=(1, 1, 1))
    tiny.eval()
    with torch.no_grad():
        together = tiny(inputs, samples, mode="tensor")
        alone = {"points": inputs["points"][1:2], "imgs": inputs["imgs"][1:2]}
        single = tiny(alone, samples[1:2], mode="tensor")
    for name, value in single.items():
        torch.testing.assert_close(value, together[name][:, 1:2], atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("cloud", [torch.zeros(0, 5), torch.zeros(500, 5)], ids=["empty", "origin"])
@pytest.mark.parametrize("which", [[0], [0, 1]], ids=["one", "all"])
def test_clouds_without_information(tiny, make_batch, cloud, which):
    inputs, samples = make_batch()
    for index in which:
        inputs["points"][index] = cloud
    losses = tiny.loss(inputs, samples)
    total(losses).backward()
    assert math.isfinite(total(losses).item())
    # Every parameter takes part, so that distributed training does not wait for a missing one.
    assert all(parameter.grad is not None for parameter in tiny.parameters())
    tiny.eval()
    with torch.no_grad():
        found = tiny.predict(inputs, samples)
    assert all(torch.isfinite(sample.pred_instances_3d.bboxes_3d.tensor).all() for sample in found)


def test_a_single_point_trains(tiny, make_batch):
    inputs, samples = make_batch(boxes=(2,))
    inputs["points"] = [torch.tensor([[5.0, 1.0, 0.0, 10.0, 0.0]])]
    assert math.isfinite(total(tiny.loss(inputs, samples)).item())


@pytest.mark.parametrize("boxes", [(0, 0), (0, 3), (1,)])
def test_few_or_no_ground_truth_boxes(tiny, make_batch, boxes):
    losses = tiny.loss(*make_batch(boxes=boxes))
    total(losses).backward()
    assert set(losses) == (LOSSES if any(boxes) else MATCHED)
    assert math.isfinite(total(losses).item())


def test_more_boxes_than_queries(make_detector, make_batch):
    detector = make_detector(overrides=["model.head.queries=8"])
    losses = detector.loss(*make_batch(boxes=(20,)))
    assert math.isfinite(total(losses).item())


def test_unknown_velocity_leaves_every_other_term_as_it_was(make_detector, make_batch):
    def losses(velocity):
        inputs, samples = make_batch()
        samples[0].gt_instances_3d.bboxes_3d.tensor[:, 7:] = velocity
        detector = make_detector(overrides=[f"model.head.code_weights={weights}"])
        torch.manual_seed(7)
        return detector.loss(inputs, samples)

    weights = "[2.0,2.0,1.0,1.0,1.0,1.0,1.0,1.0,0.0,0.0]"  # no weight on velocity
    known, unknown = losses(1.0), losses(math.nan)
    assert {name: loss.item() for name, loss in known.items()} == {
        name: loss.item() for name, loss in unknown.items()
    }
    weights = "[2.0,2.0,1.0,1.0,1.0,1.0,1.0,1.0,0.2,0.2]"
    assert math.isfinite(total(losses(math.nan)).item())
    assert total(losses(math.nan)) < total(losses(30.0))


def test_missing_geometry_is_named(tiny, make_batch):
    inputs, samples = make_batch(boxes=(1,))
    del samples[0].lidar2img
    with pytest.raises(KeyError, match="a data sample lacks lidar2img in its metainfo"):
        tiny.predict(inputs, samples)


def test_training_step_through_mmengine(tiny, make_batch):
    from mmengine.optim import OptimWrapper

    inputs, samples = make_batch()
    before = tiny.pts_bbox_head.reference_points.weight.detach().clone()
    wrapper = OptimWrapper(torch.optim.AdamW(tiny.parameters(), lr=1e-3))
    batch = {
        "inputs": {"points": inputs["points"], "img": list(inputs["imgs"])},
        "data_samples": samples,
    }
    logged = tiny.train_step(batch, wrapper)
    assert set(logged) == LOSSES | {"loss"}
    summed = sum(logged[name].item() for name in LOSSES)
    assert logged["loss"].item() == pytest.approx(summed, rel=1e-5)
    assert not torch.equal(before, tiny.pts_bbox_head.reference_points.weight)


def test_blanked_images_and_points_change_the_outputs(tiny, make_batch):
    inputs, samples = make_batch()
    tiny.eval()
    with torch.no_grad():
        whole = tiny(inputs, samples, mode="tensor")["cls_logits"]
        no_images = tiny(inputs | {"imgs": inputs["imgs"] * 0}, samples, mode="tensor")
        no_points = tiny(inputs | {"points": [torch.zeros(0, 5)] * 2}, samples, mode="tensor")
    assert not torch.allclose(whole, no_images["cls_logits"])
    assert not torch.allclose(whole, no_points["cls_logits"])


def precisions(detector, batch, monkeypatch):
    """The dtypes that parts of a detector compute in under autocast, by name."""
    from aqr_exp.cmt import attention

    head, seen = detector.pts_bbox_head, {}
    layer = head.transformer.decoder["layers"][0]
    parts = {
        "LiDAR backbone": detector.pts_backbone, "LiDAR neck": detector.pts_neck,
        "image neck": detector.img_neck, "shared convolution": head.shared_conv,
        "self-attention": layer.attentions[0].attn.out_proj,
        "cross-attention": layer.attentions[1].attn.out_proj, "FFN": layer.ffns[0].layers,
    }  # fmt: skip
    for name, part in parts.items():

        def note(_, __, output, name=name):
            seen[name] = (output[0] if isinstance(output, list | tuple) else output).dtype

        part.register_forward_hook(note)
    plain = attention.attend

    def attend(query, key, value, *rest, **named):
        which = "core among queries" if query.shape == key.shape else "core to tokens"
        seen[which] = query.dtype
        assert key.dtype == value.dtype == query.dtype
        return plain(query, key, value, *rest, **named)

    with monkeypatch.context() as patched, torch.autocast("cpu", dtype=torch.bfloat16):
        patched.setattr(attention, "attend", attend)
        losses = detector.loss(*batch)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    total(losses).backward()
    return seen


def test_mixed_precision_as_published_keeps_the_head_whole(make_detector, make_batch, monkeypatch):
    half = {"LiDAR neck", "image neck", "core to tokens"}
    detector = make_detector(overrides=["schedule.amp_parts=published"])
    seen = precisions(detector, make_batch(), monkeypatch)
    assert {name for name, dtype in seen.items() if dtype == torch.bfloat16} == half
    assert {name for name, dtype in seen.items() if dtype == torch.float32} == {
        "LiDAR backbone", "shared convolution", "self-attention", "cross-attention", "FFN",
        "core among queries",
    }  # fmt: skip
    assert {part.core_dtype for part in detector.pts_bbox_head.transformer.cross_attentions} == {
        None
    }
    everywhere = precisions(make_detector(), make_batch(), monkeypatch)
    assert set(everywhere) == set(seen)
    assert set(everywhere.values()) == {torch.bfloat16}


def test_parts_of_mixed_precision_mean_nothing_without_it(make_detector, make_batch):
    def losses(parts):
        detector = make_detector(overrides=[f"schedule.amp_parts={parts}"])
        torch.manual_seed(3)
        return {name: loss.item() for name, loss in detector.loss(*make_batch()).items()}

    assert losses("published") == losses("all")
