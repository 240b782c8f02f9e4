"""Who holds a lease, and whether that process lives: alive, dead or unknown, never a guess."""

import functools
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

# A holder that nobody here can ask counts as alive for so long after its last heartbeat.
FRESH_S = 60.0

PROC = Path("/proc")
MACHINE_ID = Path("/etc/machine-id")


class Life(Enum):
    """What is known of a process; work is taken over from the dead only."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Holder:
    """One process on one machine, told from every other one.

    Attributes:
        host: The machine's name.
        machine: Its `/etc/machine-id`; None where it has none.
        boot: The kernel's identifier of this boot; None where it has none.
        namespace: In which process namespace `pid` counts (containers); None where unknown.
        pid: The process.
        started: When it started, in clock ticks after boot: numbers of processes are reused,
            this pair is not. None where the system does not say.
    """

    host: str
    machine: str | None
    boot: str | None
    namespace: str | None
    pid: int
    started: int | None

    def __str__(self) -> str:
        """Such as `process 12 on host`."""
        return f"process {self.pid} on {self.host}"

    def as_json(self) -> dict[str, Any]:
        """What a lease's file holds."""
        return asdict(self)


def holder_from_json(value: Mapping[str, Any]) -> Holder:
    """Check what was read from a lease's file.

    Raises:
        ValueError: A field is missing or holds what it cannot.
    """
    texts = {name: value.get(name) for name in ("host", "machine", "boot", "namespace")}
    pid, started = value.get("pid"), value.get("started")
    if not isinstance(texts["host"], str):
        raise ValueError("host must be text")
    if not all(isinstance(text, (str, type(None))) for text in texts.values()):
        raise ValueError("machine, boot and namespace must be text")
    if not isinstance(pid, int) or isinstance(pid, bool) or pid < 1:
        raise ValueError(f"pid is {pid!r}; it must be a whole number from 1")
    if not isinstance(started, (int, type(None))):
        raise ValueError("started must be a whole number")
    return Holder(
        host=texts["host"],
        machine=texts["machine"],
        boot=texts["boot"],
        namespace=texts["namespace"],
        pid=pid,
        started=started,
    )


def process(pid: int | None = None) -> Holder:
    """A process of this machine as a holder; this one when None."""
    pid = os.getpid() if pid is None else pid
    machine, boot = _machine()
    facts = _stat(pid)
    return Holder(
        host=socket.gethostname(),
        machine=machine,
        boot=boot,
        namespace=_namespace(),
        pid=pid,
        started=facts[1] if facts else None,
    )


def judge(holder: Holder, beat_age_s: float) -> Life:
    """Whether a holder lives.

    Args:
        holder: The process.
        beat_age_s: Seconds since its last heartbeat, by clocks that may differ.

    Returns:
        Dead only when it cannot come back: its process is gone, its number belongs to a later
        process, or its machine was started anew. Of a process on another machine or in another
        container nothing but heartbeats is known: alive while they come, unknown when they stop.
    """
    here = process()
    by_beat = Life.ALIVE if beat_age_s < FRESH_S else Life.UNKNOWN
    if (holder.host, holder.machine) != (here.host, here.machine):
        return by_beat
    if holder.boot != here.boot:
        # A machine that shares its name (and has no identifier) would still beat.
        return Life.UNKNOWN if beat_age_s < FRESH_S else Life.DEAD
    if holder.namespace != here.namespace:
        return by_beat
    return _judge_here(holder)


def is_gone(pid: int) -> bool:
    """Whether no process of this number will ever run again on this machine as the one it was."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody else's process: it is there
    facts = _stat(pid)
    # A process that was killed and not yet collected by its parent never runs again.
    return facts is not None and facts[0] in "ZX" and _threads(pid) <= 1


def _judge_here(holder: Holder) -> Life:
    """Whether a process of this machine and process namespace lives."""
    if is_gone(holder.pid):
        return Life.DEAD
    facts = _stat(holder.pid)
    if facts is None:
        # It ended between the two looks, or the system shows nothing of others' processes.
        return Life.UNKNOWN
    reused = holder.started is not None and facts[1] != holder.started
    return Life.DEAD if reused else Life.ALIVE


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


@functools.cache
def _machine() -> tuple[str | None, str | None]:
    """Identifiers of this machine and of this boot."""
    return _line(MACHINE_ID), _line(PROC / "sys/kernel/random/boot_id")


def _namespace() -> str | None:
    try:
        return os.readlink(PROC / "self/ns/pid")  # noqa: PTH115 - no path, an identifier
    except OSError:
        return None


def _line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
