"""The command line in a process of its own, in milliseconds: as a fork of the tests' process.

What a child does to itself (another user, less room, closed streams, a mount) ends with it.
"""

import contextlib
import ctypes
import io
import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Imported by commands when they need them, in a child that may have no right to their files any more.
import scipy.special  # noqa: F401

from aqr_exp.cli.main import COMMANDS, main

_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000
_PRIVATE_BELOW, _REMOUNT, _READ_ONLY = 0x44000, 32, 1


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: bytes
    err: bytes

    @property
    def fault(self) -> str:
        """The one line of its messages that says what is wrong."""
        faults = [line for line in self.err.decode().splitlines() if line.startswith("aqr-exp: ")]
        assert len(faults) == 1, faults
        return faults[0]

    @property
    def line(self) -> str:
        """The one line it printed on stderr."""
        lines = self.err.decode().splitlines()
        assert len(lines) == 1, lines
        return lines[0]


def in_child(act: Callable[[], Any]) -> Any:
    """Call in a forked child; returns what that returned, and fails as it failed."""
    with tempfile.TemporaryFile() as answer:
        child = os.fork()
        if not child:
            try:
                pickle.dump((act(), None), answer)
            except BaseException:
                pickle.dump((None, traceback.format_exc()), answer)
            answer.flush()
            os._exit(0)
        os.waitpid(child, 0)
        answer.seek(0)
        value, fault = pickle.load(answer)
    if fault is not None:
        raise AssertionError(fault)
    return value


def aqr_exp(
    *arguments: str,
    stdout: Path | None = None,
    closed: Sequence[int] = (),
    encoding: str = "utf-8",
    before: Callable[[], None] = lambda: None,
) -> Ended:
    """Run the command line as the console script does.

    Args:
        stdout: Written to instead of what is returned.
        closed: Descriptors that are closed from the start.
        encoding: Of stdout and stderr.
        before: Called in the child first.
    """
    # Another user may have no right to read the interpreter's own modules: not in the child.
    if arguments[0] in COMMANDS:
        COMMANDS[arguments[0]].load(arguments[0])
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            code = 99
            with contextlib.suppress(BaseException):
                before()
                sink = out.fileno() if stdout is None else os.open(stdout, os.O_WRONLY)
                os.dup2(sink, 1)
                os.dup2(err.fileno(), 2)
                for number, name in ((1, "stdout"), (2, "stderr")):
                    stream = io.TextIOWrapper(io.FileIO(number, "w", closefd=False), encoding)
                    setattr(sys, name, None if number in closed else stream)
                for number in closed:
                    os.close(number)
                sys.argv = ["aqr-exp", *arguments]
                try:
                    code = main()
                    # As the interpreter does at its end.
                    sys.stdout.flush()
                    sys.stderr.flush()
                except BaseException:
                    os.write(err.fileno(), traceback.format_exc().encode())
                    code = 120
            os._exit(code)
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        return Ended(os.waitstatus_to_exitcode(status), out.read(), err.read())


def become_nobody(number: int) -> None:
    """Be a user of this number: without a name, a home, or a right to what the tests made."""
    os.environ.pop("HOME", None)
    os.setgroups([])
    os.setgid(number)
    os.setuid(number)


def make_read_only(folder: Path) -> None:
    """Let nothing more be written to a disk that `on_a_disk` has mounted."""
    if ctypes.CDLL(None).mount(None, os.fsencode(folder), None, _REMOUNT | _READ_ONLY, None):
        raise NoMountError


def mount_disk(folder: Path, size: str) -> None:
    """Mount an empty disk of a size in this process's own view of the file systems; or skip the test."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _NEW_MOUNTS if os.geteuid() == 0 else _NEW_USER | _NEW_MOUNTS
    done = (
        libc.unshare(flags) == 0
        and libc.mount(None, b"/", None, _PRIVATE_BELOW, None) == 0
        and libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()) == 0
    )
    if not done:
        raise NoMountError(os.strerror(ctypes.get_errno()))


class NoMountError(Exception):
    """This machine lets nobody mount."""


def on_a_disk(folder: Path, size: str, act: Callable[[], Any]) -> Any:
    """Call in a child that sees a small disk at `folder`; skips the test where that cannot be."""

    def mounted() -> Any:
        try:
            mount_disk(folder, size)
        except NoMountError as error:
            return error
        return act()

    found = in_child(mounted)
    if isinstance(found, NoMountError):
        pytest.skip(f"no disk can be mounted here: {found}")
    return found


def fill(folder: Path) -> Path:
    """Leave no room on the disk of a folder; returns the file that takes it, to be deleted."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    return filler
