"""A start at which every query attends to its own surroundings, for models that train for minutes.

From the published start, attention is nearly uniform over thousands of tokens and takes epochs to
find a query's own place. Here the encodings begin as place codes and the cross-attention compares
them, without any parameter more or of another shape:

- BEV: each hidden unit of the BEV embedding answers within a radius of an anchor on a grid over
  the range: sum cos(2 pi (p - anchor) / wavelength) above a threshold is linear in the sine
  embedding, then a ReLU.
- Cameras: the same on the sphere of viewing directions. The hidden layer of the camera embedding is
  random; its output layer is fitted by ridge regression to the place code on drawn camera rays.
- Both codes are centred, scaled to a common norm and put into halves of the width that are
  orthogonal to each other.
- Cross-attention: queries and keys of a head share one projection with orthogonal rows, times a
  gain, so scores start as the similarity of two codes. The first half of the heads looks at the BEV
  half, the second half of them at the cameras': each sensor has readers of its own.

Letters: F width, D depths along a ray, N drawn samples, A anchors.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aqr_exp.cmt.attention import MultiHeadAttention
from aqr_exp.cmt.encodings import normalise_points, ray_depths, sine_embedding

CODE_NORM = 40.0
"""Root mean square norm of both encodings: several times that of the token content they meet in the
keys, so that learning the content does not at once blur where attention looks."""
SHARP_SCORE = 24.0
"""Score of a query with a token at its own place, in the sharpest head."""
_BEV_RADIUS_SPACINGS = 1.5
_CAP_DEGREES = 15.0
_ELEVATIONS_DEG = (-12.0, 2.0)
_DRAWN_RAYS = 4096
_RIDGE = 1e-3


def _random_rotation(size: int) -> Float[Tensor, "size size"]:
    return nn.init.orthogonal_(torch.empty(size, size))


def _subspaces(width: int) -> tuple[Float[Tensor, "width half"], Float[Tensor, "width rest"]]:
    """Orthonormal bases of the two halves of the width: BEV's and the cameras'."""
    rotation = _random_rotation(width)
    return rotation[:, : width // 2], rotation[:, width // 2 :]


def _finish_code(
    layer: nn.Linear,
    codes: Float[Tensor, "n code"],
    readout: Float[Tensor, "code hidden"],
    constant: Float[Tensor, " code"],
    basis: Float[Tensor, "width half"],
) -> None:
    """Set a layer to a centred, scaled readout of its inputs, from them to codes, within a subspace."""
    centred = codes - codes.mean(dim=0)
    scale = CODE_NORM / centred.square().sum(dim=1).mean().sqrt()
    mix = scale * basis[:, : codes.shape[1]]
    layer.weight.copy_(mix @ readout)
    layer.bias.copy_(mix @ (constant - codes.mean(dim=0)))


@torch.no_grad()
def start_bev_embedding(
    first: nn.Linear, last: nn.Linear, basis: Float[Tensor, "width half"]
) -> None:
    """Make the BEV embedding, Linear(2F -> F) -> ReLU -> Linear(F -> F), a place code."""
    width = last.out_features
    side = math.isqrt(basis.shape[1])
    ticks = (torch.arange(side, dtype=torch.float32) + 0.5) / side
    anchors = torch.cartesian_prod(ticks, ticks)
    radius = _BEV_RADIUS_SPACINGS / side
    edge = sine_embedding(torch.tensor([[0.5, 0.5], [0.5 + radius, 0.5]]), width)
    threshold = edge[0] @ edge[1]
    height = edge[0] @ edge[0] - threshold
    first.weight.zero_()
    first.bias.zero_()
    first.weight[: len(anchors)] = sine_embedding(anchors, width) / height
    first.bias[: len(anchors)] = -threshold / height
    codes = torch.relu(first(sine_embedding(torch.rand(_DRAWN_RAYS, 2), width)))
    codes, readout = codes[:, : len(anchors)], torch.eye(width)[: len(anchors)]
    _finish_code(last, codes, readout, torch.zeros(len(anchors)), basis)


def _direction_code(directions: Float[Tensor, "n 3"], anchors: Float[Tensor, "a 3"]) -> Tensor:
    """Depths of unit vectors inside the caps around the anchors, 0 to 1; [N, A]."""
    edge = math.cos(math.radians(_CAP_DEGREES))
    return torch.relu((directions @ anchors.T - edge) / (1.0 - edge))


def _spherical(azimuth: Tensor, elevation: Tensor) -> Float[Tensor, "*shape 3"]:
    flat = elevation.cos()
    return torch.stack((azimuth.cos() * flat, azimuth.sin() * flat, elevation.sin()), dim=-1)


def _drawn_rays(depth_bins: int, point_cloud_range: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Encoded rays [N, 3D] of cameras looking outwards, and their unit directions [N, 3]."""
    yaw = torch.rand(_DRAWN_RAYS) * 2.0 * math.pi
    side = (torch.rand(_DRAWN_RAYS) * 2.0 - 1.0) * math.tan(math.radians(45.0))
    down = torch.rand(_DRAWN_RAYS) * 0.9 - 0.3
    ray = torch.stack(
        (yaw.cos() - side * yaw.sin(), yaw.sin() + side * yaw.cos(), -down), dim=-1
    )  # one metre along the optical axis
    origin = torch.randn(_DRAWN_RAYS, 3) * 0.5
    depths = ray_depths(depth_bins, point_cloud_range[3])
    points = origin[:, None] + ray[:, None] * depths[:, None]
    encoded = normalise_points(points, point_cloud_range).flatten(1)
    return encoded, nn.functional.normalize(ray, dim=-1)


@torch.no_grad()
def start_ray_embedding(
    first: nn.Linear,
    last: nn.Linear,
    basis: Float[Tensor, "width half"],
    point_cloud_range: tuple[float, ...],
) -> None:
    """Make the camera embedding, Linear(3D -> 4F) -> ReLU -> Linear(4F -> F), a code of directions."""
    azimuths = basis.shape[1] // len(_ELEVATIONS_DEG)
    azimuth = torch.arange(azimuths) * (2.0 * math.pi / azimuths)
    elevation = torch.tensor(_ELEVATIONS_DEG).deg2rad()
    anchors = _spherical(*torch.cartesian_prod(azimuth, elevation).unbind(-1))
    rays, directions = _drawn_rays(first.in_features // 3, point_cloud_range)
    # Whitened inputs: the few directions in which rays differ drive every hidden unit.
    centred = rays - rays.mean(dim=0)
    _, spread, axes = torch.linalg.svd(centred, full_matrices=False)
    kept = 6  # a ray is a line: an origin and a direction
    whiten = axes[:kept] / (spread[:kept, None] / math.sqrt(_DRAWN_RAYS))
    mix = torch.randn(first.out_features, kept) * torch.tensor([1.0, 1.0, 1.0, 0.1, 0.1, 0.1])
    first.weight.copy_(mix @ whiten)
    first.bias.copy_(torch.randn(first.out_features) - first.weight @ rays.mean(dim=0))
    hidden = torch.cat((torch.relu(first(rays)), torch.ones(len(rays), 1)), dim=1)
    codes = _direction_code(directions, anchors)
    gram = hidden.T @ hidden + _RIDGE * len(rays) * torch.eye(hidden.shape[1])
    fit = torch.linalg.solve(gram, hidden.T @ codes).T  # A, 4F + 1
    _finish_code(last, hidden @ fit.T, fit[:, :-1], fit[:, -1], basis)


@torch.no_grad()
def start_cross_attention(
    attention: MultiHeadAttention, bases: Sequence[Float[Tensor, "width half"]]
) -> None:
    """Give queries and keys of every head one shared projection.

    The first half of the heads compares BEV codes, the second half camera codes. Within each half the
    gain makes the score of two equal codes `SHARP_SCORE` in the first head and falls to half of it in
    the last: sharp and broad heads.

    Args:
        attention: A cross-attention; values and output keep their start.
        bases: Of the BEV and of the cameras' subspace.
    """
    width, heads = attention.width, attention.heads
    part = width // heads
    rows = []
    for head in range(heads):
        basis = bases[head * 2 // heads]
        place, last = head % ((heads + 1) // 2), max((heads + 1) // 2 - 1, 1)
        score = SHARP_SCORE * (1.0 - 0.5 * place / last)
        # As many random directions of the subspace as the head has rows, or all of them.
        kept = min(part, basis.shape[1])
        directions = _random_rotation(basis.shape[1])[:kept] @ basis.T
        share = CODE_NORM**2 * kept / basis.shape[1] / math.sqrt(part)
        row = torch.zeros(part, width)
        row[:kept] = directions * math.sqrt(score / share)
        rows.append(row)
    shared = torch.cat(rows)
    attention.in_proj_weight[:width] = shared
    attention.in_proj_weight[width : 2 * width] = shared


@torch.no_grad()
def start_reference_points(reference: Float[Tensor, "queries 3"]) -> None:
    """Spread normalised points over a jittered BEV grid at half height, in random order, in place.

    Uniform draws leave holes and heaps; and with heights from -5 m to 3 m most anchors project above or
    below the objects at their place.
    """
    queries = len(reference)
    side = math.ceil(math.sqrt(queries))
    ticks = (torch.arange(side, dtype=reference.dtype) + 0.5) / side
    cells = torch.cartesian_prod(ticks, ticks)[torch.randperm(side * side)[:queries]]
    jitter = (torch.rand(queries, 2) - 0.5) * (0.5 / side)
    reference[:, :2] = cells + jitter
    reference[:, 2] = 0.5


def start_locally(
    *,
    bev_embedding: nn.Sequential,
    ray_embedding: nn.Sequential,
    cross_attentions: Sequence[MultiHeadAttention],
    point_cloud_range: tuple[float, ...],
) -> None:
    """Initialise both encodings, of two linear layers each, and every cross-attention, in place."""
    first, last = _linears(bev_embedding)
    bases = _subspaces(last.out_features)
    start_bev_embedding(first, last, bases[0])
    start_ray_embedding(*_linears(ray_embedding), bases[1], point_cloud_range)
    for attention in cross_attentions:
        start_cross_attention(attention, bases)


def _linears(embedding: nn.Sequential) -> tuple[nn.Linear, nn.Linear]:
    first, last = (module for module in embedding if isinstance(module, nn.Linear))
    return first, last
