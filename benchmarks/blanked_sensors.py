"""Dependence of a trained run on each sensor: its validation score whole, and with one blanked.

Run `python benchmarks/blanked_sensors.py results/runs/<run>`. Images are black before normalisation, or
the point cloud is empty; the weights are the run's last checkpoint.
"""

import dataclasses
import logging
import sys
import tempfile
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from aqr_exp.config.identity import from_spec
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.pipeline import dataloader_config
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train.checkpoint import load_newest
from aqr_exp.train.runner_config import evaluator_config, register_plugins, runner_config


def score(config: RunConfig, weights: dict, blank: str | None) -> dict[str, float]:
    """Metrics of the validation split with `blank` (camera, lidar or None) taken away."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        settings = runner_config(config, work_dir=place, predictions_dir=place, train_samples=10**6)
        split = config.data.val_split
        settings["test_dataloader"] = dataloader_config(
            config, split, training=False, batch_size=4, blank=blank
        )
        settings["test_evaluator"] = evaluator_config(config, split, place / "result.json")
        settings["experiment_name"] = f"blank_{blank}"
        for name in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
            del settings[name]
        runner = Runner.from_cfg(Config(settings))
        runner.model.load_state_dict(weights)
        return runner.test()


def main() -> None:
    """Score and print."""
    folder = RunFolder(Path(sys.argv[1]))
    config = from_spec(folder.read_spec())
    config = dataclasses.replace(config, launcher=dataclasses.replace(config.launcher, threads=2))
    state = load_newest(folder.checkpoints_dir)
    if state is None:
        sys.exit(f"{folder.checkpoints_dir} holds no checkpoint")
    register_plugins()
    logging.disable(logging.INFO)
    for name, blank in (("whole", None), ("no camera", "camera"), ("no lidar", "lidar")):
        metrics = score(config, state["model"], blank)
        print(f"{name:10s} mAP {metrics['mAP']:.4f}  NDS {metrics['NDS']:.4f}", flush=True)


if __name__ == "__main__":
    main()
