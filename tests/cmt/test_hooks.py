# ruff: noqa: ARG002, ARG005, E501 - stand-ins for hooks take what hooks take
"""The hooks of a variant of one's own: what each changes, what it sees, and what it may not give."""

import re
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import MODELS
from torch import nn

from aqr_exp.aqr.bias import GlobalBias, LocalBias
from aqr_exp.aqr.windows import gather_windows
from aqr_exp.cmt import head as head_module
from aqr_exp.cmt.detector import register_modules
from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.cmt.hooks import Hooks
from aqr_exp.cmt.variant_module import VariantModule, VariantRecord
from aqr_exp.config.load import load_run
from aqr_exp.errors import RunFailedError

HERE = Path(__file__).name
SMALL = ("model.head.layers=2", "model.head.queries=40", "model.head.dropout=0")
OUTPUTS = ("center", "height", "dim", "rot", "vel", "cls_logits")


class Nothing(VariantModule):
    """Overrides nothing."""


class Everything(VariantModule):
    """Every hook, with parameters at which it changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(2))
        self.factor = nn.Parameter(torch.ones(()))
        self.shift = nn.Parameter(torch.zeros(()))
        self.seen = []

    def reference_points(self, points, bev, camera):
        self.seen.append(("reference_points", points.shape[1]))
        return points + self.shift

    def query_weights(self, context):
        self.seen.append(("query_weights", context.points_m.shape[1]))
        return context.points_m[..., :2] * self.shift

    def features(self, context, bev, camera):
        self.seen.append(("features", context.points_m.shape[1]))
        return bev * self.gain[0], camera * self.gain[1]

    def queries(self, context):
        self.seen.append(("queries", context.query_pos.shape[1]))
        return context.query_pos + self.shift

    def bias_for_layer(self, context, recentre):
        self.seen.append(("bias_for_layer", context.weights.shape[1]))
        term = GlobalBias(value=context.weights, lidar_keys=context.layout.bev_keys)
        return lambda layer, previous: term if layer else None

    def score_scale(self, context):
        self.seen.append(("score_scale", context.points_m.shape[1]))
        return self.factor.expand(context.points_m.shape[:2])

    def decoded(self, context, outputs):
        self.seen.append(("decoded", outputs.shape[2]))
        return outputs * self.factor

    def losses(self, outputs, targets):
        self.seen.append(("losses", outputs["decoded"].shape[2]))
        near = torch.stack([boxes[:, :2].mean() for boxes in targets.boxes]).mean()
        return {"loss_own": (outputs["center"].mean() - near).square() * self.factor}


def make(module=None):
    """The same small detector, with a module or without."""
    register_modules()
    torch.manual_seed(0)
    detector = MODELS.build(detector_config(load_run("baseline", ["model=cmt_tiny", *SMALL])))
    detector.init_weights()
    detector.pts_bbox_head.aqr = module
    detector.pts_bbox_head.hooks = Hooks(module)
    return detector


def trained(detector, batch):
    """Losses of a training pass, which leaves gradients."""
    torch.manual_seed(1)
    losses = detector.train().loss(*batch)
    sum(losses.values()).backward()
    return losses


def evaluated(detector, batch):
    with torch.no_grad():
        return detector.eval()._forward(*batch)


def test_hooks_that_change_nothing_leave_the_baseline_to_the_bit(make_batch):
    batch = make_batch(points=300)
    plain, own = make(), make(Everything())
    # Adding zero to the encodings of queries, and a bias of zero, has other kernels: not to the bit.
    for name in ("query_weights", "bias_for_layer"):
        own.pts_bbox_head.hooks.overridden.discard(name)
    wanted, got = evaluated(plain, batch), evaluated(own, batch)
    assert all(torch.equal(got[name], wanted[name]) for name in OUTPUTS)
    wanted, got = trained(plain, batch), trained(own, batch)
    assert got.pop("loss_own") > 0
    assert {name: value.item() for name, value in got.items()} == {
        name: value.item() for name, value in wanted.items()
    }


def test_every_parameter_behind_a_hook_gets_a_gradient(make_batch):
    module = Everything()
    trained(make(module), make_batch(points=300))
    assert [name for name, each in module.named_parameters() if not each.grad.abs().sum() > 0] == []


def test_hooks_are_called_in_their_order_and_see_learnable_queries(make_batch):
    module = Everything()
    trained(make(module), make_batch(boxes=(3, 5), points=300))
    # 40 queries, and 15 denoising ones of which only the rows of weights and biases know.
    assert module.seen == [
        ("reference_points", 40),
        ("query_weights", 55),
        ("features", 40),
        ("queries", 40),
        ("bias_for_layer", 55),
        ("score_scale", 40),
        ("decoded", 40),
        ("losses", 40),
    ]
    module.seen.clear()
    evaluated(make(module), make_batch(boxes=(3, 5), points=300))
    assert [name for name, _ in module.seen] == [
        "reference_points", "query_weights", "features", "queries", "bias_for_layer",
        "score_scale", "decoded",
    ]  # fmt: skip


def test_the_record_has_the_weights_of_any_module(make_batch):
    detector = make(Everything())
    detector.pts_bbox_head.observe(record := VariantRecord())
    trained(detector, make_batch(points=300))
    assert record.weights.shape == (2, 55, 2)
    assert record.first_query == 15
    assert record.scalars()["weight_lidar_mean"] == 0.0


def test_what_is_not_overridden_is_not_paid_for(make_batch, monkeypatch):
    calls = []
    tokens, context = head_module.map_tokens, head_module.ForwardContext
    monkeypatch.setattr(head_module, "map_tokens", lambda *a: calls.append("tokens") or tokens(*a))
    monkeypatch.setattr(
        head_module, "ForwardContext", lambda **k: calls.append("context") or context(**k)
    )

    class Loss(VariantModule):
        losses = Everything.losses

        def __init__(self):
            super().__init__()
            self.factor, self.seen = 1.0, []

    class Gain(VariantModule):
        def features(self, context, bev, camera):
            return bev, camera

    class Reader(VariantModule):
        def queries(self, context):
            return context.query_pos + context.memory.mean() + context.memory.mean()

    batch = make_batch(points=300)
    for module, wanted in (
        (None, ["tokens"]),
        (Nothing(), ["tokens"]),
        (Loss(), ["tokens"]),
        (Gain(), ["context", "tokens"]),
        (Reader(), ["context", "tokens", "tokens"]),
    ):
        calls.clear()
        trained(make(module), batch)
        assert calls == wanted, module


def test_learnable_queries_do_not_depend_on_where_denoising_ones_are(make_batch):
    """With other boxes of the same number, the outputs of learnable queries are the same."""
    module = Everything()
    with torch.no_grad():
        module.shift.fill_(0.05)
        module.factor.fill_(1.1)
    seen = []
    for seed in (1, 2):
        inputs, samples = make_batch(points=300)
        others = make_batch(points=300, seed=seed)[1]
        for sample, other in zip(samples, others, strict=True):
            sample.gt_instances_3d = other.gt_instances_3d
        detector = make(module).train()
        found = {}
        detector.pts_bbox_head.register_forward_hook(lambda _m, _i, out, to=found: to.update(out))
        torch.manual_seed(1)
        detector.loss(inputs, samples)
        seen.append(found)
    for name in OUTPUTS:
        assert torch.equal(seen[0][name], seen[1][name]), name
        assert not torch.equal(seen[0][f"dn_{name}"], seen[1][f"dn_{name}"]), name


@pytest.mark.parametrize("backend", ["windowed", "dense"])
def test_a_factor_of_scores_acts_in_every_kernel(backend):
    """Twice the scores of one query are the attention with that query doubled."""
    from aqr_exp.cmt.attention import MultiHeadAttention

    torch.manual_seed(0)
    attention = MultiHeadAttention(32, 4, bias=False)
    attention.backend = backend
    query, key = torch.randn(2, 5, 32), torch.randn(2, 90, 32)
    index = torch.stack([torch.randperm(90)[:4] for _ in range(10)]).view(2, 5, 4)
    bias = LocalBias(
        index=index, valid=torch.ones(2, 5, 4, dtype=torch.bool), value=torch.randn(2, 5, 4)
    )
    factor = torch.tensor([[1.0, 2.0, 0.5, 1.0, 1.0], [1.0, 1.0, 1.0, 3.0, 1.0]])
    wanted = attention(query * factor[..., None], key, key, bias=bias)
    got = attention(query, key, key, bias=bias, score_scale=factor)
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)
    plain = attention(query, key, key, bias=bias, score_scale=torch.ones(2, 5))
    assert torch.equal(plain, attention(query, key, key, bias=bias))


def wrong(**hooks):
    """A module whose hooks are these functions."""
    return type("Wrong", (VariantModule,), hooks)()


def raises(self, context):
    return context.points_m.view(7)


def other_windows(self, context, recentre):
    windows = gather_windows(
        context.places(), context.layout, bev_size=1, camera_size=1, view_policy="first"
    )
    value = torch.zeros(windows.index.shape)[:, :7]
    return lambda layer, previous: LocalBias(
        index=windows.index[:, :7], valid=windows.valid[:, :7], value=value
    )


@pytest.mark.parametrize(
    ("hook", "function", "message"),
    [
        ("features", lambda s, c, b, m: None, "must return 2 tensors, not None"),
        ("features", lambda s, c, b, m: b, "must return 2 tensors, not an array of float32"),
        ("features", lambda s, c, b, m: (b, None), "must return a floating tensor, not None"),
        ("features", lambda s, c, b, m: (b[:1], m), r"must return the shape \[2, 128, .*\], not \[1, 128, .*\]"),
        ("features", lambda s, c, b, m: (b * float("nan"), m), "gave numbers that are not finite"),
        ("features", lambda s, c, b, m: (b, m / 0), "gave numbers that are not finite"),
        ("queries", lambda s, c: c.query_pos[:, :3], r"must return the shape \[2, 40, 128\], not \[2, 3, 128\]"),
        ("queries", lambda s, c: c.query_pos.long(), "must return a floating tensor, not an array of int64"),
        ("queries", raises, "RuntimeError: shape .* is invalid for input of size 240"),
        ("query_weights", lambda s, c: c.points_m, r"must return the shape \[2, 55, 2\], not \[2, 55, 3\]"),
        ("query_weights", lambda s, c: 1.0, "must return a floating tensor, not float"),
        ("bias_for_layer", lambda s, c, r: 3, "must return a function or None, not int"),
        ("bias_for_layer", lambda s, c, r: lambda i, p: 3, "must give a LocalBias, a GlobalBias or None, not int"),
        ("bias_for_layer", lambda s, c, r: lambda i: None, "TypeError: .* takes 1 positional argument but 2 were given"),
        ("bias_for_layer", other_windows, r"must return the shape \[2, 55, 2\], not \[2, 7, 2\]"),
        ("score_scale", lambda s, c: c.points_m[0, :, 0], r"must return the shape \[2, 40\], not \[40\]"),
        ("reference_points", lambda s, p, b, m: p[0], r"must return the shape \[2, 40, 3\], not \[40, 3\]"),
        ("decoded", lambda s, c, o: o[0], r"must return the shape \[2, 2, 40, 128\], not \[2, 40, 128\]"),
        ("losses", lambda s, o, t: o["center"].mean(), "must return a dict of losses by name, not an array of float32"),
        ("losses", lambda s, o, t: {"own": o["center"].mean()}, "'own': a name must begin with loss_ and be a new one"),
        ("losses", lambda s, o, t: {"loss_cls": o["center"].mean()}, "'loss_cls': a name must begin"),
        ("losses", lambda s, o, t: {"loss_own": 1.0}, "must return a floating tensor, not float"),
        ("losses", lambda s, o, t: {"loss_own": o["center"]}, r"must return the shape \[\], not \[2, 2, 40, 2\]"),
        ("losses", lambda s, o, t: {"loss_own": o["center"].mean() / 0}, "gave numbers that are not finite"),
    ],
)  # fmt: skip
def test_what_a_hook_may_not_give_is_one_line_with_file_and_line(
    make_batch, hook, function, message
):
    detector = make(wrong(**{hook: function}))
    with pytest.raises(RunFailedError) as caught:
        trained(detector, make_batch(points=300))
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) <= 200
    assert re.search(rf"{HERE}:\d+: {hook}: {message}", line), line


def test_the_line_of_an_error_is_the_one_that_raised(make_batch):
    with pytest.raises(RunFailedError) as caught:
        trained(make(wrong(queries=raises)), make_batch(points=300))
    assert f":{raises.__code__.co_firstlineno + 1}: queries: " in str(caught.value)


def test_numbers_that_are_not_finite_fail_evaluation_too(make_batch):
    detector = make(wrong(decoded=lambda self, context, outputs: outputs * float("inf")))
    with torch.no_grad(), pytest.raises(RunFailedError, match="decoded: gave numbers that are not"):
        detector.eval().predict(*make_batch(points=300))


def test_a_hook_is_not_blamed_for_maps_that_are_not_finite(make_batch):
    detector = make(wrong(features=lambda self, context, bev, camera: (bev, camera)))
    inputs, samples = make_batch(points=300)
    inputs["imgs"][0, 0, 0, 0, 0] = float("nan")
    trained(detector, (inputs, samples))


def test_a_parameter_that_is_not_finite_is_named(make_batch):
    module = Everything()
    with torch.no_grad():
        module.gain[0] = float("nan")
    with pytest.raises(RunFailedError, match=r"features: gave .* \(so is its parameter gain\)"):
        trained(make(module), make_batch(points=300))
