"""Image backbones as their makers' files name them, loaded into a detector's own."""

import pytest
import torch
from mmdet.models.backbones import ResNet
from torch import nn

from aqr_exp.cmt.checkpoint import in_own_names
from aqr_exp.cmt.image_branch import VoVNet99
from aqr_exp.config.schema import StartConfig
from aqr_exp.config.schema.constraints import Table
from aqr_exp.errors import RequestError
from aqr_exp.train.checkpoint import fitted, start_from

BLOCKS = (3, 4, 6, 3)
STATISTICS = ("weight", "bias", "running_mean", "running_var")


def resnet50():
    return ResNet(50, base_channels=4, style="pytorch")


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.img_backbone = resnet50()
        self.pts_neck = nn.Linear(2, 2)


def pairs():
    """torchvision's and detectron2's names of everything in a ResNet-50 but counters and classifier."""
    convolutions = [("conv1", "bn1", "stem.conv1")]
    for stage, blocks in enumerate(BLOCKS, start=1):
        for block in range(blocks):
            ours, theirs = f"layer{stage}.{block}", f"res{stage + 1}.{block}"
            for number in (1, 2, 3):
                names = f"{ours}.conv{number}", f"{ours}.bn{number}", f"{theirs}.conv{number}"
                convolutions.append(names)
            if not block:
                downsample = f"{ours}.downsample"
                convolutions.append((f"{downsample}.0", f"{downsample}.1", f"{theirs}.shortcut"))
    for conv, norm, theirs in convolutions:
        yield f"{conv}.weight", f"{theirs}.weight"
        for kind in STATISTICS:
            yield f"{norm}.{kind}", f"{theirs}.norm.{kind}"


def start(path, **more):
    settings = {"sha256": "", "parts": ("img_backbone",), "freeze": ()} | more
    return StartConfig(load_from=str(path), **settings)


@pytest.fixture(scope="module")
def weights():
    """Of each parameter and buffer by torchvision's name, every one different."""
    torch.manual_seed(1)
    return {name: torch.randn(value.shape) for name, value in resnet50().state_dict().items()}


TORCHVISION = {ours: ours for ours, _ in pairs()}
DETECTRON2 = dict(pairs())
CLASSIFIER = {"fc.weight": torch.zeros(1000, 128), "fc.bias": torch.zeros(1000)}
NECK = {
    "neck.lateral_convs.0.conv.weight": torch.zeros(4),
    "rpn_head.rpn_conv.weight": torch.ones(2),
}


@pytest.mark.parametrize(
    ("names", "prefix", "beside"),
    [
        (TORCHVISION, "", CLASSIFIER),
        (TORCHVISION, "module.", {}),
        (TORCHVISION, "backbone.", NECK),
        (TORCHVISION, "backbone.body.", NECK),
        (TORCHVISION, "img_backbone.", {f"img_backbone.{n}": v for n, v in CLASSIFIER.items()}),
        (DETECTRON2, "", {"stem.fc.weight": torch.zeros(3, 3)}),
        (DETECTRON2, "backbone.bottom_up.", {"proposal_generator.anchor": torch.ones(4)}),
    ],
    ids=["torchvision", "parallel", "mmdet", "torchvision-detector", "own", "d2", "d2-detector"],
)
def test_a_resnet_is_found_whatever_it_is_called(weights, tmp_path, names, prefix, beside):
    """Without counters, with a classifier, a neck or heads beside it."""
    assert set(names) == {name for name in weights if not name.endswith("num_batches_tracked")}
    file = {f"{prefix}{theirs}": weights[ours] for ours, theirs in names.items()}
    torch.save({"state_dict": file | beside, "meta": {"epoch": 12}}, tmp_path / "it's r50.pth")
    detector = Detector()
    detector.img_backbone.bn1.num_batches_tracked.fill_(7)
    before = detector.pts_neck.weight.clone()
    found = fitted(detector, start(tmp_path / "it's r50.pth"))
    assert (found.faults, set(found.left)) == ((), set(beside))
    assert found.new == ("pts_neck.weight", "pts_neck.bias")
    assert start_from(detector, start(tmp_path / "it's r50.pth")) == list(found.new)
    state = detector.img_backbone.state_dict()
    assert all(torch.equal(state[ours], weights[ours]) for ours in names)
    assert int(state["bn1.num_batches_tracked"]) == 7
    assert torch.equal(detector.pts_neck.weight, before)


def test_a_vovnet_of_another_detector_is_found():
    with torch.device("meta"):
        own = list(VoVNet99(out_stages=(2, 3)).state_dict())
    assert "stage2.OSA2_1.layers.0.OSA2_1_0/conv.weight" in own
    for prefix in ("", "backbone.bottom_up.", "backbone."):
        names = [f"{prefix}{name}" for name in own] + ["fcos3d_head.cls.weight"] * bool(prefix)
        found = in_own_names(names, start("v2-99.pth"))
        assert found == {f"{prefix}{name}": f"img_backbone.{name}" for name in own}


def test_a_typed_rule_renames_whole_modules_and_the_innermost_decides():
    renamed = Table({"student": "img_backbone", "student.side": "pts_neck", ".": "elsewhere"})
    names = ["student.conv1.weight", "student.side.weight", "students.x", "y"]
    found = in_own_names(names, start("x", parts=(), rename=renamed))
    assert found == {
        "student.conv1.weight": "img_backbone.conv1.weight",
        "student.side.weight": "pts_neck.weight",
        "students.x": "elsewhere.students.x",
        "y": "elsewhere.y",
    }


def test_what_is_ignored_is_left():
    names = ["img_backbone.conv1.weight", "img_backbone.aux.weight", "pts_neck.weight"]
    found = in_own_names(names, start("x", ignore=("img_backbone.aux",)))
    assert found == {"img_backbone.conv1.weight": "img_backbone.conv1.weight"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"rename": Table({"bakbone": "img_backbone"})},
            "start.rename=bakbone: nothing in the checkpoint has such a name: did you mean 'backbone'?",
        ),
        ({"ignore": ("neck",)}, "start.ignore=neck: nothing in the checkpoint has such a name"),
        (
            {"rename": Table({"ema": "img_backbone", "backbone": "img_backbone"})},
            "ema.conv1.weight both become img_backbone.conv1.weight",
        ),
    ],
)
def test_rules_of_nothing_and_clashes_are_refused(more, words):
    with pytest.raises(RequestError) as caught:
        in_own_names(["backbone.conv1.weight", "ema.conv1.weight"], start("x", **more))
    assert words in str(caught.value)


def test_another_shape_is_refused_by_name_and_nothing_is_loaded(weights, tmp_path):
    file = {**weights, "layer1.0.conv1.weight": torch.zeros(8, 4, 1, 1)}
    del file["bn1.bias"]
    torch.save(file, tmp_path / "r50.pth")
    detector = Detector()
    before = detector.img_backbone.conv1.weight.clone()
    with pytest.raises(RequestError) as caught:
        start_from(detector, start(tmp_path / "r50.pth"))
    assert str(caught.value) == (
        "weights do not fit the model: missing img_backbone.bn1.bias; "
        "misshapen img_backbone.layer1.0.conv1.weight [8, 4, 1, 1] (allowed: [4, 4, 1, 1])"
    )
    assert torch.equal(detector.img_backbone.conv1.weight, before)
