"""Which processor and which GPUs this machine has, asked of the system and not of torch."""

import os
import platform
import socket
from pathlib import Path
from typing import Any

CPU_INFO = Path("/proc/cpuinfo")
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")


def machine() -> dict[str, Any]:
    """What times measured here depend on.

    Returns:
        `host`, `cpus` and `gpus` (models, sorted); `processor` where the system names it.
    """
    facts: dict[str, Any] = {
        "host": socket.gethostname(),
        "cpus": os.cpu_count(),
        "gpus": gpu_models(),
    }
    processor = processor_model()
    return facts | ({"processor": processor} if processor else {})


def processor_model() -> str | None:
    """The processor as it names itself; None where the system does not say."""
    return next(iter(_values(CPU_INFO, "model name")), None) or platform.processor() or None


def gpu_models() -> list[str]:
    """The NVIDIA GPUs the driver knows."""
    reports = sorted(NVIDIA_GPUS.glob("*/information"))
    return sorted(model for report in reports for model in _values(report, "Model"))


def _values(path: Path, name: str) -> list[str]:
    """What a file of `name : value` lines says under a name; nothing when it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    pairs = [line.partition(":") for line in lines]
    return [value.strip() for key, _, value in pairs if key.strip() == name]
