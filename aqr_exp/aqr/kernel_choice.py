"""Whether the compiled kernels can be used, and how a range of rows is shared among threads.

numba is optional, and imported at the first use alone. Its own thread layers are not used: they do
not survive the fork of a data loader's worker. Kernels let go of the interpreter's lock instead, and
plain Python threads, as many as torch has with the calling one, share the rows.
"""

import importlib
import itertools
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

_LOG = logging.getLogger(__name__)
# More ranges than threads, so that a thread that is late does not keep the others waiting for long.
_RANGES_PER_THREAD = 4
# Multiplications below which the calling thread works alone: to wake another takes a few tenths of a
# millisecond, torch's own threads being still awake on the other cores.
_LEAST_SHARED = 2**20


def serves(*tensors: Tensor) -> bool:
    """Whether the kernels can read these tensors: single precision, on a CPU, and numba installed.

    The first time that they cannot, the reason is logged.

    Args:
        tensors: All floating-point arguments.
    """
    for tensor in tensors:
        if tensor.device.type != "cpu":
            return _refuse(f"tensors on {tensor.device.type}")
        if tensor.dtype != torch.float32:
            return _refuse(f"tensors of {tensor.dtype}")
    return _installed() or _refuse("no numba")


def kernels(name: str) -> ModuleType:
    """A module of kernels of this package, once `serves` has said yes.

    Args:
        name: Its last name.
    """
    return importlib.import_module(f"aqr_exp.aqr.{name}")


def in_ranges(kernel: Callable[..., None], total: int, work: int, *arguments: Any) -> None:
    """Call kernel(first, last, *arguments) for ranges that cover 0 .. total.

    Args:
        kernel: Writes nothing outside its range.
        total: End of the last range.
        work: About how many multiplications it takes in all.
        arguments: Passed on.
    """
    threads = torch.get_num_threads()
    if threads == 1 or work < _LEAST_SHARED:
        kernel(0, total, *arguments)
        return
    ranges = max(1, min(total, threads * _RANGES_PER_THREAD))
    ends = [total * number // ranges for number in range(ranges + 1)]
    # A list's iterator gives each item to one thread alone.
    left = iter([*itertools.pairwise(ends)])

    def take_ranges() -> None:
        for first, last in left:
            kernel(first, last, *arguments)

    helpers = [_pool(threads).submit(take_ranges) for _ in range(threads - 1)]
    try:
        take_ranges()
    finally:
        # Torch's own threads may still spin on the other cores: who has not begun is not waited for.
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()


@cache
def _installed() -> bool:
    try:
        importlib.import_module("numba")
    except ImportError:
        return False
    return True


@cache
def _refuse(reason: str) -> bool:
    _LOG.info("attention in windows runs uncompiled: %s", reason)
    return False


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="aqr-exp-windows")


# A forked process has none of its parent's threads.
os.register_at_fork(after_in_child=_pool.cache_clear)
