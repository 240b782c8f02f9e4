"""Tokens of the feature maps, and the encodings of where tokens and queries are.

Letters: B samples, V views, K keys, C width.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aqr_exp.aqr import BevMap, CameraMaps, Keys, Points, Projections, Queries


def map_tokens(bev: BevMap | None, camera: CameraMaps | None, batch: int) -> Keys:
    """The maps of the sensors that are read as tokens: BEV row-major, then cameras by view, row, column."""
    parts = []
    if bev is not None:
        parts.append(bev.flatten(2).transpose(1, 2))
    if camera is not None:
        parts.append(camera.unflatten(0, (batch, -1)).permute(0, 1, 3, 4, 2).flatten(1, 3))
    return torch.cat(parts, dim=1)


_SIGMOID_EPS = 1e-5
_DEPTH_EPS = 1e-6


def inverse_sigmoid(probability: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The logit, with both sides kept at least 1e-5 away from zero."""
    probability = probability.clamp(0.0, 1.0)
    return torch.log(
        probability.clamp(min=_SIGMOID_EPS) / (1.0 - probability).clamp(min=_SIGMOID_EPS)
    )


def sine_embedding(
    position: Float[Tensor, "*shape axes"], features: int
) -> Float[Tensor, "*shape double"]:
    """Embed (x, y) as sines and cosines whose wavelength grows linearly, from 1 to nearly 2.

    Args:
        position: Normalised positions; the first two entries of the last axis are x and y.
        features: F, features per axis; an even number.

    Returns:
        2F features in [-1, 1]: y's F features, then x's; sine at even and cosine at odd places.
    """
    index = torch.arange(features, dtype=torch.float32, device=position.device)
    divisor = 2.0 * torch.div(index, 2, rounding_mode="floor") / features + 1.0
    angle = (2.0 * math.pi * position[..., :2, None]) / divisor
    waves = torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=-1).flatten(-2)
    return torch.cat((waves[..., 1, :], waves[..., 0, :]), dim=-1)


def bev_cell_centres(
    rows: int, columns: int, device: torch.device | None = None
) -> Float[Tensor, "cells 2"]:
    """Normalised (x, y) of the cells of a BEV map, row-major: ((column + 0.5)/W, (row + 0.5)/H)."""
    x = (torch.arange(columns, dtype=torch.float32, device=device) + 0.5) / columns
    y = (torch.arange(rows, dtype=torch.float32, device=device) + 0.5) / rows
    return torch.cartesian_prod(y, x).flip(-1)


def ray_depths(
    bins: int, far_m: float, device: torch.device | None = None
) -> Float[Tensor, " depths"]:
    """Depths along a camera ray in metres: 1 + i (far - 1) / bins, so that `far` is not reached."""
    return 1.0 + torch.arange(bins, dtype=torch.float32, device=device) * (far_m - 1.0) / bins


def normalise_points(
    points: Float[Tensor, "*shape 3"], point_cloud_range: Sequence[float]
) -> Float[Tensor, "*shape 3"]:
    """From metres to [0, 1] over the range (x, y, z, x, y, z); points outside go beyond."""
    low, high = points.new_tensor(point_cloud_range).view(2, 3)
    return (points - low) / (high - low)


def denormalise_points(
    points: Float[Tensor, "*shape 3"], point_cloud_range: Sequence[float]
) -> Float[Tensor, "*shape 3"]:
    """From [0, 1] over the range (x, y, z, x, y, z) to metres."""
    low, high = points.new_tensor(point_cloud_range).view(2, 3)
    return points * (high - low) + low


def padded_image_size(metas: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """(height, width) in pixels of the network's input, from the first sample's `pad_shape`.

    That is (h, w), (h, w, c) or one such tuple per view.
    """
    shape = metas[0]["pad_shape"]
    if isinstance(shape[0], Sequence | np.ndarray | Tensor):
        shape = shape[0]
    return float(shape[0]), float(shape[1])


def projection_matrices(
    metas: Sequence[Mapping[str, Any]], device: torch.device | None = None
) -> tuple[Projections, Projections]:
    """lidar2img (after augmentation) and img2lidar, float32, inverted in float64.

    Args:
        metas: `lidar2img` of each sample, [V, 4, 4] or a list of [4, 4].
    """
    lidar2img = np.stack([np.asarray(meta["lidar2img"], dtype=np.float64) for meta in metas])
    forth, back = map(torch.from_numpy, (lidar2img, np.linalg.inv(lidar2img)))
    return forth.float().to(device), back.float().to(device)


def _unproject(
    pixels: Float[Tensor, "batch views places depths 3"], img2lidar: Projections
) -> Float[Tensor, "batch views places depths 3"]:
    """(u d, v d, d) of each place through img2lidar, metres in the LiDAR frame."""
    turn, shift = img2lidar[..., :3, :3], img2lidar[..., :3, 3]
    batch, views, places, depths, _ = pixels.shape
    points = pixels.reshape(batch, views, places * depths, 3) @ turn.transpose(-1, -2)
    return (points + shift[:, :, None, :]).view(batch, views, places, depths, 3)


def camera_token_rays(
    img2lidar: Projections,
    rows: int,
    columns: int,
    image_size_px: tuple[float, float],
    depths: Float[Tensor, " depths"],
    point_cloud_range: Sequence[float],
) -> Float[Tensor, "batch views tokens ray"]:
    """Normalised points along the ray of each camera token, at `depths` in metres.

    Args:
        image_size_px: Height and width of the network's input.

    Returns:
        [B, V, H * W, D * 3], depth-major; the token at (row, column) looks through the pixel
        (column * width / W, row * height / H).
    """
    height_px, width_px = image_size_px
    v = torch.arange(rows, dtype=torch.float32, device=depths.device) * height_px / rows
    u = torch.arange(columns, dtype=torch.float32, device=depths.device) * width_px / columns
    grid_v, grid_u = torch.meshgrid(v, u, indexing="ij")
    pixels = torch.stack((grid_u, grid_v, torch.ones_like(grid_u)), dim=-1).reshape(-1, 1, 3)
    scaled = pixels * depths[None, :, None]
    batch, views = img2lidar.shape[:2]
    points = _unproject(scaled.expand(batch, views, *scaled.shape), img2lidar)
    return normalise_points(points, point_cloud_range).flatten(-2)


def query_rays(
    reference: Points,
    lidar2img: Projections,
    img2lidar: Projections,
    image_size_px: tuple[float, float],
    depths: Float[Tensor, " depths"],
    point_cloud_range: Sequence[float],
) -> tuple[Float[Tensor, "batch views queries ray"], Bool[Tensor, "batch views queries"]]:
    """Normalised points along the ray from each camera through each reference point in [0, 1].

    Returns:
        The rays [B, V, Q, D * 3], depth-major, and True where the view sees the point: in front of
        the camera and 0 <= u < width, 0 <= v < height.
    """
    points = denormalise_points(reference, point_cloud_range)
    turn, shift = lidar2img[..., :3, :3], lidar2img[..., :3, 3]
    projected = points[:, None] @ turn.transpose(-1, -2) + shift[:, :, None, :]
    depth = projected[..., 2:3].detach()
    in_front = depth > 0
    # As published: the divisor carries no gradient, and keeps to its own side of zero.
    pixel = projected / torch.where(in_front, depth + _DEPTH_EPS, depth - _DEPTH_EPS)
    height_px, width_px = image_size_px
    u, v = pixel[..., 0], pixel[..., 1]
    seen = in_front.squeeze(-1) & (u >= 0) & (u < width_px) & (v >= 0) & (v < height_px)
    rays = _unproject(pixel[..., None, :] * depths[:, None], img2lidar)
    return normalise_points(rays, point_cloud_range).flatten(-2), seen


def encode_positions(
    bev_embedding: nn.Module,
    rv_embedding: nn.Module | None,
    bev: BevMap | None,
    camera: CameraMaps | None,
    reference: Points,
    metas: Sequence[Mapping[str, Any]],
    *,
    width: int,
    depth_bins: int,
    point_cloud_range: Sequence[float],
) -> tuple[Keys, Queries]:
    """Encode where every token and every query is.

    Args:
        bev_embedding: From the sine embedding of a BEV position to C.
        rv_embedding: From a ray to C; None, with `camera`, where no camera is read: then queries are
            encoded by their BEV position alone.
        bev: BEV map; only its size counts. None where the LiDAR is not read.
        camera: Camera maps; only their size counts.
        reference: Reference points in [0, 1].
        metas: With `lidar2img` and `pad_shape`.

    Returns:
        Encodings of the tokens, in their order, and of the queries: BEV plus, summed over the views
        that see one, camera.
    """
    keys: list[Tensor] = []
    reference = inverse_sigmoid(reference).sigmoid()
    if bev is not None:
        centres = bev_cell_centres(bev.shape[2], bev.shape[3], bev.device)
        bev_pos = bev_embedding(sine_embedding(centres, width))
        keys.append(bev_pos.expand(len(metas), -1, -1))
    if camera is None or rv_embedding is None:
        return keys[0], bev_embedding(sine_embedding(reference, width))
    image_size_px = padded_image_size(metas)
    lidar2img, img2lidar = projection_matrices(metas, camera.device)
    depths = ray_depths(depth_bins, point_cloud_range[3], camera.device)
    rays = camera_token_rays(
        img2lidar, camera.shape[2], camera.shape[3], image_size_px, depths, point_cloud_range
    )
    keys.append(rv_embedding(rays).flatten(1, 2))
    query_pos = bev_embedding(sine_embedding(reference, width))
    rays, seen = query_rays(
        reference, lidar2img, img2lidar, image_size_px, depths, point_cloud_range
    )
    return torch.cat(keys, dim=1), query_pos + _seen_by_cameras(rv_embedding, rays, seen)


def _seen_by_cameras(rv_embedding: nn.Module, rays: Tensor, seen: Tensor) -> Queries:
    """Camera encodings summed over the views that see a query; zero where none does."""
    sample, _, query = seen.nonzero(as_tuple=True)
    batch, _, queries = seen.shape
    encoded = rv_embedding(rays[seen])
    total = encoded.new_zeros(batch * queries, encoded.shape[-1])
    return total.index_add(0, sample * queries + query, encoded).view(batch, queries, -1)
