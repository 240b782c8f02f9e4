"""Which code scores a run."""

from enum import Enum


class Evaluator(str, Enum):
    """Whose nuScenes detection protocol scores the predictions; both give the same numbers to 1e-9.

    `aqr` is this package's, `official` the devkit's.
    """

    AQR = "aqr"
    OFFICIAL = "official"
