"""Random heads and batches of the three sensor settings, the same wherever NumPy is.

Everything is drawn uniformly by PCG64 from a case's number and a name, so that numbers recorded from the
published code can be compared with on any machine.
"""

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

RANGE_M = (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)
CENTRES_M = (-61.2, -61.2, -10.0, 61.2, 61.2, 10.0)
CODE_WEIGHTS = (2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2)
WIDTH, HEADS, FFN, LAYERS, DEPTHS, HIDDEN, CHANNELS, CELLS = 32, 4, 48, 2, 8, 16, 24, 12
VIEWS, ROWS, COLUMNS, HEIGHT_PX, WIDTH_PX = 6, 3, 8, 96, 256
MAX_BOXES = 20


@dataclass(frozen=True)
class Case:
    """A sensor setting, and the number of ground-truth boxes of each sample."""

    number: int
    sensors: str
    boxes: tuple[int, ...]
    queries: int = 24
    unknown_velocities: bool = False

    @property
    def kernel(self) -> int:
        """Queries that a convolution of the task head sees, as in the published models."""
        return 3 if self.sensors == "lidar" else 1


_COUNTS: tuple[tuple[int, ...], ...] = (
    (3, 5), (0, 4), (1,), (12, 24), (60,), (7, 2, 0),
)  # fmt: skip
CASES = [
    Case(6 * place + number, sensors, boxes, 60 if boxes == (60,) else 24, number in (0, 3))
    for place, sensors in enumerate(("both", "lidar", "camera"))
    for number, boxes in enumerate(_COUNTS)
]


def draws(case: Case, name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [-1, 1), float32."""
    seed = zlib.crc32(f"{case.number} {name}".encode())
    uniform = np.random.Generator(np.random.PCG64(seed)).random(shape)
    return torch.from_numpy((uniform * 2.0 - 1.0).astype(np.float32))


def parameter(case: Case, name: str, shape: tuple[int, ...]) -> Tensor:
    """A parameter or buffer of the head by its published name."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(3)
    drawn = draws(case, name, shape)
    if name == "reference_points.weight":
        return (drawn + 1.0) / 2.0
    if name.endswith("running_var"):
        return 1.0 + drawn / 2.0
    if len(shape) > 1:
        return drawn * (3.0 / np.prod(shape[1:])) ** 0.5
    # Norms' scales are about one. No bias is zero.
    scales = name.endswith("weight")
    return 1.0 + drawn / 4.0 if scales else drawn / 2.0


def maps(case: Case) -> tuple[Tensor | None, Tensor | None]:
    """BEV and camera maps; None for a sensor that is not read."""
    batch = len(case.boxes)
    bev = draws(case, "bev", (batch, CHANNELS, CELLS, CELLS)) * 2.0
    camera = draws(case, "camera", (batch * VIEWS, WIDTH, ROWS, COLUMNS)) * 2.0
    return (
        None if case.sensors == "camera" else bev,
        None if case.sensors == "lidar" else camera,
    )


def projections(case: Case) -> list[np.ndarray]:
    """lidar2img [6, 4, 4] of every sample, float64: cameras 60 degrees apart, a little displaced."""
    focal = WIDTH_PX / 2 / np.tan(np.deg2rad(35))
    intrinsics = np.array([[focal, 0, WIDTH_PX / 2], [0, focal, HEIGHT_PX / 2], [0, 0, 1]])
    found = []
    for sample in range(len(case.boxes)):
        off = draws(case, f"rig {sample}", (VIEWS, 3)).double().numpy()
        matrices = np.tile(np.eye(4), (VIEWS, 1, 1))
        for view, yaw in enumerate(np.deg2rad(60.0 * np.arange(VIEWS))):
            forward = np.array([np.cos(yaw), np.sin(yaw), 0.0])
            right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
            turned = intrinsics @ np.stack([right, [0.0, 0.0, -1.0], forward])
            matrices[view, :3, :3] = turned
            matrices[view, :3, 3] = turned @ -(0.5 * forward + 0.2 * off[view])
        found.append(matrices)
    return found


def ground_truth(case: Case) -> list[tuple[Tensor, Tensor]]:
    """Boxes [n, 9], gravity centre, and labels [n] of each sample; some velocities are NaN if asked."""
    found = []
    for sample, count in enumerate(case.boxes):
        drawn = draws(case, f"boxes {sample}", (count, 9))
        boxes = drawn * torch.tensor([53.0, 53.0, 3.0, 1.0, 1.0, 1.0, 3.0, 5.0, 5.0])
        boxes[:, 3:6] = 0.4 * torch.exp(drawn[:, 3:6] + 1.0)
        boxes[:, 2] -= 1.0
        if case.unknown_velocities:
            boxes[::2, 7:] = torch.nan
        labels = (draws(case, f"labels {sample}", (count,)) * 5.0 + 5.0).long().clamp(0, 9)
        found.append((boxes, labels))
    return found


def probes(case: Case, name: str, shape: tuple[int, ...]) -> Tensor:
    """Three directions that a gradient is measured along, [3, *shape]."""
    return draws(case, f"probe {name}", (3, *shape))


def gradient_summary(case: Case, name: str, gradient: Tensor) -> list[float]:
    """The components of a gradient along its probes, and its norm."""
    along = (probes(case, name, tuple(gradient.shape)) * gradient).flatten(1).double().sum(1)
    return [*along.tolist(), float(gradient.double().norm())]
