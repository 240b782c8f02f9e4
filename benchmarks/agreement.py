"""Differences between the metrics of a trained run under each backend of the cross-attention.

Run `python benchmarks/agreement.py FOLDER [backend ...]` on the folder of a completed run. Its newest
weights are tested on its validation split once with every backend (`windowed` and `dense` by default);
prints how far the metrics of the others lie from the first one's.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from aqr_exp.analyze.bias_report import open_run
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train.runner_config import runner_config


def metrics(folder: RunFolder, backend: str) -> dict[str, float]:
    """Every number of a test of a run's weights."""
    run: Any = open_run(folder)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        config = runner_config(
            run.config,
            work_dir=place / "logs",
            predictions_dir=place,
            train_samples=run.config.schedule.batch_size,
        )
        runner = Runner.from_cfg(Config(config | {"experiment_name": f"{folder.name}-{backend}"}))
        runner.model.load_state_dict(run.detector.state_dict())
        runner.model.pts_bbox_head.transformer.attend_by(backend)
        scores = runner.test()
    return {key: value for key, value in scores.items() if isinstance(value, int | float)}


def main() -> None:
    """Test and print."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    torch.use_deterministic_algorithms(mode=True)
    folder = RunFolder(Path(sys.argv[1]))
    first, *others = sys.argv[2:] or ["windowed", "dense"]
    base = metrics(folder, first)
    heads = {key: value for key, value in base.items() if key.rpartition("/")[2] in {"mAP", "NDS"}}
    print(f"{first}: {len(base)} metrics, among them {heads}")
    for backend in others:
        found = metrics(folder, backend)
        far = sorted(((abs(found[key] - base[key]), key) for key in base), reverse=True)
        print(f"{backend} - {first}: at most {far[0][0]:.3g} ({far[0][1]})")
        print("  " + ", ".join(f"{key} {found[key] - base[key]:+.3g}" for key in heads))


if __name__ == "__main__":
    main()
