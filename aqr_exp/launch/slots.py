"""Slots: the GPUs, or shares of the cores, that runs occupy one at a time."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from aqr_exp.config.schema.run import CORES_VARIABLE
from aqr_exp.errors import Fault, RequestError
from aqr_exp.store.lease import Lease, LeaseInfo, claim, clear_dead, standing

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
CPU_NAMESPACE = Path("/proc/self/ns/cgroup")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Room for one run.

    Attributes:
        name: Such as `cpu-0`.
        environment: Variables of its run.
        parts: Names of the GPU, or of the cores, that its run takes: of the thing itself, so that every
            launcher of this machine that may use it has the same. Where none are named, the slot's.
    """

    name: str
    threads: int
    environment: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()


def usable_cores() -> int:
    """The number of cores that this process may use; at least one."""
    return len(own_cores())


def own_cores() -> list[str]:
    """Names of the cores this process may use, by affinity, its container's quota and its Slurm job.

    Cores that it is confined to have their own names, `cpu-3`. A quota, or a job that is not confined, is
    so many cores and none in particular: these have the name of the container or job, too.
    """
    known = hasattr(os, "sched_getaffinity")
    cores = sorted(os.sched_getaffinity(0)) if known else list(range(os.cpu_count() or 1))
    count, owner = min([(len(cores), ""), *_limits()])
    names = range(max(1, count)) if owner else cores
    return [f"{owner}cpu-{name}" for name in names]


def _limits() -> Iterator[tuple[int, str]]:
    """Numbers of cores that limit this process, each with what names of cores begin with under it."""
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        quota, period = CPU_QUOTA.read_text(encoding="ascii").split()
        yield int(quota) // int(period), _in_name(f"{CPU_NAMESPACE.readlink()}-")
    with suppress(KeyError, ValueError):  # no job
        count = int(os.environ["SLURM_CPUS_ON_NODE"])
        if count > 0:
            yield count, job_prefix(os.environ)


def job_prefix(environment: Mapping[str, str]) -> str:
    """What names begin with of things that a Slurm job's step has to itself; empty outside of one."""
    job = environment.get("SLURM_JOB_ID")
    return _in_name(f"job-{job}-{environment.get('SLURM_STEP_ID', 'batch')}-") if job else ""


def _in_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "_", text)


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs that a process with these variables may use, as numbers or identifiers.

    `CUDA_VISIBLE_DEVICES` is read up to its first entry that is no device, as CUDA does; where it is
    not set, the driver lists them.
    """
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        names = (name.strip() for name in given.split(","))
        return list(takewhile(lambda name: name not in {"", "-1"}, names))
    return [str(index) for index in range(len(_listed_gpus()))]


def _listed_gpus() -> list[str]:
    """UUIDs of the GPUs that the driver shows this process, in its order; none without a driver.

    Of a GPU in parts (MIG) it is that of the first part, the one that CUDA takes.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        listed = subprocess.run(
            [program, "-L"], capture_output=True, check=True, timeout=20, text=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    found: list[str] = []
    for part, uuid in re.findall(r"^(\s*)\S.*\(UUID: ([^)\s]+)\)", listed.stdout, re.MULTILINE):
        if not part:
            found.append(uuid)
        elif found and found[-1].startswith("GPU-"):
            found[-1] = uuid
    return found


def gpu_part(gpu: str, listed: Sequence[str], job: str) -> str:
    """The name of a GPU itself, whatever number it has for this process.

    Args:
        gpu: As `CUDA_VISIBLE_DEVICES` has it: a number, or the beginning of a UUID.
        listed: What the driver lists.
        job: What names begin with in this job, where the driver does not tell.
    """
    if gpu.isdecimal() and int(gpu) < len(listed):
        gpu = listed[int(gpu)]
    elif gpu.isdecimal():
        gpu = f"{job}{gpu}"
    else:
        alike = [uuid for uuid in listed if uuid.startswith(gpu)]
        gpu = alike[0] if len(alike) == 1 else gpu
    return "gpu-" + _in_name(gpu)


def cpu_slots(count: int | None = None, threads: int = 1, ranks: int = 1) -> list[Slot]:
    """Slots that together use each core once, as long as there are no more slots than cores.

    Args:
        count: When None as many as the cores hold: two trainings of one thread do more work together
            than one of two threads.
        threads: Of each process of the run that takes the most; 0 is its share of the slot.
        ranks: Processes of the run that has the most: so many times the threads are a slot's cores.
    """
    cores = own_cores()
    count = max(1, len(cores) // max(1, threads * ranks)) if count is None else count
    share, environment = _share(count, ranks)
    environment |= {"CUDA_VISIBLE_DEVICES": ""}
    each = min((threads or share) * ranks, len(cores))
    # More slots than there are cores were asked for: those after the last core are its second share.
    shares = [f"{cores[at % len(cores)]}{_layer(at // len(cores))}" for at in range(count * each)]
    parts = [tuple(shares[at : at + each]) for at in range(0, len(shares), each)]
    return [Slot(name=one[0], threads=share, environment=environment, parts=one) for one in parts]


def _layer(number: int) -> str:
    return f".{number}" if number else ""


def gpu_slots(gpus: Sequence[str], count: int | None = None, ranks: int = 1) -> list[Slot]:
    """One slot per GPU, or per `ranks` of them, from the first; each gets the same number of cores.

    Raises:
        RequestError: The count is below one, or there are not so many GPUs.
    """
    there = f"there are {len(gpus)} GPUs ({', '.join(gpus)})"
    if ranks > len(gpus):
        raise RequestError(Fault("launcher.gpus_per_run", f"{ranks}", there))
    count = len(gpus) // ranks if count is None else count
    threads, environment = _share(count, ranks)
    if count * ranks > len(gpus):
        taken = f", and a run takes {ranks}" if ranks > 1 else ""
        raise RequestError(f"--slots {count}: {there}{taken}")
    # The driver counts in the order of the buses; CUDA does so only on request.
    environment |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    listed, job = _listed_gpus(), job_prefix(os.environ)
    return [
        Slot(
            name=f"gpu-{_in_name('-'.join(taken))}",
            threads=threads,
            environment=environment | {"CUDA_VISIBLE_DEVICES": ",".join(taken)},
            parts=tuple(gpu_part(gpu, listed, job) for gpu in taken),
        )
        for taken in (gpus[at : at + ranks] for at in range(0, count * ranks, ranks))
    ]


def find_slots(count: int | None, *, on_gpus: bool, threads: int = 1, ranks: int = 1) -> list[Slot]:
    """The slots of this machine: as many as asked for, one per GPU, or what its cores hold.

    Args:
        threads: Of the run that takes the most; they share out the cores where there is no GPU.
        ranks: Processes of the run that has the most: so many GPUs, or times the threads, are a slot.

    Raises:
        RequestError: There are not so many.
    """
    gpus = visible_gpus(os.environ) if on_gpus else []
    return gpu_slots(gpus, count, ranks) if gpus else cpu_slots(count, threads, ranks)


def _share(count: int, ranks: int) -> tuple[int, dict[str, str]]:
    """Threads of each process in so many slots, and the variables that say so."""
    if count < 1:
        raise RequestError(f"--slots {count}: must be at least 1")
    threads = max(1, usable_cores() // (count * ranks))
    return threads, dict.fromkeys((*THREAD_VARIABLES, CORES_VARIABLE), str(threads))


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """A slot that this process has claimed.

    Attributes:
        leases: Those of its parts. Their owner occupies the slot: this process, or the training once it
            runs.
    """

    slot: Slot
    leases: Sequence[Lease]

    def hand_over(self, pid: int) -> None:
        """Make a process of this machine the owner."""
        for lease in self.leases:
            lease.hand_over(pid)

    def beat_when_due(self) -> None:
        """Record that the owner is alive."""
        for lease in self.leases:
            lease.beat_when_due()

    def release(self) -> None:
        """Give the slot back."""
        for lease in self.leases:
            lease.release()


class SlotLeases:
    """Slots shared with every other launcher of this machine on the same results.

    Args:
        folder: Holds the claims, for all machines.
        slots: The slots this launcher may use.
    """

    def __init__(self, folder: Path, slots: Sequence[Slot]) -> None:
        self._folder = folder / re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())
        self._slots = list(slots)
        self._parts = {slot.name: slot.parts or (slot.name,) for slot in slots}

    def reserve(self) -> Reservation | None:
        """Claim a free slot; None when all are in use."""
        for slot in self._slots:
            paths = [self._folder / part for part in self._parts[slot.name]]
            if standing(paths):
                continue
            self._folder.mkdir(parents=True, exist_ok=True)
            if leases := _claim_all(paths):
                return Reservation(slot=slot, leases=leases)
        return None

    def occupied(self) -> str:
        """Who holds the slots, such as `a free slot: cpu-0 is held by process 12 on host`."""
        held = (
            (name, standing(self._folder / part for part in parts)[:1])
            for name, parts in self._parts.items()
        )
        holders = ", ".join(f"{name} is held by {owners[0]}" for name, owners in held if owners)
        return f"a free slot: {holders or self._folder}"

    def clear_dead(self) -> None:
        """Give back slots whose owners are certainly dead."""
        clear_dead(self._folder)


def _claim_all(paths: Sequence[Path]) -> list[Lease]:
    """The leases at all paths; none when one of them is another process's."""
    leases: list[Lease] = []
    try:
        for path in paths:
            lease = claim(path)
            if isinstance(lease, LeaseInfo):
                break
            leases.append(lease)
    finally:
        if len(leases) < len(paths):
            while leases:
                leases.pop().release()
    return leases
