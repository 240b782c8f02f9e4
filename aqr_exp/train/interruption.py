"""Requests to stop a training: the first waits for the step's end and a checkpoint, the second does not."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether this process was asked to stop.

    Args:
        pressing: Whether a request that is there now must not wait: nothing may be saved any more.
        one_request: Whether several signals may be one request: whoever cancels a run writes it down,
            and both its launcher and this process act on it.

    Attributes:
        asked: Whether it was asked to stop.
    """

    def __init__(
        self,
        pressing: Callable[[], bool] = lambda: False,
        one_request: Callable[[], bool] = lambda: False,
    ) -> None:
        self.asked = False
        self._pressing = pressing
        self._one_request = one_request

    def receive(self) -> None:
        """Note a request.

        Raises:
            KeyboardInterrupt: It must not wait.
        """
        if self._pressing() or (self.asked and not self._one_request()):
            raise KeyboardInterrupt
        self.asked = True


@contextlib.contextmanager
def stops_wait(request: StopRequest) -> Iterator[None]:
    """Let signals that mean stop go to `request` instead of interrupting whatever is being done.

    Args:
        request: Takes them; whoever can stop in good order looks at it.
    """
    ours = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() == ours:
            request.receive()
        elif number == signal.SIGTERM:
            # A forked loader worker: it ends at once when told to, and not by a terminal's Ctrl-C,
            # which the training process takes for both.
            os._exit(128 + number)

    kept = {number: signal.signal(number, handle) for number in STOPPING}
    try:
        yield
    finally:
        for number, previous in kept.items():
            signal.signal(number, previous)
