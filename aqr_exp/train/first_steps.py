"""`python -m aqr_exp.train.first_steps RUN_DIR...`: a few real iterations of each run, one after another.

Each folder holds a `spec.yaml`, and is answered with one line of JSON (see `first_steps`). One process
serves many runs, because loading the packages takes longer than the iterations of a small model.
"""

import argparse
import gc
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, Runner

from aqr_exp.config.identity import from_spec
from aqr_exp.config.stages import stages_of
from aqr_exp.errors import RunFailedError
from aqr_exp.files.own_code import fail_in
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train import memory
from aqr_exp.train.checkpoint import StopRequest, unwrapped
from aqr_exp.train.session import build_runner, reason_for, set_up_torch
from aqr_exp.train.worker import json_responses

LOADED = 4
"""Samples whose loading is timed."""

STEPS = 2
"""The first iteration compiles and allocates; the second takes as long as all others."""


@LOOPS.register_module()
class FirstStepsLoop(EpochBasedTrainLoop):
    """Trains on the first batches of some epochs, through the same hooks as a whole training.

    Args:
        first_epochs: Those epochs, counted from 0: one a stage.

    Attributes:
        step_s: Duration of the last iteration in seconds, without waiting for data.
    """

    def __init__(self, *, first_epochs: list[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first_epochs = first_epochs
        self.step_s = float("nan")

    def run(self) -> torch.nn.Module:
        """Make the iterations.

        Raises:
            RunFailedError: A loss, or a weight after an optimiser step, is not finite.
        """
        self.runner.call_hook("before_train")
        for epoch in self.first_epochs:
            self._epoch = epoch
            self.runner.call_hook("before_train_epoch")
            self.runner.model.train()
            for index, batch in enumerate(islice(self.dataloader, STEPS)):
                started = time.monotonic()
                self.run_iter(index, batch)
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                self.step_s = time.monotonic() - started
        for name, parameter in unwrapped(self.runner).named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise RunFailedError(f"{name} is not finite after {self.iter} optimiser steps")
        return self.runner.model


def first_steps(folder: RunFolder) -> dict[str, Any]:
    """Train a run for a few steps and evaluate one batch, in a folder that holds its `spec.yaml`.

    Returns:
        `step_s` (of one iteration, without waiting for data), `load_s` (one worker's, for a batch),
        `workers` (that the training will have), `memory_mb` (the peak: of the GPU if it trains there,
        else of the process) and `loss` (of the first iteration).

    Raises:
        Exception: As the training would raise.
    """
    config = from_spec(folder.read_spec())
    first_epochs = [stage.first_epoch for stage in stages_of(config)] or [0]
    _forget_peak()
    runner = build_runner(folder, config, StopRequest())
    loop = {**runner.cfg.train_cfg, "type": FirstStepsLoop.__name__, "first_epochs": first_epochs}
    del loop["by_epoch"]
    runner._train_loop = loop  # noqa: SLF001 - it takes no loop otherwise
    runner.train()
    if config.sources is not None:
        _check_gradients(runner)
    losses = [line["loss"] for line in folder.read_history() if line["kind"] == "train"]
    runner.model.eval()
    runner.test_loop.run_iter(0, next(iter(runner.test_dataloader)))
    return {
        "step_s": round(runner.train_loop.step_s, 4),
        "load_s": round(_loading_s(runner.train_dataloader), 4),
        "workers": runner.train_dataloader.num_workers,
        "memory_mb": round(_peak_mb(), 1),
        "loss": losses[0],
    }


def _loading_s(loader: Any) -> float:
    """Seconds that one process needs for a batch: the median of some samples, once files are open."""
    times = []
    for key in islice(loader.sampler, 1 + LOADED):
        started = time.monotonic()
        loader.dataset[key]
        times.append(time.monotonic() - started)
    return statistics.median(times[1:] or times) * int(loader.batch_size)


def _check_gradients(runner: Runner) -> None:
    """Refuse a parameter of an idea that no loss depends on: it would never be trained.

    Raises:
        RunFailedError: There is one; names the file and line of the module.
    """
    head: Any = unwrapped(runner).pts_bbox_head
    if "set_epoch" in head.hooks:
        return  # a parameter may come into use in a later epoch
    trained = runner.optim_wrapper.optimizer.state
    for name, parameter in head.aqr.named_parameters():
        # Without any state no step was made: mixed precision skips its first ones.
        if trained and parameter.requires_grad and parameter not in trained:
            fail_in(type(head.aqr), name, "gets no gradient: no loss depends on it")


def _forget_peak() -> None:
    """Measure the peak of memory from here."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    memory.forget_peak()


def _peak_mb() -> float:
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated() / 1e6)
    if (peak := memory.resident_bytes(peak=True)) is not None:
        return peak / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def outcomes(folders: list[RunFolder]) -> Iterator[dict[str, Any]]:
    """The responses: for each run the values of `first_steps`, or `fault`, the reason."""
    for folder in folders:
        try:
            yield {"name": folder.name, **first_steps(folder)}
        except Exception as error:
            traceback.print_exc()
            yield {"name": folder.name, "fault": reason_for(error)}
        gc.collect()  # a Runner refers to itself: its memory would count for the next one


def main(argv: list[str] | None = None) -> int:
    """Run the module; returns 0, also when runs failed."""
    parser = argparse.ArgumentParser(prog="python -m aqr_exp.train.first_steps")
    parser.add_argument("folders", type=Path, nargs="+", help="folders with a spec.yaml")
    parser.add_argument("--threads", type=int, required=True, help="torch threads")
    arguments = parser.parse_args(argv)
    set_up_torch(arguments.threads)
    with json_responses() as respond:
        for outcome in outcomes([RunFolder(path) for path in arguments.folders]):
            respond(outcome)
    return 0


if __name__ == "__main__":
    sys.exit(main())
