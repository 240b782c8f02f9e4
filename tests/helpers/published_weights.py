"""A model's weights as published checkpoints hold them."""

from collections.abc import Mapping

from torch import Tensor, nn

from aqr_exp.cmt.checkpoint import fit, load, sparse_weight_names


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


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], may_miss: tuple = ()) -> list[str]:
    """Load a state dict key for key; returns the names of the model's that were absent."""
    found = fit(model, state, may_miss)
    load(model, found)
    return list(found.new)
