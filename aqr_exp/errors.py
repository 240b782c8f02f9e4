"""The one exception root of the command line, and the faults that a wrong request carries."""

import errno
import os
import re
import signal
from dataclasses import dataclass, replace
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""Exit code of a process that a signal or a request stopped."""

OUT_OF_TIME = 75
"""Exit code of a process whose time was up: what it did is saved, and it is to be started again."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that ask a process to save its work and end: of terminals, Slurm, systemd, containers."""

TIME_SIGNALS = frozenset({signal.SIGUSR1, signal.SIGUSR2})
"""Those by which a scheduler of jobs says that the time is nearly up: the work is still wanted."""

LONGEST = 190
"""Characters of a fault's line at most, so that a terminal shows it whole with the program's name."""


def cut(text: str, most: int = 60) -> str:
    """A text of at most so many characters: its beginning and its end, where it is longer."""
    end = (most - 5) // 3
    return text if len(text) <= most else f"{text[: most - 5 - end]} ... {text[-end:]}"


def shown(value: object) -> str:
    """A value as Python writes it, cut to a readable length."""
    # Python writes no whole number of thousands of digits.
    huge = isinstance(value, int) and value.bit_length() > 1000
    return "a number of hundreds of digits" if huge else cut(repr(value))


def stop_reason(before: int | None, number: int) -> int:
    """The signal that two stand for: that the time is up is the reason only when both say so.

    Args:
        before: The first one; None without.
    """
    return number if before is None or number not in TIME_SIGNALS else before


def stop_code(number: int) -> int:
    """The exit code of a process that a signal stopped in order."""
    return OUT_OF_TIME if number in TIME_SIGNALS else INTERRUPTED


class OutOfTimeError(KeyboardInterrupt):
    """The process was stopped because its time is up, and is to be started again."""


def interrupt(number: int, frame: FrameType | None = None) -> NoReturn:
    """Interrupt this process by a signal that means stop; serves as its handler.

    Raises:
        OutOfTimeError: The signal says that the time is up.
        KeyboardInterrupt: It is another one.
    """
    del frame
    raise OutOfTimeError if number in TIME_SIGNALS else KeyboardInterrupt


class AqrExpError(Exception):
    """An error a user can act on: shown without a traceback, one line a fault.

    Attributes:
        exit_code: What the process exits with (1 a run failed, 2 the request was wrong).
    """

    exit_code = 1


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a request; as text the line `where: key=value: rule`.

    Attributes:
        key: The key the line begins with, as typed or dotted; empty where the rule names it.
        value: Its value as shown; None shows the key alone.
        rule: What is wrong, or what is allowed.
        hint: The nearest match or a remedy, added to the rule as it is.
        where: File and line, or the file; empty for what was typed.
        about: Further keys it concerns, which need not be in the text.
    """

    key: str = ""
    value: str | None = None
    rule: str = ""
    hint: str = ""
    where: str = ""
    about: tuple[str, ...] = ()

    def __str__(self) -> str:
        subject = self.key if self.value is None else f"{self.key}={self.value}"
        return ": ".join(filter(None, (self.where, subject, self.rule + self.hint)))

    @property
    def line(self) -> str:
        """The text in at most `LONGEST` characters; place, key, value and paths are shortened first."""
        if len(str(self)) <= LONGEST:
            return str(self)
        value = None if self.value is None else cut(self.value)
        short = replace(self, where=cut(self.where), key=cut(self.key), value=value)
        return cut(re.sub(r"/\S{60,}", lambda path: cut(path[0]), str(short)), LONGEST)


class RequestError(AqrExpError):
    """The request itself was wrong; nothing was started and nothing was left behind.

    Args:
        faults: Everything that is wrong; a text is a fault of its own. Equal ones are kept once.

    Attributes:
        faults: The same, as objects.
    """

    exit_code = 2

    def __init__(self, *faults: Fault | str) -> None:
        super().__init__(*faults)
        objects = (item if isinstance(item, Fault) else Fault(rule=item) for item in faults)
        self.faults = tuple(dict.fromkeys(objects))

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


_REMEDIES = {
    errno.ENOSPC: "free some space, then type it again",
    errno.EDQUOT: "free some space or have your quota raised, then type it again",
    errno.EFBIG: "`ulimit -f` limits the size of files",
    errno.EROFS: "name a folder that can be written",
    errno.EACCES: "name a folder that this user may use",
    errno.EPERM: "name a folder that this user may use",
    errno.EMFILE: "`ulimit -n` limits them",
    errno.ENFILE: "of the whole machine: wait, then type it again",
    errno.EPIPE: "its reader has closed it",
    errno.EBADF: "it is closed",
}


def refusal(error: OSError) -> Fault:
    """What the operating system refused, with the path and what to do."""
    words = error.strerror or str(error)
    if error.errno == errno.ENOENT and not error.filename:
        if words == os.strerror(errno.ENOENT):
            return Fault(rule="the current folder is gone", hint=" (change to one that is there)")
        return Fault(rule=words, hint=" (TMPDIR names another)")  # Python's words on temporary ones
    remedy = _REMEDIES.get(error.errno or 0)
    return Fault(
        where=os.fsdecode(error.filename) if error.filename else "",
        rule=words[:1].lower() + words[1:],
        hint=f" ({remedy})" if remedy else "",
    )


def is_shortage(error: OSError) -> bool:
    """Whether this process or machine ran out of something: it says nothing of the file it was at."""
    return error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def words_of(error: Exception) -> str:
    """An error in words, of the operating system or another."""
    return str(refusal(error)) if isinstance(error, OSError) else str(error)


class RunFailedError(AqrExpError):
    """A run was started and failed; its folder says why."""
