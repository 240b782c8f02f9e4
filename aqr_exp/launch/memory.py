"""What a run's training step would hold in memory, asked of a process that knows the detector."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from aqr_exp.config.identity import to_yaml
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import AqrExpError

MODULE = "aqr_exp.train.memory_estimate"


def estimate_memory(config: RunConfig) -> dict[str, float]:
    """Estimate from shapes; takes seconds, most of them for loading what builds the detector.

    Args:
        config: The run.

    Returns:
        `weights_gb`, `activations_gb` and `total_gb`, as `aqr_exp.train.memory_estimate` defines them.

    Raises:
        AqrExpError: The detector cannot be built here; holds the last line of what went wrong.
    """
    with tempfile.TemporaryDirectory(prefix="aqr-exp-memory-") as folder:
        spec = Path(folder) / "spec.yaml"
        spec.write_text(to_yaml(config), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", MODULE, str(spec)], capture_output=True, text=True, check=False
        )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        words = done.stderr.strip().splitlines() or ["it said nothing"]
        raise AqrExpError(f"the memory cannot be estimated: {words[-1]}")
    sizes: dict[str, float] = json.loads(lines[-1])
    return sizes
