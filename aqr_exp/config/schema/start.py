"""What a run's weights start from."""

from dataclasses import dataclass
from typing import Annotated

from aqr_exp.config.schema.constraints import Excluded


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """Fine-tuning from a checkpoint.

    Attributes:
        load_from: The checkpoint; empty trains from scratch.
        sha256: Of the checkpoint's content; filled in from the file, not typed.
        freeze: Parameters whose names begin with one of these are not trained.
    """

    load_from: Annotated[str, Excluded()]
    sha256: str
    freeze: tuple[str, ...]
