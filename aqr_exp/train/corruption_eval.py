"""`python -m aqr_exp.train.corruption_eval RUN_DIR CASES`: evaluate a trained run on corrupted sensors.

One process serves all cases of a run, because loading the packages takes longer than a small case.
Its responses hold `case`, `done` and `total` (samples), and at a case's end `metrics`.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import Evaluator as MetricEvaluator
from mmengine.runner import Runner
from torch import nn

from aqr_exp.config.description import stored_views
from aqr_exp.config.identity import from_spec
from aqr_exp.config.inputs import with_data_identity
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.corruptions.cases import CorruptionCase, read_cases
from aqr_exp.data.pipeline import dataloader_config
from aqr_exp.errors import AqrExpError, RunFailedError, words_of
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.store.corruption_results import missing_cases, write_evaluation
from aqr_exp.store.lease import hold
from aqr_exp.store.run_files import EvaluationPaths
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train.checkpoint import detector_of, required_state
from aqr_exp.train.runner_config import evaluator_config, register_plugins
from aqr_exp.train.session import set_up_torch
from aqr_exp.train.worker import Respond, json_responses


def trained_detector(folder: RunFolder, config: RunConfig) -> nn.Module:
    """The run's detector with its final weights, on the device of this process.

    Raises:
        RunFailedError: The final checkpoint is missing or damaged: the clean evaluation is of no other.
    """
    state = required_state(folder)
    if state["epoch"] != config.schedule.epochs:
        raise RunFailedError(
            f"{folder.checkpoints_dir}: the checkpoint of epoch {config.schedule.epochs}, which the "
            f"clean evaluation is of, is missing or damaged; the newest intact one is of epoch "
            f"{state['epoch']}"
        )
    return detector_of(config, state, "cuda" if torch.cuda.is_available() else "cpu")


@torch.no_grad()
def measure(
    detector: nn.Module,
    config: RunConfig,
    case: CorruptionCase | None,
    paths: EvaluationPaths,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Predict and score the validation split, as the end of a training does.

    Args:
        case: The corruption; None evaluates on clean data.
        paths: Of detections and match records.
        progress: Called with the samples done, and all.
    """
    split = config.data.val_split
    loader = Runner.build_dataloader(
        dataloader_config(
            config,
            split,
            training=False,
            batch_size=config.samples_at_once,
            corruption=case,
        ),
        seed=config.seed,
    )
    result = paths.predictions_path(split)
    evaluator = MetricEvaluator([evaluator_config(config, split, result, paths.records_path)])
    total = len(loader.dataset)
    done = 0
    for batch in loader:
        found = detector.test_step(batch)  # type: ignore[operator]
        evaluator.process(data_samples=found, data_batch=batch)
        done += len(found)
        progress(done, total)
    return dict(evaluator.evaluate(total))


def evaluate_cases(folder: RunFolder, cases: Sequence[CorruptionCase], respond: Respond) -> None:
    """Evaluate a run under the cases it lacks; the caller holds the run's lease for it.

    Raises:
        AqrExpError: There are no metrics of record, or no weights, or the data are not those that the
            run was made for.
    """
    clean = folder.read_metrics()
    todo = missing_cases(folder, cases, clean)
    if not todo:
        return
    config = with_data_identity(from_spec(folder.read_spec()))
    detector = trained_detector(folder, config)
    for case in todo:
        started = time.monotonic()
        paths = folder.failure_paths(case.name)
        paths.path.mkdir(parents=True, exist_ok=True)
        for torn in paths.path.glob(".*.tmp"):
            torn.unlink()  # of a process that was killed: only one works here

        def step(done: int, total: int, name: str = case.name) -> None:
            respond({"case": name, "done": done, "total": total})

        metrics = measure(detector, config, case, paths, step)
        took = {"evaluate_time_s": round(time.monotonic() - started, 1)}
        same = {name: clean.get(name) for name in ("evaluator", "synthetic")}
        kept = write_evaluation(
            folder, case, {**metrics, **same, **took}, clean, config.data.val_split
        )
        respond({"case": case.name, "metrics": kept})


def main(argv: list[str] | None = None) -> int:
    """Run the module; returns 0, or 1 after a fault that is the last response."""
    parser = argparse.ArgumentParser(prog="python -m aqr_exp.train.corruption_eval")
    parser.add_argument("run_dir", type=Path, help="a completed run's folder")
    parser.add_argument("cases", help="cases with commas between")
    parser.add_argument("--threads", type=int, required=True, help="torch threads")
    arguments = parser.parse_args(argv)
    folder = RunFolder(arguments.run_dir)
    with json_responses() as respond:
        try:
            with hold(folder.failures_lease_path):
                register_plugins()
                set_up_torch(arguments.threads)
                views = stored_views(folder.read_spec())
                evaluate_cases(folder, read_cases(arguments.cases, views), respond)
        except (AqrExpError, OSError) as error:
            respond({"fault": words_of(error)})
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
