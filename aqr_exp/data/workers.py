"""How a worker process behaves: it leaves interrupts to its parent and does not outlive it."""

import multiprocessing
import os
import signal
import threading


def prepare_worker() -> None:
    """Run first in every worker.

    The parent answers Ctrl-C for all, without a traceback from each. A parent that is killed cannot
    tell its workers, who would wait for work for ever: they watch it instead.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
