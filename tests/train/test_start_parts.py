"""Starting from a part of a checkpoint."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from aqr_exp.config.schema.run import StartConfig
from aqr_exp.errors import RequestError, RunFailedError
from aqr_exp.train.checkpoint import start_from
from aqr_exp.train.outline import beginning


def model() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"img_backbone": nn.BatchNorm1d(2), "head": nn.Linear(2, 3)})


def start(path, *parts: str, freeze: tuple[str, ...] = ()) -> StartConfig:
    return StartConfig(load_from=str(path), sha256="", parts=parts, freeze=freeze)


@pytest.fixture
def checkpoint(tmp_path):
    """A trained backbone beside the parts of another detector."""
    path = tmp_path / "it's trained.pth"
    backbone = nn.BatchNorm1d(2)
    nn.init.constant_(backbone.weight, 7.0)
    backbone.running_mean.fill_(5.0)
    kept = {f"img_backbone.{name}": value for name, value in backbone.state_dict().items()}
    torch.save(
        {"state_dict": {**kept, "head.weight": torch.ones(9, 9), "fpn.w": torch.ones(1)}}, path
    )
    return path


def test_a_part_is_taken_whole_and_the_rest_stays_as_it_began(checkpoint):
    net, untouched = model(), model()
    new = start_from(net, start(checkpoint, "img_backbone", freeze=("img_backbone",)))
    assert new == ["head.weight", "head.bias"]
    assert net["img_backbone"].weight.tolist() == [7.0, 7.0]
    assert net["img_backbone"].running_mean.tolist() == [5.0, 5.0]
    assert torch.equal(net["head"].weight, untouched["head"].weight)
    assert [name for name, value in net.named_parameters() if value.requires_grad] == [
        "head.weight",
        "head.bias",
    ]


def test_the_weights_that_are_taken_and_those_that_are_not_add_up(checkpoint):
    """The batches that a batch norm has counted are no weights: nothing is computed from them."""
    begun = beginning(SimpleNamespace(start=start(checkpoint, "img_backbone")), model())
    assert (begun["taken"], len(begun["new"]), begun["all"]) == (4, 2, 6)


def test_without_parts_it_must_fit_key_for_key(checkpoint):
    with pytest.raises(RequestError, match=r"missing head\.bias; unexpected fpn\.w; misshapen"):
        start_from(model(), start(checkpoint))


def test_a_part_that_the_checkpoint_lacks_is_refused_by_name(checkpoint):
    net = model()
    before = net["head"].bias.clone()
    with pytest.raises(RequestError, match=r"missing head\.bias; misshapen head\.weight \[9, 9\]"):
        start_from(net, start(checkpoint, "img_backbone", "head"))
    assert torch.equal(net["head"].bias, before)
    assert net["img_backbone"].weight.tolist() == [1.0, 1.0]


def test_a_part_of_nothing_is_refused(checkpoint):
    with pytest.raises(RunFailedError, match=r"start\.parts: no parameter begins with img_neck$"):
        start_from(model(), start(checkpoint, "img_neck"))
