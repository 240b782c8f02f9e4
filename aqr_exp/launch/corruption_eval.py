"""A trained run's evaluation under sensor failures, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from aqr_exp.config.schema.run import Device
from aqr_exp.data.corruptions.cases import FailureCase
from aqr_exp.errors import RunFailedError
from aqr_exp.store.run_folder import RunFolder, utc_now

MODULE = "aqr_exp.train.corruption_eval"


def evaluate_failures(
    folder: RunFolder, cases: Sequence[FailureCase], *, threads: int, device: Device
) -> Iterator[dict[str, Any]]:
    """Evaluate a run under all of its cases in one process.

    Args:
        folder: A completed run's folder.
        cases: The cases; what has been evaluated is passed over.
        threads: Torch threads.
        device: Where the run executes.

    Yields:
        `case`, `done` and `total` (samples) while it works; `case` and `metrics` at a case's end.

    Raises:
        RunFailedError: The process ended with a fault, which the message names.
    """
    folder.logs_dir.mkdir(exist_ok=True)
    with folder.failures_log_path.open("ab") as log:
        log.write(f"=== {utc_now()}\n".encode())
        log.flush()
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                MODULE,
                "--threads",
                str(threads),
                os.fspath(folder.path.absolute()),
                ",".join(case.name for case in cases),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # Ctrl-C is for whoever waits here, who ends the whole group.
            start_new_session=True,
            env={**os.environ, **_environment(threads, device)},
        )
    try:
        for line in process.stdout or ():
            yield json.loads(line)
        if process.wait() != 0:
            raise RunFailedError(f"{folder.name}: {_last_words(folder)}")
    finally:
        _end(process)


def _environment(threads: int, device: Device) -> dict[str, str]:
    own = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    return {**own, "CUDA_VISIBLE_DEVICES": ""} if device is Device.CPU else own


def _end(process: "subprocess.Popen[str]") -> None:
    """End the process with its loader workers, whatever they are at."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _last_words(folder: RunFolder) -> str:
    text = folder.failures_log_path.read_text(encoding="utf-8", errors="replace")
    lines = text.strip().splitlines()
    return f"{lines[-1]} (see {folder.failures_log_path})"
