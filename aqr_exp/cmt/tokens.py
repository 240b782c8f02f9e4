"""Feature maps as the decoder's keys.

Letters: B samples, V views, K keys, C width.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def map_tokens(
    bev: Float[Tensor, "batch width rows columns"] | None,
    camera: Float[Tensor, "images width img_rows img_columns"] | None,
    batch: int,
) -> Float[Tensor, "batch keys width"]:
    """The maps as tokens: BEV cells row-major, then camera tokens by view, row, column.

    Args:
        bev: BEV map; None where the LiDAR is not read.
        camera: [B V, C, rows, columns]; None where no camera is read.
        batch: B.
    """
    parts = []
    if bev is not None:
        parts.append(bev.flatten(2).transpose(1, 2))
    if camera is not None:
        parts.append(camera.unflatten(0, (batch, -1)).permute(0, 1, 3, 4, 2).flatten(1, 3))
    return torch.cat(parts, dim=1)
