"""Manners: data to stdout, words to stderr, colours and live lines only on a terminal."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def data(text: str) -> None:
    """Print what was asked for to stdout; the text brings its own last line break or gets one."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print words to stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print JSON to stdout; NaN and infinities become null."""
    from aqr_exp.results.atomic import plain

    data(json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False))


def on_terminal() -> bool:
    """Whether stdout goes to a terminal."""
    return sys.stdout.isatty()


def silence_libraries() -> None:
    """Keep what libraries tell while they load, below a warning, off the screen: it is no answer."""
    import logging

    from mmengine.logging import MMLogger

    logging.disable(logging.INFO)
    # Its loggers remember what was enabled before, out of `logging`'s reach; this makes all forget.
    logger = MMLogger.get_current_instance()
    logger.setLevel(logger.level)
