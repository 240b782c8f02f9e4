"""The memory this process holds, as Linux tells it."""

import ctypes
import gc
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_CLEAR_PEAK = "5"


def forget_peak() -> bool:
    """Count the most memory in use from here.

    Returns:
        Whether the system does so.
    """
    try:
        _CLEAR.write_text(_CLEAR_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def peak_bytes() -> int | None:
    """The most that was resident since the process began or `forget_peak`; None where nobody knows."""
    return _bytes_of("VmHWM")


def resident_bytes() -> int | None:
    """What is resident now; None where nobody knows."""
    return _bytes_of("VmRSS")


def give_back_free_memory() -> None:
    """Give what was freed, and is kept for the next allocation, back to the system, where it can be."""
    gc.collect()
    with suppress(AttributeError, OSError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def _bytes_of(name: str) -> int | None:
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")]
    return found[0] if found else None
