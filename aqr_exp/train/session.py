"""A run in its training process: its lease, its Runner, its end as the folder's state."""

import contextlib
import logging
import os
import resource
import signal
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from aqr_exp.cmt.hooks import Hooks
from aqr_exp.cmt.ranks import agreed, rank, ranks, sync_norms
from aqr_exp.config import MODULES
from aqr_exp.config.inputs import (
    identified,
    read_data_identity,
    with_checkpoint_identity,
    with_data_identity,
)
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.sources import modules_of
from aqr_exp.config.stages import stages_of
from aqr_exp.config.variant_spec import spec_of
from aqr_exp.data.info_files import epoch_samples
from aqr_exp.data.workers import loader_workers
from aqr_exp.errors import INTERRUPTED, AqrExpError, OutOfTimeError, refusal
from aqr_exp.evaluate.ground_truth import load_ground_truth
from aqr_exp.evaluate.own_metric_files import load_metric
from aqr_exp.files.reading import file_sha256
from aqr_exp.statistics.own_metrics import measure_run
from aqr_exp.store.collect import PEAK_GPU_MEMORY, PEAK_MEMORY
from aqr_exp.store.history import mean_of_last, stability_metrics
from aqr_exp.store.lease import Lease
from aqr_exp.store.run_files import files_in
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import EXIT_CODES, RunStatus
from aqr_exp.train.__main__ import LAUNCHER_VARIABLE
from aqr_exp.train.checkpoint import (
    KeepCheckpoints,
    LoadCheckpointHook,
    StopRequest,
    stops_wait,
    unwrapped,
)
from aqr_exp.train.hooks import (
    AverageWeights,
    CatchUpValidationHook,
    RecordHistory,
    SeedEachStep,
    StageSwitchHook,
)
from aqr_exp.train.monitor import VariantMonitorHook
from aqr_exp.train.ranks import TellRanks, train_over_ranks
from aqr_exp.train.runner_config import evaluator_config, register_plugins, runner_config


@dataclass
class Claim:
    """A run that this process trains.

    Attributes:
        lost: Another process took the run: nothing may be written to it any more.
    """

    lease: Lease
    lost: bool = False

    def still_ours(self) -> bool:
        """Check that the lease is still held."""
        self.lost = self.lost or not self.lease.beat()
        return not self.lost


@contextlib.contextmanager
def held_for_training(folder: RunFolder) -> Iterator[Claim]:
    """Hold a run; a request to stop it, or its loss, interrupts this process as Ctrl-C does.

    Raises:
        LockHeldError: Another process holds the run; names it.
    """
    claim: Claim | None = None
    asked = False

    def obey() -> None:
        nonlocal asked
        if not asked and folder.cancel_request() is not None:
            asked = True
            os.kill(os.getpid(), signal.SIGINT)

    def lose() -> None:
        if claim is not None:
            claim.lost = True
        os.kill(os.getpid(), signal.SIGINT)

    with folder.lock(on_beat=obey, on_loss=lose) as lease:
        claim = Claim(lease)
        yield claim


def run_in_folder(
    folder: RunFolder, config: RunConfig, *, threads: int, attempt: int | None = None
) -> int:
    """Train and score a run, holding the folder's lease.

    Args:
        config: Of its `spec.yaml`.
        attempt: Number of this attempt; None trains the run in any state.

    Returns:
        0 completed, 1 failed, 75 interrupted because the time was up, 130 stopped, as the folder's
        state has it with the reason. A process that is not the queued attempt (another launcher has started
        a later one, or the run is complete) leaves the folder as it is.
    """
    with held_for_training(folder) as claim:
        if attempt is not None and not folder.is_queued(attempt):
            print_log(f"attempt {attempt} is not the queued one: nothing to do", "current")
            return INTERRUPTED
        record_code(folder, config)
        folder.write_state(RunStatus.RUNNING)
        # The launcher of a cancelled run and its own heartbeat both signal one request. A launcher that
        # lives ends this process itself when it is asked a second time.
        launcher = os.environ.get(LAUNCHER_VARIABLE)
        stop = StopRequest(
            lambda: claim.lost,
            lambda: folder.cancel_request() is not None or launcher == str(os.getppid()),
        )
        try:
            if config.launcher.gpus_per_run > 1:
                with stops_wait(stop):
                    metrics = train_over_ranks(folder, config, threads=threads, stop=stop)
            else:
                with loader_workers():
                    metrics = train_and_score(folder, config, threads=threads, stop=stop)
            if not claim.still_ours():
                return INTERRUPTED
            measure_own(folder, config, metrics)
            folder.write_metrics(metrics)
            folder.write_state(RunStatus.COMPLETED)
            return 0
        except KeyboardInterrupt as stopped:
            out_of_time, status = isinstance(stopped, OutOfTimeError), None
            with stops_wait(StopRequest(one_request=lambda: True)):  # the same one, passed on
                if not claim.lost:
                    status = folder.write_stopped(out_of_time=out_of_time)
            return EXIT_CODES[status] if status else INTERRUPTED
        except Exception as error:
            folder.write_state(RunStatus.FAILED, reason=reason_for(error))
            with contextlib.suppress(OSError):  # the log may lie on the disk that is full
                traceback.print_exc()
            return 1


def record_code(folder: RunFolder, config: RunConfig) -> None:
    """Correct the record where this process loads other modules of the package than it says.

    A module that changed before the run continued from a checkpoint gets the hashes of both editions:
    its numbers are of neither.
    """
    record = folder.read_record()
    code = record.get("code")
    if not isinstance(code, dict) or not (then := code.get(MODULES)):
        return  # of an older version
    now = modules_of(spec_of(config.variant))
    if files_in(folder.checkpoints_dir):
        hashes = {
            name: {*then.get(name, digest).split("+"), digest} for name, digest in now.items()
        }
        now = {name: "+".join(sorted(both)) for name, both in hashes.items()}
    if now != then:
        folder.write_json(folder.record_path, record | {"code": code | {MODULES: now}})


def measure_own(folder: RunFolder, config: RunConfig, metrics: Mapping[str, Any]) -> None:
    """Measure the own metrics that a run names; no run is lost for one that fails: the log says why."""
    split, root = config.data.val_split, Path(config.data.root).absolute()
    for name in config.metrics:
        try:
            metric = load_metric(name, folder.path.parents[1])
            truth = load_ground_truth(root, config.data.version, split)
            measure_run(folder, metric, folder.predictions_path(split), truth, metrics)
        except (AqrExpError, OSError) as error:
            print_log(f"{name} was not measured: {error}", "current", logging.WARNING)


def reason_for(error: Exception) -> str:
    """One line on why a run failed."""
    if isinstance(error, AqrExpError):
        return str(error)
    if isinstance(error, OSError):
        return str(refusal(error))
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return f"out of memory: {error}".split("\n", 1)[0]
    return f"{type(error).__name__}: {error}".split("\n", 1)[0]


def set_up_torch(threads: int) -> None:
    """Set torch's threads, and algorithms that repeat their bits.

    On a CPU there are no others. On a GPU some operators have none (the backward pass of nearest-neighbour
    upsampling, for one): there torch warns and continues.
    """
    torch.set_num_threads(threads)
    # cuBLAS repeats its bits only with a workspace of fixed size, and torch refuses it without.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True, warn_only=torch.cuda.is_available())


def build_runner(
    folder: RunFolder, config: RunConfig, stop: StopRequest, place: Path | None = None
) -> Runner:
    """The mmengine Runner of a run, with our hooks; see `train_and_score`."""
    register_plugins()
    splits = read_data_identity(Path(config.data.root))["splits"]
    plan = runner_config(
        config,
        work_dir=folder.logs_dir,
        predictions_dir=folder.predictions_dir,
        records_path=folder.records_path,
        train_samples=epoch_samples(config, splits[config.data.train_split]),
    )
    # mmengine writes the configuration down four times; to format it takes seconds each time.
    runner = Runner.from_cfg(Config(plan, format_python_code=False))
    schedule, stages = config.schedule, stages_of(config)
    head: Any = unwrapped(runner).pts_bbox_head
    if ranks() > 1 and schedule.sync_bn:
        sync_norms(runner.model)
    average = AverageWeights(runner, schedule.ema_decay) if schedule.ema_decay else None
    for hook in (
        None if place is None else TellRanks(place, stop),
        None if config.start is None else LoadCheckpointHook(config.start),
        StageSwitchHook(stages, config.rank_batch_size),
        SeedEachStep(config.seed),
        RecordHistory(folder, schedule.log_every_steps, stages),
        None if head.aqr is None else VariantMonitorHook(folder, config, head),
        average,
        KeepCheckpoints(
            folder,
            schedule.keep_checkpoints,
            stop,
            config.launcher.checkpoint_minutes * 60,
            average and average.averaged,
            config.launcher.device,
        ),
        CatchUpValidationHook(folder),
    ):
        if hook is not None:
            runner.register_hook(hook)
    return runner


def train_and_score(
    folder: RunFolder,
    config: RunConfig,
    *,
    threads: int,
    stop: StopRequest,
    place: Path | None = None,
) -> dict[str, Any]:
    """Train, then evaluate the final weights on the validation split.

    Args:
        stop: Gets the signals that mean stop while it trains.
        place: Where the process looks that watches this one, a rank; None of a training of one process.

    Returns:
        The metrics of record; nothing on ranks but the first.

    Raises:
        KeyboardInterrupt: It was asked to stop; a checkpoint to continue from is saved.
    """
    folder.write_progress({"phase": "setup"})
    set_up_torch(threads)
    config = with_checkpoint_identity(with_data_identity(config))
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()  # of an earlier training of this process
    runner = build_runner(folder, config, stop, place)
    started = time.monotonic()
    with stops_wait(stop):
        runner.train()
    if agreed(stop.asked)[0]:
        stop.obey()
    trained = time.monotonic()
    scores, split = runner.test(), config.data.val_split
    history = folder.read_history()
    scores |= mean_of_last(history, config.schedule.averaged_epochs) if scores else {}
    head: Any = unwrapped(runner).pts_bbox_head
    hooks: Hooks = head.hooks
    taken = (*scores, *AverageWeights.metrics)
    own = hooks.scalars("final_metrics", taken) if "final_metrics" in hooks else {}
    # Last, so that what an idea counted while it was evaluated is of the final weights alone.
    for hook in runner.hooks:
        if isinstance(hook, AverageWeights):
            settings = evaluator_config(config, split, folder.predictions_path(f"{split}.ema"))
            scores |= hook.score(runner, settings)
    if rank():
        return {}
    # Numbers of data that changed meanwhile are of neither; an idea is in memory, and may be edited.
    identified(config.data)
    return {
        **scores,
        **stability_metrics(history),
        **own,
        "split": split,
        "evaluator": config.evaluator,
        "predictions_sha256": file_sha256(folder.predictions_path(split)),
        "records_sha256": file_sha256(folder.records_path),
        "synthetic": read_data_identity(Path(config.data.root))["synthetic"],
        "train_time_s": round(trained - started, 1),
        "evaluate_time_s": round(time.monotonic() - trained, 1),
        "parameters": sum(p.numel() for p in unwrapped(runner).parameters()),
        PEAK_MEMORY: round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        **_peak_of_gpu(runner),
    }


def _peak_of_gpu(runner: Runner) -> dict[str, float]:
    """The most memory that tensors took on the GPU, in 2^20 bytes; nothing for a training without."""
    if not next(runner.model.parameters()).is_cuda:
        return {}
    return {PEAK_GPU_MEMORY: round(torch.cuda.max_memory_allocated() / 2**20, 1)}
