"""A training-only augmentation: a random share of the far LiDAR points is left out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch

from aqr_exp.ideas import Idea, Range, Settings


@dataclass(frozen=True, kw_only=True)
class ThinnedPoints(Settings):
    """Settings.

    Attributes:
        most: Largest share of the far points that a sample loses.
        beyond_m: Distance beyond which points are far.
    """

    most: Annotated[float, Range(0.0, 1.0)] = 0.5
    beyond_m: Annotated[float, Range(0.0, 200.0)] = 15.0


def thinned(
    sample: dict[str, Any], rng: np.random.Generator, most: float, beyond_m: float
) -> dict[str, Any]:
    """The sample without some of its far points."""
    points = sample["points"]
    far = points.tensor[:, :2].norm(dim=1) > beyond_m
    lost = torch.from_numpy(rng.random(len(points)) < rng.uniform(0.0, most))
    sample["points"] = points[~(far & lost)]
    return sample


class ThinnedPointsModule(Idea):
    off = {"variant.most": 0.0}

    @staticmethod
    def train_transforms(settings: ThinnedPoints) -> list[Callable[..., Any]]:
        if settings.most == 0.0:
            return []
        return [partial(thinned, most=settings.most, beyond_m=settings.beyond_m)]
