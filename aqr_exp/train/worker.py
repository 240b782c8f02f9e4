"""The worker's side of a JSON worker process: answers as lines of JSON on its stdout."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Respond = Callable[[Mapping[str, Any]], None]


@contextmanager
def json_responses() -> Iterator[Respond]:
    """Send each response as a line to stdout; until the end all other output goes to stderr.

    The open-mmlab packages print: nothing but responses may reach the process that reads stdout.
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stdout:
        os.dup2(2, 1)

        def respond(response: Mapping[str, Any]) -> None:
            stdout.write(json.dumps(response) + "\n")
            stdout.flush()

        try:
            yield respond
        finally:
            os.dup2(stdout.fileno(), 1)
