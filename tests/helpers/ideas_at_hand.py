"""Ideas as people write them, in a working folder of a test."""

import sys
from pathlib import Path

from aqr_exp.config import idea_spec, variant_spec

GAIN = '''"""A learned gain for each sensor's features."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from aqr_exp.ideas import Idea, Range, RunConfig, Settings


@dataclass(frozen=True, kw_only=True)
class MyGain(Settings):
    """Settings.

    Attributes:
        start: Gain of both sensors before training.
    """

    start: Annotated[float, Range(0.0, 4.0)] = 1.0


class MyGainModule(Idea):
    def __init__(self, settings: MyGain, run: RunConfig) -> None:
        super().__init__(settings, run)
        self.gain = nn.Parameter(torch.full((2,), settings.start))

    def features(self, context, bev, camera):
        return bev * self.gain[0], camera * self.gain[1]
'''


def write_idea(name: str, text: str = GAIN, folder: str | Path = "ideas") -> Path:
    """An idea's file, in the working folder's `ideas` unless `folder` says otherwise."""
    path = Path(folder) / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def forget_ideas() -> None:
    """Leave this process as if it had imported no idea."""
    variant_spec._IDEAS.clear()
    for name, folder in idea_spec._EXECUTED.items():
        for module in [key for key in sys.modules if f"{key}.".startswith(f"{name}.")]:
            del sys.modules[module]
        if folder in sys.path:
            sys.path.remove(folder)
    idea_spec._EXECUTED.clear()
    for forget in variant_spec._OF_KNOWN:
        forget()
