"""A range of rows shared among threads: torch's own, which are awake already.

When a parallel loop of torch ends, its threads spin for some milliseconds, to be quick at the next one.
Another pool would have to fight them for the cores. The rows are therefore given to the same team, by the
call that a compiler makes of a parallel loop (`GOMP_parallel`, which all of Linux' OpenMP runtimes have).
Where there is none, and in a forked child, where that team is gone, plain Python threads take its place.
numba's own thread layers are not used: they do not survive the fork of a data loader's worker.
"""

import ctypes
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any

import torch

# More ranges than threads, so that a thread that is late does not keep the others waiting for long.
_RANGES_PER_THREAD = 4
# Multiplications below which the calling thread works alone: a few tenths of a millisecond.
_LEAST_SHARED = 2**20

_PROCESS = os.getpid()
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def parallel_for(kernel: Callable[..., None], total: int, work: int, *arguments: Any) -> None:
    """Call kernel(first, last, *arguments) for ranges that cover 0 .. total.

    Args:
        kernel: Writes nothing outside its range, and lets go of the interpreter's lock.
        total: End of the last range.
        work: About how many multiplications it takes in all.

    Raises:
        BaseException: What the kernel raised first, once all threads have stopped.
    """
    threads = torch.get_num_threads()
    if threads == 1 or work < _LEAST_SHARED:
        kernel(0, total, *arguments)
        return
    ranges = max(1, min(total, threads * _RANGES_PER_THREAD))
    ends = [total * number // ranges for number in range(ranges + 1)]
    # A list's iterator gives each item to one thread alone.
    left = iter([*itertools.pairwise(ends)])
    begun: set[int] = set()
    failures: list[BaseException] = []

    def take_ranges() -> None:
        try:
            begun.add(threading.get_ident())
            for first, last in left:
                kernel(first, last, *arguments)
        except BaseException as error:
            failures.append(error)

    _share()(take_ranges, threads)
    if failures:
        raise failures[0]
    if threading.get_ident() not in begun:
        # Nothing but a signal comes between a call from outside the interpreter and its first line.
        raise KeyboardInterrupt


def _share() -> Callable[[Callable[[], None], int], None]:
    """Caller of a function in several threads at once, the calling one among them."""
    # A forked process has none of its parent's threads, and OpenMP would wait for them for ever.
    forked = os.getpid() != _PROCESS
    return _in_pool if forked or not hasattr(_global_symbols(), "GOMP_parallel") else _in_team


@cache
def _global_symbols() -> ctypes.CDLL:
    """Torch opens its OpenMP runtime for all to see: this finds the one that torch itself calls."""
    return ctypes.CDLL(None)


def _in_team(function: Callable[[], None], threads: int) -> None:
    callback = _CALLBACK(lambda _: function())
    _global_symbols().GOMP_parallel(callback, None, ctypes.c_uint(threads), ctypes.c_uint(0))


def _in_pool(function: Callable[[], None], threads: int) -> None:
    helpers = [_pool(threads).submit(function) for _ in range(threads - 1)]
    try:
        function()
    finally:
        # Other threads may be busy on the other cores: who has not begun is not waited for.
        wait([helper for helper in helpers if not helper.cancel()])


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="aqr-exp-windows")


os.register_at_fork(after_in_child=_pool.cache_clear)
