"""What a run's weights start from."""

from dataclasses import dataclass
from typing import Annotated

from aqr_exp.config.schema.constraints import Before, Excluded


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """Fine-tuning from a checkpoint.

    Attributes:
        load_from: The checkpoint; empty trains from scratch.
        parts: Only what begins with one of these is taken from the checkpoint, all of it; the rest of
            the model starts at random and the rest of the checkpoint is not looked at. Empty takes all.
        sha256: Of the checkpoint's content; filled in from the file, not typed.
        freeze: Parameters whose names begin with one of these are not trained.
    """

    load_from: Annotated[str, Excluded()]
    sha256: str
    parts: Annotated[tuple[str, ...], Before(())]
    freeze: tuple[str, ...]
