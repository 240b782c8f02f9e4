"""A model's weights as published checkpoints hold them."""

from torch import Tensor, nn

from aqr_exp.cmt.checkpoint import sparse_weight_names


def published_layout(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a detector, built with or without spconv; sparse weights as spconv 2 has them."""
    sparse = sparse_weight_names(model)
    by_spconv = any(type(module).__module__.startswith("spconv") for module in model.modules())
    return {
        name: value.permute(4, 0, 1, 2, 3).contiguous()
        if name in sparse and not by_spconv
        else value
        for name, value in model.state_dict().items()
    }
