"""A training that needs no torch: everything around it is the real thing.

What it is to do comes from `STUB_PLAN`, JSON by run name ("*" for all others):
`{"sleep_s": 0.5, "ends": "completes" | "raises" | "nan" | "exits" | "killed" | "time is up" |
"hangs" | "deaf"}`, and what
it did goes to the file `STUB_AUDIT`, one line an event, each in one write.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from aqr_exp.errors import OutOfTimeError, interrupt
from aqr_exp.store.process_identity import Liveness, ProcessIdentity, liveness_of, process
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import EXIT_CODES

VARIABLES = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "AQR_EXP_DEVICE")


def jump_with_the_clock() -> None:
    """Let this process's wall clock be off by the seconds that the file `STUB_CLOCK` holds."""
    path, right = os.environ.get("STUB_CLOCK"), time.time
    if path:
        time.time = lambda: right() + float(Path(path).read_text() or 0)


def note(event: str, folder: RunFolder, attempt: int) -> None:
    """Append one event to the audit file."""
    line = json.dumps([event, folder.name, attempt, msgspec.to_builtins(process())]) + "\n"
    with Path(os.environ["STUB_AUDIT"]).open("ab", buffering=0) as audit:
        audit.write(line.encode())


def read_audit(path: Path) -> list[tuple[str, str, int, ProcessIdentity]]:
    """Every whole line of an audit file: event, run, attempt, process."""
    lines = path.read_text().splitlines() if path.exists() else []
    events = [json.loads(line) for line in lines]
    return [
        (event, name, attempt, msgspec.convert(who, ProcessIdentity))
        for event, name, attempt, who in events
    ]


def note_if_not_alone(folder: RunFolder, attempt: int) -> None:
    """Note it when a process that began this run still lives."""
    here = process().host
    for event, name, _, who in read_audit(Path(os.environ["STUB_AUDIT"])):
        # Virtual nodes have names of their own; processes are looked at all the same.
        found = liveness_of(msgspec.structs.replace(who, host=here), 0.0)
        if event == "begins" and name == folder.name and found is not Liveness.DEAD:
            note("not alone", folder, attempt)


def work(folder: RunFolder, todo: dict, attempt: int) -> int:
    """Do what the plan says."""
    until = time.monotonic() + todo.get("sleep_s", 0.0)
    given = folder.read_progress() or {}
    folder.write_progress(
        {**given, "phase": "train", "step": 1, "steps": 2, "loss": 1.5, "eta_s": 1.0}
    )
    ends = todo.get("ends", "completes")
    if ends == "deaf":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        note("deaf", folder, attempt)
    while time.monotonic() < until or ends in {"hangs", "deaf"}:
        time.sleep(0.01)
    if ends == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if ends == "time is up":
        signal.signal(signal.SIGUSR2, interrupt)
        os.kill(os.getpid(), signal.SIGUSR2)
    if ends == "exits":
        sys.stdout.write("its last words\n")
        return 3
    if ends != "completes":
        sys.stdout.write(f"line before the end of {folder.name}\n")
        reasons = {"nan": "the loss is not finite at step 7 (loss_cls)", "raises": "ValueError: no"}
        folder.write_state("failed", reason=reasons[ends])
        return 1
    note("finishes", folder, attempt)
    folder.write_metrics({"mAP": 0.25, "NDS": 0.3, "split": "synth_val", "synthetic": True})
    folder.write_state("completed")
    note("completed", folder, attempt)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Train the run whose folder is given, as `aqr_exp.train` would."""
    jump_with_the_clock()
    parser = argparse.ArgumentParser()
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--attempt", type=int)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args(argv)
    folder = RunFolder(arguments.run_dir)
    plan = json.loads(os.environ.get("STUB_PLAN", "{}"))
    with folder.lock():
        if not folder.is_queued(arguments.attempt):
            return 130
        note_if_not_alone(folder, arguments.attempt)
        note("begins", folder, arguments.attempt)
        seen = {name: os.environ.get(name) for name in VARIABLES}
        folder.write_progress({"threads": arguments.threads, **seen})
        folder.write_state("running")
        try:
            return work(folder, plan.get(folder.name, plan.get("*", {})), arguments.attempt)
        except KeyboardInterrupt as stopped:
            return EXIT_CODES[folder.write_stopped(out_of_time=isinstance(stopped, OutOfTimeError))]


if __name__ == "__main__":
    sys.exit(main())
