"""The worker's side of a JSON worker process: answers as lines of JSON on its stdout."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aqr_exp.data.workers import die_with, loader_workers
from aqr_exp.errors import STOPPING

Respond = Callable[[Mapping[str, Any]], None]


@contextmanager
def json_responses() -> Iterator[Respond]:
    """Send each response as a line to stdout; until the end all other output goes to stderr.

    Signals that mean stop are left to the process that reads, with which this one ends.

    The open-mmlab packages print: nothing but responses may reach the process that reads stdout.
    """
    die_with(os.getppid())
    # The process that reads the responses hears of signals too, and ends this one.
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stdout:
        os.dup2(2, 1)

        def respond(response: Mapping[str, Any]) -> None:
            stdout.write(json.dumps(response) + "\n")
            stdout.flush()

        try:
            with loader_workers():
                yield respond
        finally:
            os.dup2(stdout.fileno(), 1)
