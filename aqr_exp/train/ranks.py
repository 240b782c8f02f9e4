"""A run over several processes (ranks): one process holds the run and watches, one a GPU or core trains.

The watching process has the run's lease, its state and its signals. The ranks are its children: they train
and evaluate together, and rank 0 alone writes to the run's folder. Where one ends or hangs all are ended.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NoReturn

import psutil
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import distributed

from aqr_exp.cmt.ranks import rank, same_buffers
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.workers import blocked, die_with
from aqr_exp.errors import INTERRUPTED, STOPPING, RunFailedError, cut
from aqr_exp.store.run_files import LOG_BEGINS
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train.checkpoint import StopRequest, unwrapped

LOOK_S = 1.0
STOPPED_LOOKS = 20
"""Looks, one a second, at a rank that was stopped (SIGSTOP) before it counts as hanging."""
PATIENCE = timedelta(minutes=30)
"""How long ranks wait for one that lives and says nothing: one may be scoring an evaluation."""
_STOP, _EVALUATING, _METRICS = "stop", "evaluating", "metrics.json"


class QuietFolder(RunFolder):
    """A run's folder as a rank sees it that does not write: rank 0 does."""

    def append_history(self, *_: Any, **__: Any) -> None:
        """Write nothing."""

    def write_progress(self, *_: Any, **__: Any) -> None:
        """Write nothing."""


class TellRanks(Hook):
    """Tells the watching process that there is nothing to save, and this one of requests to stop.

    Args:
        place: The folder that both look into.
    """

    def __init__(self, place: Path, stop: StopRequest) -> None:
        self.place = place
        self.stop = stop

    def before_train_iter(self, _runner: Runner, **_: Any) -> None:
        """Look whether the watching process was asked to stop; after the step all ranks do so."""
        self.stop.asked = (self.place / _STOP).exists()

    def before_val(self, runner: Runner) -> None:
        """Evaluate the same model everywhere, the one that checkpoints hold."""
        same_buffers(unwrapped(runner))
        if rank() == 0:
            (self.place / _EVALUATING).touch()

    def after_val(self, _runner: Runner) -> None:
        """Training goes on."""
        if rank() == 0:
            (self.place / _EVALUATING).unlink()

    before_test = before_val


def train_over_ranks(
    folder: RunFolder, config: RunConfig, *, threads: int, stop: StopRequest
) -> dict[str, Any]:
    """Train and score a run in `launcher.gpus_per_run` processes; this one only watches.

    Args:
        threads: Of each.
        stop: Has the signals that mean stop; the second one ends the ranks now.

    Returns:
        The metrics of record.

    Raises:
        RunFailedError: A rank failed, was killed or hangs; says which and its last words.
        KeyboardInterrupt: It was asked to stop; a checkpoint to continue from is saved.
    """
    count = config.launcher.gpus_per_run
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="aqr-exp-ranks-") as scratch:
        place = Path(scratch)
        # What rank 0 prints is in the run's own log.
        own = [folder.logs_dir / f"rank-{number}.log" for number in range(1, count)]
        logs = [folder.train_log_path, *own]
        processes = [
            context.Process(
                target=_rank_process,
                args=(number, os.getpid(), place, folder.path, threads, logs[number]),
            )
            for number in range(count)
        ]
        try:
            # They are born deaf: what a whole group is told to do reaches them through this process.
            with blocked(set(STOPPING)):
                for process in processes:
                    process.start()
            _watch(processes, place, logs, stop)
        finally:
            for process in processes:
                if process.pid is not None:
                    process.kill()  # a stopped one hears nothing else
                    process.join()
        metrics: dict[str, Any] = json.loads((place / _METRICS).read_text(encoding="utf-8"))
        return metrics


def _watch(
    processes: Sequence[SpawnProcess], place: Path, logs: Sequence[Path], stop: StopRequest
) -> None:
    """Return when all ranks have ended well; fails as `train_over_ranks`."""
    looks = [0] * len(processes)
    while alive := [process.sentinel for process in processes if process.exitcode is None]:
        wait(alive, LOOK_S)
        ended = {number: process.exitcode for number, process in enumerate(processes)}
        failed = [number for number, code in ended.items() if code not in {None, 0, INTERRUPTED}]
        if failed:
            number = _first(failed, ended, place)
            raise RunFailedError(_last_words(number, ended[number] or 0, place, logs))
        for number, process in enumerate(processes):
            looks[number] = looks[number] + 1 if _is_stopped(process) else 0
            if looks[number] * LOOK_S >= STOPPED_LOOKS:
                words = _said(logs[number])
                raise RunFailedError(_of(number, logs, f"hangs: it was stopped (SIGSTOP){words}"))
        if stop.asked:
            (place / _STOP).touch()
            if (place / _EVALUATING).exists():
                stop.obey()  # all is saved
    # Asked at the very end, a run may be complete.
    if INTERRUPTED in {process.exitcode for process in processes}:
        stop.obey()


def _is_stopped(process: SpawnProcess) -> bool:
    try:
        return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def _first(failed: Sequence[int], ended: Mapping[int, int | None], place: Path) -> int:
    """The rank that failed first: others fail because it is gone."""

    def when(number: int) -> float:
        with contextlib.suppress(OSError):
            return (place / f"reason-{number}").stat().st_mtime
        return 0.0  # it had no time for a word

    return min(failed, key=lambda number: (ended[number] == 1, when(number)))


def _last_words(number: int, code: int, place: Path, logs: Sequence[Path]) -> str:
    with contextlib.suppress(OSError):
        return _of(number, logs, (place / f"reason-{number}").read_text(encoding="utf-8"))
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return _of(number, logs, f"{how}{_said(logs[number])}")


def _of(number: int, logs: Sequence[Path], words: str) -> str:
    return f"rank {number} of {len(logs)}: {words}"


def _said(log: Path) -> str:
    """The last line of a rank's log, in words; nothing where there is none."""
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        for line in filter(str.strip, reversed(lines)):
            if line.startswith(LOG_BEGINS):
                break
            return f"; its last words: {cut(line.strip(), 100)}"
    return ""


def _rank_process(
    number: int, parent: int, place: Path, path: Path, threads: int, log: Path
) -> NoReturn:
    """Be a rank; the exit code says how it ended."""
    die_with(parent)
    for stopping in STOPPING:
        signal.signal(stopping, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    if number:
        # The run's own log is that of rank 0.
        with log.open("ab") as file:
            file.write(f"{LOG_BEGINS}, rank {number}\n".encode())
            file.flush()
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    code = 1
    try:
        code = _train(number, place, path, threads)
    except Exception as error:
        from aqr_exp.train.session import reason_for

        (place / f"reason-{number}").write_text(reason_for(error), encoding="utf-8")
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not through what waits for the other ranks, which may be gone.
    os._exit(code)


def _train(number: int, place: Path, path: Path, threads: int) -> int:
    from aqr_exp.data.workers import loader_workers
    from aqr_exp.train.__main__ import config_of
    from aqr_exp.train.session import train_and_score

    folder = QuietFolder(path) if number else RunFolder(path)
    config = config_of(folder)
    stop = StopRequest()
    with _joined(number, config.launcher.gpus_per_run, place), loader_workers():
        try:
            metrics = train_and_score(folder, config, threads=threads, stop=stop, place=place)
        except KeyboardInterrupt:
            return INTERRUPTED
        if number == 0:
            (place / _METRICS).write_text(json.dumps(metrics), encoding="utf-8")
    return 0


@contextlib.contextmanager
def _joined(number: int, count: int, place: Path) -> Iterator[None]:
    """Meet the other ranks: gloo for what is on CPUs, NCCL for what is on GPUs."""
    os.environ |= {"RANK": f"{number}", "LOCAL_RANK": f"{number}", "WORLD_SIZE": f"{count}"}
    backend = "gloo"
    if torch.cuda.is_available():
        if (there := torch.cuda.device_count()) < count:
            raise RunFailedError(f"launcher.gpus_per_run={count}: there are {there} GPUs")
        torch.cuda.set_device(number)
        backend = "cpu:gloo,cuda:nccl"
    # A file of this machine: no port that another run might take.
    meeting = f"file://{place / 'meeting'}"
    distributed.init_process_group(
        backend, init_method=meeting, rank=number, world_size=count, timeout=PATIENCE
    )
    yield
