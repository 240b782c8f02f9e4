"""Cost of launching: a sweep of stub runs beside the ideal schedule, one run beside its bare process.

Run `python benchmarks/orchestration.py`. The stubs go through the store, the leases and the launcher that
trainings go through; only the training is replaced by sleeping. Times are wall times of whole processes.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LAUNCH_TESTS = Path(__file__).resolve().parents[1] / "tests" / "launch"
sys.path.insert(0, str(LAUNCH_TESTS))

from sweep_process import STUB, make, stub_environment, stub_task  # noqa: E402 - the path first

from aqr_exp.launch.attempt import queue  # noqa: E402
from aqr_exp.store.store import Store  # noqa: E402

TRAINING_S = 300.0


def ideal_s(durations: list[float], slots: int) -> float:
    """The end of the last run when the longest start first and nothing else takes time."""
    ends = [0.0] * slots
    for duration in sorted(durations, reverse=True):
        ends[ends.index(min(ends))] += duration
    return max(ends)


def launcher_s(folder: Path, sleeps: list[float], slots: int) -> tuple[float, float]:
    """Wall time of one launcher over stub runs that sleep so long, and processor time with its stubs'."""
    folder.mkdir()
    names = [stub_task(Store(folder), seed).folder.name for seed in range(len(sleeps))]
    plan = {name: {"sleep_s": sleep} for name, sleep in zip(names, sleeps, strict=True)}
    launcher = [sys.executable, str(LAUNCH_TESTS / "sweep_process.py")]
    command = [*launcher, str(folder / "results"), str(len(sleeps)), str(slots)]
    return _timed(command, os.environ | stub_environment(folder / "audit", plan))


def bare_s(folder: Path, sleep: float) -> tuple[float, float]:
    """Wall and processor time of a stub's process alone, started by hand."""
    run = Store(folder).folder("baseline-bare-s0")
    make(run, 0)
    queue(run, 1)
    environment = os.environ | stub_environment(folder / "audit", {"*": {"sleep_s": sleep}})
    return _timed([sys.executable, str(STUB), str(run.path), "--attempt", "1"], environment)


def _timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--short-s", type=float, default=5.0, help="length of a single run")
    parser.add_argument("--long-s", type=float, default=30.0, help="length of another")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)  # noqa: S311 - to be repeated, not to be secret
    sleeps = [draw.uniform(1.0, 3.0) for _ in range(arguments.runs)]
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        start_s = bare_s(folder / "empty", 0.0)[0]
        wall_s, _ = launcher_s(folder / "sweep", sleeps, arguments.slots)
        short_s, short_cpu_s = launcher_s(folder / "short", [arguments.short_s], 1)
        _, long_cpu_s = launcher_s(folder / "long", [arguments.long_s], 1)
        alone_s, _ = bare_s(folder / "alone", arguments.short_s)
        _, alone_long_cpu_s = bare_s(folder / "alone long", arguments.long_s)
        _, alone_cpu_s = bare_s(folder / "alone again", arguments.short_s)
    asleep_s = ideal_s(sleeps, arguments.slots)
    bare_ideal_s = ideal_s([sleep + start_s for sleep in sleeps], arguments.slots)
    print(
        f"{arguments.runs} stubs of 1-3 s on {arguments.slots} slots: {wall_s:.2f} s, "
        f"{wall_s / asleep_s:.3f} x the ideal schedule of their sleep ({asleep_s:.2f} s), "
        f"{wall_s / bare_ideal_s:.3f} x that of their bare processes ({bare_ideal_s:.2f} s)"
    )
    # Starting and ending cost once; watching takes processor time as long as the run lasts.
    once_s = short_s - alone_s
    watched_s = arguments.long_s - arguments.short_s
    watching = ((long_cpu_s - short_cpu_s) - (alone_long_cpu_s - alone_cpu_s)) / watched_s
    share = once_s / TRAINING_S + max(0.0, watching)
    print(
        f"one run: {once_s:.2f} s longer than its bare process, and {100 * watching:.2f} % of a core "
        f"for watching: {100 * share:.2f} % of a run of {TRAINING_S:.0f} s"
    )
    figures = {"sweep_ratio": wall_s / asleep_s, "overhead_share": share}
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
