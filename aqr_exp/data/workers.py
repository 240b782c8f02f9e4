"""Worker processes for work that is done scene by scene."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any


def run_in_workers(
    calls: Sequence[Callable[[], Any]], workers: int, finished: Callable[[int], None]
) -> list[Any]:
    """Run calls in worker processes and return their results in order.

    Args:
        finished: Called in this process with the index of each call that has returned.

    Raises:
        Exception: The first error of a call; the calls that have not begun are cancelled.
    """
    # Workers start from a clean process: nothing of the caller's threads or locks is inherited.
    context = multiprocessing.get_context("spawn")
    results: list[Any] = [None] * len(calls)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker) as pool:
        tasks = {pool.submit(call): index for index, call in enumerate(calls)}
        try:
            for task in as_completed(tasks):
                results[tasks[task]] = task.result()
                finished(tasks[task])
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return results


def _prepare_worker() -> None:
    """Leave Ctrl-C to the parent, and exit when the parent does.

    A parent that is killed cannot stop its workers, which would wait for work for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
