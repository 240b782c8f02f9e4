"""The training process's hold on its run: it beats, obeys a request to stop, and notices a loss."""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

from aqr_exp.results.lease import Lease
from aqr_exp.results.run_folder import RunFolder


@dataclass
class Claim:
    """A run that this process trains.

    Attributes:
        lease: Its lease on the run.
        lost: Whether somebody took the run away: then nothing may be written to it any more.
    """

    lease: Lease
    lost: bool = False

    def still_ours(self) -> bool:
        """Look whether the lease is still held."""
        self.lost = self.lost or not self.lease.beat()
        return not self.lost


@contextlib.contextmanager
def held_for_training(folder: RunFolder) -> Iterator[Claim]:
    """Hold a run; a request to stop it, or its loss, interrupts this process as Ctrl-C does.

    Args:
        folder: The run's folder.

    Yields:
        The claim.

    Raises:
        LockHeldError: Another process holds the run; names it.
    """
    claim: Claim | None = None
    asked = False

    def obey() -> None:
        nonlocal asked
        if not asked and folder.cancel_requested() is not None:
            asked = True
            os.kill(os.getpid(), signal.SIGINT)

    def lose() -> None:
        if claim is not None:
            claim.lost = True
        os.kill(os.getpid(), signal.SIGINT)

    with folder.lock(on_beat=obey, on_loss=lose) as lease:
        claim = Claim(lease)
        yield claim
