"""Points dropped at random from each training sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from aqr_exp.ideas import Idea, Range, SampleStep, Settings


@dataclass(frozen=True, kw_only=True)
class MyIdeaSettings(Settings):
    """What is typed as variant.KEY=VALUE; every setting has a type, a default and maybe a range.

    Attributes:
        share: Largest share of the points that is dropped; 0 changes nothing.
    """

    share: Annotated[float, Range(0.0, 0.9)] = 0.2


def drop_points(
    sample: dict[str, Any], random: np.random.Generator, *, share: float
) -> dict[str, Any]:
    """Drop a random share of the points; a resumed run draws as one that was never interrupted."""
    kept = random.random(len(sample["points"])) >= random.uniform(0.0, share)
    sample["points"] = sample["points"][torch.from_numpy(kept)]
    return sample


class MyIdeaModule(Idea):
    """What acts on training data alone needs no parameters and no other hook."""

    # With these settings it changes nothing: `aqr-exp check` compares it with the baseline.
    off: ClassVar = {"variant.share": 0.0}

    @staticmethod
    def train_transforms(settings: MyIdeaSettings) -> Sequence[SampleStep]:
        """Steps of the training pipeline, after all other augmentation."""
        return [partial(drop_points, share=settings.share)]
