"""Holding a lease for the time of a block, with a heartbeat from a thread of its own."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from aqr_exp.errors import AqrExpError
from aqr_exp.results.lease import BEAT_S, Lease, Standing, claim

# A holder about to end, or one that only looks into the folder, is waited for so long.
PATIENCE_S = 5.0
POLL_S = 0.05


class LockHeldError(AqrExpError):
    """Another process works on the run."""


def claim_patiently(path: Path, patience_s: float | None = None) -> Lease:
    """Claim the lease at `path`, waiting a little for its holder to end.

    Args:
        path: The lease; its folder must exist.
        patience_s: How long to wait for it, in seconds; None waits `PATIENCE_S`.

    Raises:
        LockHeldError: Another process holds it; names that process.
    """
    deadline = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
    while isinstance(answer := claim(path), Standing):
        if time.monotonic() >= deadline:
            raise LockHeldError(f"{path.parent.name} is worked on by {answer}")
        time.sleep(POLL_S)
    return answer


@contextlib.contextmanager
def hold(
    path: Path,
    patience_s: float | None = None,
    *,
    on_beat: Callable[[], None] | None = None,
    on_loss: Callable[[], None] | None = None,
) -> Iterator[Lease]:
    """Hold the lease at `path`; however the process ends, it can then be taken over.

    Args:
        path: The lease; its folder must exist.
        patience_s: How long to wait for it, in seconds; None waits `PATIENCE_S`.
        on_beat: Called with every heartbeat, in a thread of its own.
        on_loss: Called once, in that thread, when somebody took the lease away.

    Yields:
        The lease.

    Raises:
        LockHeldError: Another process holds it; names that process.
    """
    lease = claim_patiently(path, patience_s)
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
        # A forked copy of the holder holds nothing.
        if os.getpid() == owner:
            ended.set()
            lease.release()
            thread.join()
