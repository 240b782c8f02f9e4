"""The head in training mode against numbers of the running published code.

`published/head.npz` was recorded from junjie18/CMT d3b1d78 under mmcv 1.6.0 and mmdet 2.24.0, built from
its configurations but narrower, with its flash attention replaced by the same softmax in single precision
and its dropouts at 0. Its data set gives velocities that are unknown as 0. Of every gradient there are its
components along three directions and its norm.
"""

from pathlib import Path

import numpy as np
import published_cases as cases
import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import LiDARInstance3DBoxes

from aqr_exp.aqr.bias import LocalBias
from aqr_exp.cmt.box_code import encode, from_lidar_boxes, join_branches, to_lidar_boxes
from aqr_exp.cmt.detector import register_modules
from aqr_exp.cmt.losses import match

RECORDED = np.load(Path(__file__).parent / "published" / "head.npz")
BRANCHES = {"center": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2, "cls_logits": 10}
CLOSE = 2e-5
WAYS = ("unbiased", "windowed", "dense")


def build_head(case):
    register_modules()
    head = MODELS.build(
        {
            "type": "CmtHead",
            "in_channels": None if case.sensors == "camera" else cases.CHANNELS,
            "camera": case.sensors != "lidar",
            "queries": case.queries,
            "width": cases.WIDTH,
            "depth_bins": cases.DEPTHS,
            "classes": 10,
            "point_cloud_range": cases.RANGE_M,
            "bev_pitch_m": (9.0, 9.0),
            "transformer": {
                "type": "CmtTransformer", "layers": cases.LAYERS, "width": cases.WIDTH,
                "heads": cases.HEADS, "ffn_channels": cases.FFN, "dropout": 0.0,
                "share_dropout": 0.0, "projection_bias": True,
            },
            "task_head": {
                "type": "SeparateTaskHead", "width": cases.WIDTH, "layers": cases.LAYERS,
                "branches": BRANCHES, "hidden": cases.HIDDEN, "kernel": case.kernel,
            },
            "denoising": {"groups": 10, "noise_scale": 1.0, "noise_trans_m": 0.0, "split": 0.75},
            "loss": {
                "class_cost": 2.0, "box_cost": 0.25, "class_loss": 2.0, "box_loss": 0.25,
                "code_weights": cases.CODE_WEIGHTS, "denoising": 1.0, "split": 0.75,
            },
            "max_boxes": cases.MAX_BOXES,
            "post_center_range": cases.CENTRES_M,
        }
    )  # fmt: skip
    state = {name: tuple(value.shape) for name, value in head.state_dict().items()}
    head.load_state_dict({n: cases.parameter(case, n, shape) for n, shape in state.items()})
    return head


def attend_in(head, way, case):
    """Give every cross-attention a bias that is one number for all keys of a query: it changes nothing."""
    if way == "unbiased":
        return
    head.transformer.attend_by(way)
    plain = head.transformer.forward

    def biased(memory, key_pos, query_pos, blocked=None, *_):
        batch, keys, queries = *memory.shape[:2], query_pos.shape[1]
        by_query = 2.0 * cases.draws(case, "bias", (batch, queries, 1))
        bias = LocalBias(
            index=torch.arange(keys).expand(batch, queries, keys),
            valid=torch.ones(batch, queries, keys, dtype=torch.bool),
            value=by_query.expand(-1, -1, keys),
        )
        return plain(memory, key_pos, query_pos, blocked, lambda *_: bias)

    head.transformer.forward = biased


def metas_of(case, unknown=0.0):
    found = []
    for matrices, (boxes, labels) in zip(
        cases.projections(case), cases.ground_truth(case), strict=True
    ):
        known = torch.nan_to_num(boxes, nan=unknown)
        found.append(
            {
                "lidar2img": matrices,
                "pad_shape": (cases.HEIGHT_PX, cases.WIDTH_PX),
                "gt_bboxes_3d": to_lidar_boxes(known, LiDARInstance3DBoxes),
                "gt_labels_3d": labels,
            }
        )
    return found


def train(case, way, monkeypatch, unknown=0.0):
    """Outputs, losses and gradients by name, of one training step without its update."""
    head = build_head(case).train()
    attend_in(head, way, case)
    inputs = [part if part is None else part.requires_grad_() for part in cases.maps(case)]
    metas = metas_of(case, unknown)
    with monkeypatch.context() as patched:
        patched.setattr(torch, "rand", lambda *shape: (cases.draws(case, "noise", shape) + 1) / 2)
        outputs = head(*inputs, metas)
    losses = head.loss(outputs, metas)
    sum(losses.values()).backward()
    named = [*head.named_parameters(), *zip(("bev", "camera"), inputs, strict=True)]
    return head, outputs, losses, {n: p.grad for n, p in named if p is not None}


def near(got, wanted, scale=None):
    """The largest difference is at most 2e-5 of the largest number."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= CLOSE * (np.abs(wanted).max() if scale is None else scale)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: f"{case.sensors}-{case.number}")
def test_a_training_step_is_the_published_one(case, way, monkeypatch):
    recorded = {part: RECORDED[f"{case.number}/{part}"] for part in (
        "outputs", "losses", "gradients", "assigned"
    )}  # fmt: skip
    head, outputs, losses, gradients = train(case, way, monkeypatch)
    both = {
        name: torch.cat((outputs[f"dn_{name}"], outputs[name]), dim=2).detach() for name in BRANCHES
    }
    for name, wanted in zip(
        BRANCHES,
        np.split(recorded["outputs"], np.cumsum([*BRANCHES.values()])[:-1], 3),
        strict=True,
    ):
        near(both[name], wanted)
    near([losses[name].item() for name in sorted(losses)], recorded["losses"])
    assert_assigned(head, outputs, case, recorded["assigned"])
    assert len(gradients) == len(recorded["gradients"])
    largest = recorded["gradients"][:, 3].max()
    for name, wanted in zip(sorted(gradients), recorded["gradients"], strict=True):
        got = cases.gradient_summary(case, name, gradients[name])
        # Queries start without content: in the first self-attention all scores' gradients cancel.
        cancels = name == "transformer.decoder.layers.0.attentions.0.attn.in_proj_weight"
        assert (wanted[3] < 1e-6 * largest) == cancels
        near(got, wanted, largest if cancels else wanted[3])


def assert_assigned(head, outputs, case, wanted):
    """The same queries are matched with the same boxes; `wanted` holds box + 1 by query, 0 for none."""
    codes = join_branches(outputs).detach()
    for sample, meta in enumerate(metas_of(case)):
        boxes = from_lidar_boxes(meta["gt_bboxes_3d"])
        order = meta["gt_labels_3d"].argsort(stable=True)
        targets = encode(boxes[order])
        rows, columns = match(
            outputs["cls_logits"][:, sample].detach(), codes[:, sample],
            meta["gt_labels_3d"][order], targets, head.loss_weights,
        )  # fmt: skip
        for layer in range(cases.LAYERS):
            got = np.zeros(case.queries, int)
            got[rows[layer]] = columns[layer] + 1
            assert got.tolist() == wanted[layer, sample].tolist()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: f"{case.sensors}-{case.number}")
def test_decoded_boxes_are_the_published_ones(case, way):
    head = build_head(case).eval()
    attend_in(head, way, case)
    with torch.no_grad():
        found = head.decode(head(*cases.maps(case), metas_of(case)))
    for sample, wanted in zip(found, RECORDED[f"{case.number}/found"], strict=True):
        boxes = to_lidar_boxes(sample.boxes, LiDARInstance3DBoxes).tensor
        near(boxes, wanted[:, :9])
        near(sample.scores, wanted[:, 9])
        assert sample.labels.tolist() == wanted[:, 10].tolist()


@pytest.mark.parametrize("case", [c for c in cases.CASES if c.unknown_velocities], ids=str)
def test_unknown_velocities_change_box_losses_alone(case, monkeypatch):
    """Matching and scores are as published where the head itself meets NaN, which it masks."""
    assert any(torch.isnan(boxes).any() for boxes, _ in cases.ground_truth(case))
    _, _, losses, gradients = train(case, "unbiased", monkeypatch, unknown=torch.nan)
    for name, wanted in zip(sorted(losses), RECORDED[f"{case.number}/losses"], strict=True):
        if name.endswith("cls"):
            near(losses[name].item(), wanted)
        else:
            assert 0.5 * wanted < losses[name].item() < wanted
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
