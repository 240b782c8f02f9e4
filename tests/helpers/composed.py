"""One run's configuration as plain values, before they are converted."""

from collections.abc import Sequence
from typing import Any

from aqr_exp.config.compose import read_overrides
from aqr_exp.config.load import ConfigLoader


def compose_run(variant: str, typed: Sequence[str] = ()) -> dict[str, Any]:
    loader = ConfigLoader(with_data=False)
    return loader.mapping(variant, read_overrides(typed, variant, loader.groups))
