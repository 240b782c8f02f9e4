"""Leases: exactly one process owns a piece of work, and every other sees which, and whether it is alive.

A lease is a folder with one file in it, named after a random token, which names its owner. Whatever else
lies there or in the folder's place (`.nfs...`, `.DS_Store`) is no lease: who claims removes it. Only two
things are asked of a file system, so that a shared one will do:

- renaming a folder onto one that holds something fails, and onto an empty or absent one succeeds in
  one step: of all who claim, one wins, and nobody ever sees half a lease;
- a name that is gone cannot be removed a second time: a dead owner's file is removed by its token,
  so whoever looked long ago can never remove the lease of a living successor.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from aqr_exp.errors import AqrExpError, is_shortage
from aqr_exp.files.atomic import writes
from aqr_exp.files.progress import told
from aqr_exp.files.reading import read_json
from aqr_exp.files.text import printable
from aqr_exp.store.process_identity import Liveness, ProcessIdentity, is_gone, liveness_of, process

BEAT_S = 5.0
# How often one claim is tried when others claim, release and die at the same moment.
TRIES = 50
TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}
# What a claimer that was killed halfway left behind is litter after so long.
DRAFT_AGE_S = 60.0
_OWNER = re.compile(r"[0-9a-f]{16}\.json")


@dataclass(frozen=True, kw_only=True)
class LeaseInfo:
    """One reading of a lease that is held.

    Attributes:
        file: The owner's file.
        owner: The process; None when the file cannot be read.
        beat_age_s: Seconds since its last heartbeat.
    """

    file: Path
    owner: ProcessIdentity | None
    liveness: Liveness
    beat_age_s: float

    def __str__(self) -> str:
        """Such as `process 12 on host`, with what is known of it when it may be dead."""
        if self.owner is None and not _OWNER.fullmatch(self.file.name):
            return printable(f"{self.file}, which is no lease: remove it")
        who = str(self.owner) if self.owner else "an unreadable lease"
        if self.liveness is Liveness.UNKNOWN:
            return f"{who} (unknown whether it lives: silent for {self.beat_age_s:.0f} s)"
        return who


class Lease:
    """A lease this process holds: its folder, and the owner's file in it."""

    def __init__(self, path: Path, file: Path) -> None:
        self.path = path
        self.file = file
        self._beat_at = time.monotonic()

    def beat(self) -> bool:
        """Record that the owner is alive.

        Returns:
            Whether the lease is still held; False when it was taken away.
        """
        self._beat_at = time.monotonic()
        try:
            os.utime(self.file)
        except OSError as error:  # a file system that hangs for a while takes no lease away
            return not isinstance(error, FileNotFoundError)
        return True

    def beat_when_due(self) -> bool:
        """Beat, when the last one is long enough ago; returns what `beat` does."""
        return self.beat() if time.monotonic() - self._beat_at >= BEAT_S else True

    def hand_over(self, pid: int) -> None:
        """Make a process of this machine the owner, for example a child that was just started.

        Where that cannot be written (a full disk), this process stays the owner.
        """
        # Not in the lease's own folder: what a kill left there would keep others from claiming it.
        beside = _draft(self.path, self.file.stem)
        try:
            _write(beside, process(pid))
            beside.replace(self.file)
        except OSError:
            beside.unlink(missing_ok=True)

    def release(self) -> None:
        """Give the lease back; one that was taken away is left to its new owner."""
        evict(self.file)
        _remove_drafts(self.path)


def claim(path: Path) -> Lease | LeaseInfo:
    """Take the lease at `path` when it is free or its owner is certainly dead.

    Args:
        path: The lease's folder; its parent must exist.

    Returns:
        The lease, or the one of its owner, who is alive or unknown.

    Raises:
        OSError: The file system refused something else than the claim.
    """
    token = secrets.token_hex(8)
    draft, stray = _draft(path, token), path
    try:
        for _ in range(TRIES):
            held = look(path)
            if held is not None:
                if held.liveness is not Liveness.DEAD:
                    return held
                evict(held.file)
            new = not draft.exists()
            if new:
                draft.mkdir()
            try:
                if new:
                    _write(draft / f"{token}.json", process())
                os.rename(draft, path)  # noqa: PTH104 - Path.replace says the same less clearly
            except FileNotFoundError:
                continue  # another process took the draft for litter
            except OSError as error:
                if error.errno not in TAKEN:
                    raise
                stray = _remove_strays(path) or path
            else:
                _remove_drafts(path)
                return Lease(path, path / f"{token}.json")
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return _no_lease(stray)


def look(path: Path) -> LeaseInfo | None:
    """The lease at `path`; None when it is free. Changes nothing."""
    for _ in range(TRIES):
        names = _names(path)
        owners = [name for name in names if _OWNER.fullmatch(name)]
        if not owners:
            # A claim removes anything but a folder that holds something.
            full = (path / name for name in names if _names(path / name))
            return next(map(_no_lease, full), None)
        found = _read(path / owners[0])
        if found is not None:
            return found
    return None


def _no_lease(stray: Path) -> LeaseInfo:
    return LeaseInfo(file=stray, owner=None, liveness=Liveness.UNKNOWN, beat_age_s=0.0)


def _remove_strays(path: Path) -> Path | None:
    """Remove what is no part of a lease, never an owner's file; returns something that had to stay."""
    stays = None
    for item in [path, *(path / name for name in _names(path) if not _OWNER.fullmatch(name))]:
        try:
            item.unlink()  # of a folder, the lease's own first of all, this removes nothing
        except FileNotFoundError:
            continue
        except OSError:
            with contextlib.suppress(OSError):
                item.rmdir()
                continue
            stays = item if item != path else None
    return stays


def standing(paths: Iterable[Path]) -> list[LeaseInfo]:
    """Those of several leases whose owners are alive or unknown."""
    looks = map(look, paths)
    return [found for found in looks if found and found.liveness is not Liveness.DEAD]


def evict(file: Path) -> bool:
    """Remove the owner's file, and the lease with it unless it has been claimed anew by then.

    Returns:
        Whether it was there: of all who remove one file, one wins.
    """
    try:
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
    except OSError:
        return False
    with contextlib.suppress(OSError):
        file.parent.rmdir()
    return True


def _draft(path: Path, token: str) -> Path:
    """The folder in which this process prepares a lease: beside it, with the process in its name."""
    return path.with_name(f"{path.name}.{os.getpid()}.{token}.tmp")


def _write(file: Path, owner: ProcessIdentity) -> None:
    with writes(file), file.open("xb") as opened:
        opened.write(msgspec.json.encode(owner))
        opened.flush()
        os.fsync(opened.fileno())


def _names(path: Path) -> list[str]:
    """The names in a folder; none when it is absent, or no folder."""
    try:
        return [] if path.is_symlink() else sorted(os.listdir(path))  # noqa: PTH208 - names only
    except OSError as error:
        if is_shortage(error):  # nobody is taken for gone by one who cannot look
            raise
        return []


def _read(file: Path) -> LeaseInfo | None:
    """One look at the owner's file; None when it vanished meanwhile."""
    try:
        age_s = time.time() - file.lstat().st_mtime
    except OSError:
        return None
    owner = None
    try:
        owner = read_json(file, ProcessIdentity, follow=False)
    except AqrExpError:
        if not os.path.lexists(file):
            return None
    liveness = liveness_of(owner, age_s, file) if owner else Liveness.UNKNOWN
    return LeaseInfo(file=file, owner=owner, liveness=liveness, beat_age_s=age_s)


def clear_dead(folder: Path) -> None:
    """Remove the leases of dead owners from a folder that holds nothing but leases."""
    for path in map(folder.joinpath, _names(folder)):
        if path.suffix == ".tmp":
            _remove_if_litter(path)
        else:
            clear(path)


def clear(path: Path) -> None:
    """Remove the lease at `path` when its owner is dead, and what killed claimers of it left."""
    held = look(path)
    if held is None:
        _remove_strays(path)  # one that was killed while it gave the lease back leaves it empty
    elif held.liveness is Liveness.DEAD:
        evict(held.file)
    _remove_drafts(path)


def _remove_drafts(path: Path) -> None:
    """Remove what claimers of a lease that were killed halfway left."""
    with contextlib.suppress(OSError):
        names = os.listdir(path.parent)  # noqa: PTH208 - names only
        for name in names:
            if name.startswith(f"{path.name}.") and name.endswith(".tmp"):
                _remove_if_litter(path.with_name(name))


def _remove_if_litter(draft: Path) -> None:
    """Remove a draft whose writer is gone; a living one, on another machine say, writes it anew."""
    with contextlib.suppress(OSError, ValueError):
        name, pid, _, _ = draft.name.rsplit(".", 3)
        old = time.time() - draft.stat().st_mtime > DRAFT_AGE_S
        if not (old or is_gone(int(pid))):
            return
        # Renamed first: should its writer claim with it at this moment, one of the two fails.
        litter = _draft(draft.with_name(name), secrets.token_hex(8))
        draft.rename(litter)
        shutil.rmtree(litter) if litter.is_dir() else litter.unlink()


# An owner about to end, or one that only looks into the folder, is waited for so long.
PATIENCE_S = 5.0
POLL_S = 0.05


class LockHeldError(AqrExpError):
    """Another process works on the run."""


@contextlib.contextmanager
def hold(
    path: Path,
    *,
    what: str | None = None,
    on_beat: Callable[[], None] | None = None,
    on_loss: Callable[[], None] | None = None,
) -> Iterator[Lease]:
    """Hold the lease at `path`; however the process ends, it can then be taken over.

    Args:
        path: The lease; its folder must exist.
        what: Name of what it guards; that of its folder by default.
        on_beat: Called with every heartbeat, in a thread of its own.
        on_loss: Called once, in that thread, when the lease was taken away.

    Yields:
        The lease.

    Raises:
        LockHeldError: Another process holds it after `PATIENCE_S`; names that process.
    """
    deadline = time.monotonic() + PATIENCE_S
    what = what or path.parent.name
    with told(lambda: f"{what}, which is worked on by {look(path) or 'others'}"):
        while isinstance(lease := claim(path), LeaseInfo):
            if time.monotonic() >= deadline:
                raise LockHeldError(f"{what} is worked on by {lease}")
            time.sleep(POLL_S)
    owner, ended = os.getpid(), threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_S):
            if on_beat is not None:
                on_beat()
            if not lease.beat():
                if on_loss is not None and not ended.is_set():
                    on_loss()
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        # A forked copy of the owner holds nothing.
        if os.getpid() == owner:
            ended.set()
            lease.release()
            thread.join()
