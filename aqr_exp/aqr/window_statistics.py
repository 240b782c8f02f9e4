"""What a bias does to a query's attention, in closed form from its window's keys alone.

Letters: H heads, S window slots.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def window_sums(
    plain: Float[Tensor, "*rows heads slots"],
    bias: Float[Tensor, "*rows slots"],
    valid: Bool[Tensor, "*rows slots"],
) -> Float[Tensor, "*rows heads 4"]:
    """Sums over a query's window. `window_kernels` has the same in its loop.

    With p the attention without the bias and D = sum of p (e^bias - 1) over the window, attention
    becomes p e^bias / (1 + D) inside and p / (1 + D) outside.

    Args:
        plain: Logarithms of the attention without the bias.
        bias: What a slot adds to the score.
        valid: Which slots count.

    Returns:
        Attention to the window without the bias and with it; the sum over all keys of |attention
        with the bias - attention without|; and the entropy in nats of the attention within the
        window, with the bias and taken to sum to one, which is 0 for an empty window.
    """
    before = plain.exp().masked_fill(~valid[..., None, :], 0.0)
    raised = before * bias[..., None, :].to(plain.dtype).exp()
    mass_before = before.sum(dim=-1).clamp(max=1.0)
    outside = 1.0 - mass_before
    total = outside + raised.sum(dim=-1)
    after = raised / total[..., None]
    mass_after = after.sum(dim=-1)
    share = after / mass_after.clamp(min=torch.finfo(after.dtype).tiny)[..., None]
    change = (outside / total - outside).abs() + (after - before).abs().sum(dim=-1)
    entropy = torch.special.entr(share).sum(dim=-1)
    return torch.stack((mass_before, mass_after, change, entropy), dim=-1)
