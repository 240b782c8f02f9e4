"""Processes told apart across restarts, machines and containers, and whether one is alive.

The answer is alive, dead or unknown, never a guess. Start times are counted from boot as the kernel does:
psutil's follow the wall clock, which may be set, and would make a living process look like another one.
"""

import functools
import math
import os
import re
import socket
from enum import Enum
from pathlib import Path
from typing import Annotated

import msgspec

from aqr_exp.files.text import printable
from aqr_exp.store.slurm import SlurmJob, is_over, own_job

# A process that cannot be looked at from here counts as alive for so long after its last heartbeat.
FRESH_S = 60.0
# After so long without a heartbeat the scheduler of jobs is asked what has become of its job.
SILENT_S = 20.0

PROC = Path("/proc")
MACHINE_ID = Path("/etc/machine-id")


class Liveness(Enum):
    """Whether a process is alive; work is taken over from the dead only."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class ProcessIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """One process on one machine, told from every other one.

    Attributes:
        host: The machine's name.
        machine: Its `/etc/machine-id`; None where it has none.
        boot: The kernel's identifier of this boot; None where it has none.
        namespace: In which process namespace `pid` counts (containers); None where unknown.
        pid: The process.
        started: When it started, in clock ticks after boot: numbers of processes are reused,
            this pair is not. None where the system does not say.
        job: The job of Slurm that it is a part of and ends with; None outside of one.
    """

    host: str
    machine: str | None = None
    boot: str | None = None
    namespace: str | None = None
    pid: Annotated[int, msgspec.Meta(ge=1)]
    started: int | None = None
    job: SlurmJob | None = None

    def __str__(self) -> str:
        """Such as `process 12 on host`, and its job."""
        job = f" ({self.job})" if self.job else ""
        return printable(f"process {self.pid} on {self.host}{job}")


def process(pid: int | None = None) -> ProcessIdentity:
    """The identity of a process of this machine; of this one when None."""
    pid = os.getpid() if pid is None else pid
    facts = _stat(pid)
    return ProcessIdentity(
        host=socket.gethostname(),
        machine=_line(MACHINE_ID),
        boot=_line(PROC / "sys/kernel/random/boot_id"),
        namespace=_namespace(),
        pid=pid,
        started=facts[1] if facts else None,
        job=own_job(),
    )


def liveness_of(owner: ProcessIdentity, beat_age_s: float, lease: Path | None = None) -> Liveness:
    """Whether a process is alive.

    Args:
        beat_age_s: Seconds since its last heartbeat, by clocks that may differ.
        lease: The file it beats in.

    Returns:
        Dead only when it cannot come back: its process is gone, its number belongs to a later
        process, or its machine was started anew since its last heartbeat: of that a lease on a
        disk of this machine is evidence, one on a shared file system is not. Of a process on
        another machine or in another container nothing but heartbeats is known: alive while they
        come, unknown when they stop; dead then, where Slurm says that its job is over.
    """
    here = process()
    if (owner.host, owner.machine) != (here.host, here.machine):
        return _by_beat(owner, beat_age_s)
    if owner.boot != here.boot:
        # A copy of a machine shares its name and identifier, but neither its disks nor its starts.
        restarted = (
            lease is not None and beat_age_s > max(FRESH_S, _uptime_s()) and _on_own_disk(lease)
        )
        return Liveness.DEAD if restarted else _by_beat(owner, max(beat_age_s, FRESH_S))
    if owner.namespace != here.namespace:
        return _by_beat(owner, beat_age_s)
    if is_gone(owner.pid):
        return Liveness.DEAD
    facts = _stat(owner.pid)
    if facts is None:
        # It ended between the two looks, or the system shows nothing of others' processes.
        return Liveness.UNKNOWN
    reused = owner.started is not None and facts[1] != owner.started
    return Liveness.DEAD if reused else Liveness.ALIVE


def _by_beat(owner: ProcessIdentity, beat_age_s: float) -> Liveness:
    """Whether a process lives that cannot be looked at, by its heartbeats and its job."""
    if beat_age_s >= SILENT_S and owner.job is not None and is_over(owner.job):
        return Liveness.DEAD
    return Liveness.ALIVE if beat_age_s < FRESH_S else Liveness.UNKNOWN


def _uptime_s() -> float:
    """Seconds since this machine was started; infinite where it does not say."""
    try:
        return float((PROC / "uptime").read_text(encoding="ascii").split()[0])
    except (OSError, IndexError, ValueError):
        return math.inf


# File systems that one machine has to itself.
OWN_DISKS = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "overlay", "tmpfs"}


def _on_own_disk(file: Path) -> bool:
    """Whether a file lies where only processes of this machine can have written it."""
    place, longest, kind = os.path.realpath(file), "", ""
    try:
        mounts = (PROC / "self/mountinfo").read_text(encoding="utf-8", errors="replace")
        for line in mounts.splitlines():
            about, _, system = line.partition(" - ")
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), about.split()[4])
            if len(point) >= len(longest) and f"{place}/".startswith(point.rstrip("/") + "/"):
                longest, kind = point, system.split()[0]
    except (OSError, IndexError):
        return False
    return kind in OWN_DISKS


def is_gone(pid: int) -> bool:
    """Whether no process of this number will ever run again on this machine as the one it was."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # another user's process: it is there
    facts = _stat(pid)
    # A process that was killed and not yet collected by its parent never runs again.
    return facts is not None and facts[0] in "ZX" and _threads(pid) <= 1


def _stat(pid: int) -> tuple[str, int] | None:
    """A process's state letter and start time in ticks; None when they cannot be read."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        # The name in brackets may hold anything, brackets and spaces included.
        fields = text.rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(PROC / str(pid) / "task"))  # noqa: PTH208 - names only
    except OSError:
        return 0


def _namespace() -> str | None:
    try:
        return os.readlink(PROC / "self/ns/pid")  # noqa: PTH115 - no path, an identifier
    except OSError:
        return None


@functools.cache
def _line(path: Path) -> str | None:
    """The identifier that a file holds; it does not change while the machine runs."""
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
