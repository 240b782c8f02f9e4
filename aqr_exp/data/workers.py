"""Worker processes: of work that is done scene by scene, and of data loaders."""

import contextlib
import ctypes
import functools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from typing import Any

from aqr_exp.config.schema.run import CORES_VARIABLE, MOST_WORKERS, LauncherConfig
from aqr_exp.errors import STOPPING, AqrExpError


def run_in_workers(
    calls: Sequence[Callable[[], Any]], workers: int, finished: Callable[[int], None]
) -> list[Any]:
    """Run calls in worker processes, or in this one where one is enough; return their results in order.

    Args:
        finished: Called in this process with the index of each call that has returned.

    Raises:
        Exception: The first error of a call, AqrExpError of a killed worker; the other calls are cancelled.
    """
    results: list[Any] = [None] * len(calls)
    if workers == 1:
        for index, call in enumerate(calls):
            results[index] = call()
            finished(index)
        return results
    # Workers start from a clean process: nothing of the caller's threads or locks is inherited.
    context = multiprocessing.get_context("spawn")
    prepare = functools.partial(die_with, os.getpid())
    # SIGTERM alone stays theirs: the pool ends with it what is left of a broken one.
    with blocked(set(STOPPING) - {signal.SIGTERM}):
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=prepare)
        tasks = {pool.submit(call): index for index, call in enumerate(calls)}
    with pool:
        try:
            for task in as_completed(tasks):
                results[tasks[task]] = task.result()
                finished(tasks[task])
        except BaseException as error:
            # What they have begun is of no use any more, and may take long.
            for worker in multiprocessing.active_children():
                worker.kill()
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, BrokenExecutor):
                raise AqrExpError("a worker process was killed (out of memory?)") from None
            raise
    return results


@contextlib.contextmanager
def blocked(numbers: set[signal.Signals]) -> Iterator[None]:
    """Let signals wait; a process that starts meanwhile never gets them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def trains_on_gpu(launcher: LauncherConfig) -> bool:
    """True if a training of this process would use CUDA."""
    if launcher.device == "cpu":
        return False
    import torch

    return torch.cuda.is_available()


def loading_processes(launcher: LauncherConfig, *, on_gpu: bool) -> int:
    """Loader workers of a training process; `auto` leaves one of its cores to the training.

    Its cores are those of its slot, or a GPU's share of all that it may use; the processes of one
    training share them.
    """
    workers = launcher.loader_workers
    if workers != "auto":
        return workers
    if not on_gpu:
        return 1
    import torch

    share, gpus = os.environ.get(CORES_VARIABLE, ""), torch.cuda.device_count()
    cores = len(os.sched_getaffinity(0)) // max(1, gpus)
    cores = int(share) if share.isdecimal() else cores
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(max(1, cores // ranks - 1), MOST_WORKERS)


_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Let this process be killed when its parent, that process, ends: nobody else would end it."""
    with contextlib.suppress(AttributeError):  # Linux alone has it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


_forking: list[int] = []
"""The process whose forks are loader workers, once for each context that says so."""


@contextlib.contextmanager
def loader_workers() -> Iterator[None]:
    """Make processes that are forked in this context die with this one and hear no request to stop.

    A signal to the whole group (of Slurm, systemd or a terminal) reaches them as well, and a worker that
    it ended would make the stop that it asks for a failure. They are born deaf: with a handler of their
    own there would be a moment before it.
    """
    _watch_forks()
    _forking.append(os.getpid())
    try:
        yield
    finally:
        _forking.pop()
        # Until they are reaped torch takes their end for a failure, whichever child it hears of next.
        with blocked({signal.SIGCHLD}):
            for worker in multiprocessing.active_children():
                worker.kill()  # deaf to what torch and the interpreter would end it with
                worker.join()


@functools.cache
def _watch_forks() -> None:
    """Register what is done around forks; it does nothing outside `loader_workers`."""

    def block() -> None:
        if _forking:
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)

    def unblock() -> None:
        if _forking:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    def follow() -> None:
        if _forking:
            die_with(_forking[-1])

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=follow)
