"""The identity of a synthetic data set, and nothing else of it: enough to plan and to start stubs."""

import json
from pathlib import Path

from aqr_exp.config.inputs import identity_path


def write_identity(root: Path) -> Path:
    """Write the identity below a data set's folder; returns its path."""
    path = identity_path(root)
    path.parent.mkdir(parents=True)
    identity = {
        "fingerprint": "0123456789abcdef",
        "version": "v1.0-synth",
        "splits": {"synth_train": 10, "synth_val": 4},
        "synthetic": True,
    }
    path.write_text(json.dumps(identity))
    return path
