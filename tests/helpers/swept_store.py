"""A results folder of made-up runs with real configurations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aqr_exp.config.compose import Override
from aqr_exp.config.identity import setting_fingerprint, to_yaml
from aqr_exp.config.load import ConfigLoader
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store
from aqr_exp.sweep.values import read_override

LOADER = ConfigLoader(with_data=False)


class MadeUpStore(Store):
    """Runs that were never trained, as their folders would say."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)

    def add(self, variant: str, typed: Sequence[str], seed: int, **metrics: Any) -> RunFolder:
        """A completed run; without metrics, one that failed."""
        overrides: list[Override] = [
            item for text in typed for item in read_override(text, LOADER.groups)
        ]
        point = LOADER.load(variant, overrides)
        spec_text = to_yaml(point.config)
        folder = self.folder(point.name_of(seed))
        record = {
            "name": folder.name,
            "variant": variant,
            "fingerprint": point.fingerprint,
            "seed": seed,
            "preset": "quick",
            "overrides": [*typed, f"seed={seed}"],
        }
        folder.create(spec_text, record)
        record["setting"] = setting_fingerprint(folder.read_spec())
        if metrics:
            folder.write_metrics({"split": "synth_val", "synthetic": True, **metrics})
            folder.write_state("completed")
        else:
            folder.write_state("failed", reason="the loss is not finite at step 3 (loss)")
        return folder
