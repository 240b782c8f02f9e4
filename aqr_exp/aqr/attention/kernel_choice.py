"""Whether the compiled kernels can be used: numba is optional, and imported at the first use alone."""

import importlib
import logging
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

_LOG = logging.getLogger(__name__)


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
    return importlib.import_module(f"aqr_exp.aqr.attention.{name}")


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
