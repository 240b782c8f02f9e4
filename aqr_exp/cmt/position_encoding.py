"""The encodings of all tokens and of all queries, through the head's two embeddings.

Letters: B samples, V views, Q queries, K keys, C width, H and W rows and columns of a feature map.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aqr_exp.cmt import encodings


def encode_positions(
    bev_embedding: nn.Module,
    rv_embedding: nn.Module | None,
    bev: Float[Tensor, "batch width rows columns"] | None,
    camera: Float[Tensor, "images width img_rows img_columns"] | None,
    reference: Float[Tensor, "batch queries 3"],
    metas: Sequence[Mapping[str, Any]],
    *,
    width: int,
    depth_bins: int,
    point_cloud_range: Sequence[float],
) -> tuple[Float[Tensor, "batch keys width"], Float[Tensor, "batch queries width"]]:
    """Encode where every token and every query is.

    Args:
        bev_embedding: From the sine embedding of a BEV position to C.
        rv_embedding: From a ray to C; None, with `camera`, where no camera is read: then queries are
            encoded by their BEV position alone.
        bev: BEV map; only its size counts. None where the LiDAR is not read.
        camera: Camera maps; only their size counts.
        reference: Reference points in [0, 1].
        metas: With `lidar2img` and `pad_shape`.
        width: C.
        depth_bins: Depths along a ray.
        point_cloud_range: (x, y, z, x, y, z) in metres.

    Returns:
        Encodings of the tokens, in their order, and of the queries: BEV plus, summed over the views
        that see one, camera.
    """
    keys: list[Tensor] = []
    reference = encodings.inverse_sigmoid(reference).sigmoid()
    if bev is not None:
        centres = encodings.bev_cell_centres(bev.shape[2], bev.shape[3], bev.device)
        bev_pos = bev_embedding(encodings.sine_embedding(centres, width))
        keys.append(bev_pos.expand(len(metas), -1, -1))
    if camera is None or rv_embedding is None:
        return keys[0], bev_embedding(encodings.sine_embedding(reference, width))
    image_size_px = encodings.padded_image_size(metas)
    lidar2img, img2lidar = encodings.projection_matrices(metas, camera.device)
    depths = encodings.ray_depths(depth_bins, point_cloud_range[3], camera.device)
    rays = encodings.camera_token_rays(
        img2lidar, camera.shape[2], camera.shape[3], image_size_px, depths, point_cloud_range
    )
    keys.append(rv_embedding(rays).flatten(1, 2))
    query_pos = bev_embedding(encodings.sine_embedding(reference, width))
    rays, seen = encodings.query_rays(
        reference, lidar2img, img2lidar, image_size_px, depths, point_cloud_range
    )
    return torch.cat(keys, dim=1), query_pos + _seen_by_cameras(rv_embedding, rays, seen)


def _seen_by_cameras(
    rv_embedding: nn.Module, rays: Tensor, seen: Tensor
) -> Float[Tensor, "batch queries width"]:
    """Camera encodings summed over the views that see a query; zero where none does."""
    sample, _, query = seen.nonzero(as_tuple=True)
    batch, _, queries = seen.shape
    encoded = rv_embedding(rays[seen])
    total = encoded.new_zeros(batch * queries, encoded.shape[-1])
    return total.index_add(0, sample * queries + query, encoded).view(batch, queries, -1)
