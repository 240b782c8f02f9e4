"""Hiding a regular grid of squares of the images while training (Chen et al., arXiv 2001.04086).

Letters: N images, H and W rows and columns.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def grid_mask(
    rows: int, columns: int, period: int, row_phase: int, column_phase: int
) -> Float[Tensor, "rows columns"]:
    """One where the image stays: bars of half a period, horizontal or vertical; zero between."""
    bar = min(max(int(period * 0.5 + 0.5), 1), period - 1)
    row_bar = (torch.arange(rows) + row_phase) % period < bar
    column_bar = (torch.arange(columns) + column_phase) % period < bar
    return (row_bar[:, None] | column_bar[None, :]).float()


class GridMask(nn.Module):
    """With a probability, multiplies all images of a batch by one random grid; training only."""

    def __init__(self, probability: float = 0.7) -> None:
        super().__init__()
        self.probability = probability

    def forward(
        self, images: Float[Tensor, "images channels rows columns"]
    ) -> Float[Tensor, "images channels rows columns"]:
        """Mask the images; all draws come from torch's CPU generator."""
        if not self.training or float(torch.rand(())) > self.probability:
            return images
        rows, columns = images.shape[-2:]
        period = int(torch.randint(2, rows, ()))
        row_phase, column_phase = (int(phase) for phase in torch.randint(period, (2,)))
        return images * grid_mask(rows, columns, period, row_phase, column_phase).to(images)
