import pytest
from torch import nn

from aqr_exp.errors import RunFailedError
from aqr_exp.train.checkpoint import freeze


def model():
    return nn.ModuleDict(
        {"neck": nn.Linear(2, 2), "necktie": nn.Linear(2, 2), "head": nn.Linear(2, 2)}
    )


def test_what_begins_with_a_prefix_is_not_trained():
    net = model()
    freeze(net, ["neck.", "head.bias"])
    trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert trained == {"necktie.weight", "necktie.bias", "head.weight"}


def test_nothing_is_frozen_by_default():
    net = model()
    freeze(net, [])
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_prefix_of_nothing_is_refused_before_anything_is_frozen():
    net = model()
    with pytest.raises(
        RunFailedError, match=r"start\.freeze: no parameter begins with hed, img_backbone$"
    ):
        freeze(net, ["head", "hed", "img_backbone"])
    assert all(parameter.requires_grad for parameter in net.parameters())
