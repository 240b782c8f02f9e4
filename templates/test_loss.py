"""Values worked out by hand; `aqr-exp check my_idea` tries it within the detector."""

import torch
from my_idea import MyIdeaModule, MyIdeaSettings


def test_the_loss_is_the_weighted_mean_square_to_the_last_layer():
    module = MyIdeaModule(MyIdeaSettings(name="my_idea", weight=0.5), run=None)
    layers = torch.tensor([1.0, 2.0, 4.0]).reshape(3, 1, 1, 1).requires_grad_()
    loss = module.losses({"decoded": layers}, targets=None)["loss_layers"]
    assert loss.item() == 0.5 * (9.0 + 4.0) / 2
    loss.backward()
    assert layers.grad[-1].item() == 0.0  # the last layer is not drawn to the others
