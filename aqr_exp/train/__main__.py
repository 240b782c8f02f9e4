"""Train and evaluate the run whose folder is given; the exit code says how it went."""

import argparse
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

from aqr_exp.config.schema.run import Device, RunConfig
from aqr_exp.errors import STOPPING, AqrExpError, interrupt
from aqr_exp.store.run_folder import RunFolder

LAUNCHER_VARIABLE = "AQR_EXP_LAUNCHER"
"""Holds the number of the process that started a training and ends it when it is asked twice."""

DEVICE_VARIABLE = "AQR_EXP_DEVICE"
"""Holds the device that was asked for now, where the run's own specification may say another."""


def config_of(folder: RunFolder) -> RunConfig:
    """The configuration of a run's `spec.yaml`, with the device that was asked for now.

    Fails as `from_spec`.
    """
    from aqr_exp.config.identity import from_spec

    config = from_spec(folder.read_spec())
    if device := os.environ.get(DEVICE_VARIABLE):
        config = replace(config, launcher=replace(config.launcher, device=cast(Device, device)))
    return config


def main(argv: list[str] | None = None) -> int:
    """Run `python -m aqr_exp.train RUN_DIR`.

    Args:
        argv: Arguments after the program's name; `sys.argv` when None.

    Returns:
        0 completed, 1 failed, 2 the folder holds no usable run, 75 its time was up, 130 stopped.
    """
    parser = argparse.ArgumentParser(prog="python -m aqr_exp.train", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="a run's folder with its spec.yaml")
    parser.add_argument("--attempt", type=int, help="do nothing unless this attempt is queued")
    parser.add_argument("--threads", type=int, help="where the run does not say")
    arguments = parser.parse_args(argv)
    # A polite kill is an interruption: the state says so instead of staying `running`. A launcher in
    # a shell's background ignores Ctrl-C, and this process must not take that over from it; a terminal
    # that closes is still no matter for one that is detached.
    for number in STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)

    from aqr_exp.files.text import printable

    folder = RunFolder(arguments.run_dir)
    try:
        config = config_of(folder)
    except AqrExpError as error:
        print(f"aqr-exp: {printable(str(error))}", file=sys.stderr)  # noqa: T201 - this process's own last word
        return 2
    if config.launcher.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # As it was asked with, also beside others: the record says so, and last digits depend on it.
    threads = config.launcher.threads or arguments.threads or os.cpu_count() or 1
    os.environ["OMP_NUM_THREADS"] = str(threads)
    # NumPy multiplies 4 x 4 matrices here: its own threads would only fight with torch's.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"

    from aqr_exp.train.session import run_in_folder

    return run_in_folder(folder, config, threads=threads, attempt=arguments.attempt)


if __name__ == "__main__":
    sys.exit(main())
