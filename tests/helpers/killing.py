"""Commands as processes that are killed at random moments, with everything they have started."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

from aqr_exp.store.process_identity import process

ENDS_WITHIN_S = 300


class Begun:
    """A command that was begun in a process group of its own; what it prints goes to a file.

    Args:
        program: What Python is given before the words; the command line by default.
    """

    def __init__(
        self,
        words: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "aqr_exp.cli.main"),
    ) -> None:
        self.log, self.from_byte = log, log.stat().st_size if log.exists() else 0
        with log.open("ab") as opened:
            self.process = psutil.Popen(
                [sys.executable, *program, *words],
                stdin=subprocess.DEVNULL,
                stdout=opened,
                stderr=opened,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def said(self) -> str:
        """What it, and what ran beside it, has printed since it began."""
        return self.log.read_bytes()[self.from_byte :].decode()

    def end(self) -> int:
        """Wait for its end; returns the exit code. It says in a line what was wrong."""
        code = self.process.wait(ENDS_WITHIN_S)
        said = self.said()
        assert "Traceback" not in said, said
        assert "internal error" not in said, said
        return code

    def kill_within(self, seconds: float, draw: random.Random) -> bool:
        """Kill it after a random time, or one of the processes it has started.

        Returns:
            Whether it still ran then. None of its processes outlives it, and it says which was killed.
        """
        wait_s, whole, which = draw.uniform(0, seconds), draw.random(), draw.random()
        try:
            self.process.wait(wait_s)
        except psutil.TimeoutExpired:
            its = self._tree()
            if whole < 0.3:
                os.killpg(self.process.pid, signal.SIGKILL)
            elif whole < 0.6:
                self.process.kill()
            else:
                its[int(which * len(its))].kill()
            assert self.end() in {0, -signal.SIGKILL} or "killed" in self.said(), self.said()
            _, alive = psutil.wait_procs(its, timeout=ENDS_WITHIN_S)
            assert not alive, alive
            return True
        self.end()
        return False

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self.process, *self.process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return [self.process]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file and folder below a folder; of files that hold times, only the names."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        if path.is_file() and path.name != "files.json"
        else b""
        for path in sorted(folder.rglob("*"))
    }


def leave_dead(*leases: Path) -> None:
    """Leave leases of a process that was killed while it held them."""
    with subprocess.Popen(["sleep", "60"]) as gone:
        owner = msgspec.json.encode(process(gone.pid))
        gone.kill()
    for lease in leases:
        lease.mkdir(parents=True)
        (lease / "0123456789abcdef.json").write_bytes(owner)
