"""Slots: the GPUs, or shares of the cores, that runs occupy one at a time."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from aqr_exp.errors import RequestError
from aqr_exp.store.lease import Lease, LeaseInfo, claim, clear_dead, look
from aqr_exp.store.process_identity import Liveness

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Room for one run.

    Attributes:
        name: Such as `cpu-0`; the same for every process of this machine.
        environment: Variables of its run.
    """

    name: str
    threads: int
    environment: Mapping[str, str] = field(default_factory=dict)


def usable_cores() -> int:
    """Cores this process may use, by its affinity and its container's quota; at least one."""
    known = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text(encoding="ascii").split()
        cores = min(cores, int(quota) // int(period))
    except (OSError, ValueError):
        pass  # no container, or one without a limit ("max")
    return max(1, cores)


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs that a process with these variables may use, as numbers or identifiers.

    `CUDA_VISIBLE_DEVICES` is read up to its first entry that is no device, as CUDA does; where it is
    not set, the driver lists them.
    """
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        names = (name.strip() for name in given.split(","))
        return list(takewhile(lambda name: name not in {"", "-1"}, names))
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True, timeout=20, text=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in listed.stdout.splitlines() if line.strip().isdecimal()]


def cpu_slots(count: int | None = None, threads: int = 1) -> list[Slot]:
    """Slots that together use each core once, as long as there are no more slots than cores.

    Args:
        count: When None as many as the cores hold: two trainings of one thread do more work together
            than one of two threads.
        threads: Of the run that takes the most.
    """
    count = max(1, usable_cores() // max(1, threads)) if count is None else count
    threads, environment = _share(count)
    environment |= {"CUDA_VISIBLE_DEVICES": ""}
    return [Slot(name=f"cpu-{at}", threads=threads, environment=environment) for at in range(count)]


def gpu_slots(gpus: Sequence[str], count: int | None = None) -> list[Slot]:
    """One slot per GPU, from the first; each gets the same number of cores.

    Raises:
        RequestError: The count is below one, or above the number of GPUs.
    """
    count = len(gpus) if count is None else count
    threads, environment = _share(count)
    if count > len(gpus):
        raise RequestError(f"--slots {count}: there are {len(gpus)} GPUs ({', '.join(gpus)})")
    # The driver counts in the order of the buses; CUDA does so only on request.
    environment |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return [
        Slot(
            name="gpu-" + re.sub(r"[^A-Za-z0-9-]", "_", gpu),
            threads=threads,
            environment=environment | {"CUDA_VISIBLE_DEVICES": gpu},
        )
        for gpu in gpus[:count]
    ]


def find_slots(count: int | None, *, on_gpus: bool, threads: int = 1) -> list[Slot]:
    """The slots of this machine: as many as asked for, one per GPU, or what its cores hold.

    Args:
        threads: Of the run that takes the most; they share out the cores where there is no GPU.

    Raises:
        RequestError: There are not so many.
    """
    gpus = visible_gpus(os.environ) if on_gpus else []
    return gpu_slots(gpus, count) if gpus else cpu_slots(count, threads)


def _share(count: int) -> tuple[int, dict[str, str]]:
    """Threads of each of so many slots, and the variables that say so."""
    if count < 1:
        raise RequestError(f"--slots {count}: must be at least 1")
    threads = max(1, usable_cores() // count)
    return threads, dict.fromkeys(THREAD_VARIABLES, str(threads))


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """A slot that this process has claimed.

    Attributes:
        lease: Its owner occupies the slot: this process, or the training once it runs.
    """

    slot: Slot
    lease: Lease


class SlotLeases:
    """Slots shared with every other launcher of this machine on the same results.

    Args:
        folder: Holds the claims, for all machines.
        slots: The slots this launcher may use.
    """

    def __init__(self, folder: Path, slots: Sequence[Slot]) -> None:
        self._folder = folder / re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())
        self._slots = list(slots)

    def reserve(self) -> Reservation | None:
        """Claim a free slot; None when all are in use."""
        for slot in self._slots:
            path = self._folder / slot.name
            standing = look(path)
            if standing is not None and standing.liveness is not Liveness.DEAD:
                continue
            self._folder.mkdir(parents=True, exist_ok=True)
            lease = claim(path)
            if not isinstance(lease, LeaseInfo):
                return Reservation(slot=slot, lease=lease)
        return None

    def occupied(self) -> str:
        """Who holds the slots, such as `a free slot: cpu-0 is held by process 12 on host`."""
        held = ((slot.name, look(self._folder / slot.name)) for slot in self._slots)
        holders = ", ".join(f"{name} is held by {owner}" for name, owner in held if owner)
        return f"a free slot: {holders or self._folder}"

    def clear_dead(self) -> None:
        """Give back slots whose owners are certainly dead."""
        clear_dead(self._folder)
