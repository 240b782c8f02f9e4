"""Locks that end with the process that held them, and who that is."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from aqr_exp.errors import AqrExpError
from aqr_exp.results.atomic import read_json, replace_json

# Looking whether a lock is held takes it for an instant; a real holder waits that instant out.
PATIENCE_S = 5.0


class LockHeldError(AqrExpError):
    """Another process works on the run."""


def holder_path(path: Path) -> Path:
    """The file beside a lock that says who took it last."""
    return path.with_name(path.name + ".json")


def describe_holder(path: Path) -> str:
    """Who took the lock at `path` last, such as `process 12 on host`."""
    try:
        holder = read_json(holder_path(path))
    except AqrExpError:
        return "another process"
    return f"process {holder.get('pid')} on {holder.get('host')}"


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock at `path`."""
    import filelock

    if not path.exists():
        return False
    probe = filelock.FileLock(path, is_singleton=False)
    try:
        probe.acquire(blocking=False)
    except filelock.Timeout:
        return True
    probe.release()
    return False


@contextlib.contextmanager
def hold(path: Path, patience_s: float | None = None) -> Iterator[None]:
    """Hold the lock at `path`; the kernel frees it when the process ends, however it ends.

    Args:
        path: The lock file; its folder must exist.
        patience_s: How long to wait for it, in seconds; None waits `PATIENCE_S`.

    Raises:
        LockHeldError: Another process holds it; names that process.
    """
    import filelock

    lock = filelock.FileLock(path, is_singleton=False)
    try:
        lock.acquire(timeout=PATIENCE_S if patience_s is None else patience_s)
    except filelock.Timeout:
        raise LockHeldError(f"{path.parent.name} is worked on by {describe_holder(path)}") from None
    try:
        replace_json(holder_path(path), {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        lock.release()
