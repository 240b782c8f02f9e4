"""A training that needs no torch, whose mAP is a function of the point: for searches.

Every attempt appends `[event, run, attempt]` to the file `STUB_AUDIT`. With
`schedule.validate_every_epochs` each epoch writes a point of its curve. Variables of the environment
make it wait or fail, whatever the speed of the machine:

- `STUB_HOLD` ("4 PATH"): once 4 runs have finished, the others wait for the file to appear;
- `STUB_HANGS_BELOW`: a worse point hangs after its second epoch until it is stopped;
- `STUB_FAILS_BELOW`: a worse point fails;
- `STUB_NOISE`: the mAP is changed by at most half of it, by a hash of the run's name;
- `STUB_TIME_UP`: the time of the run of this name is up in its first attempt;
- `STUB_FAILS`: a run whose name contains one of these words fails.
"""

import argparse
import hashlib
import json
import math
import os
import signal
import sys
import time
from pathlib import Path

from aqr_exp.errors import OutOfTimeError, interrupt
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import EXIT_CODES


def note(event: str, folder: RunFolder, attempt: int) -> None:
    """Append one event to the audit file, in one write."""
    with Path(os.environ["STUB_AUDIT"]).open("ab", buffering=0) as audit:
        audit.write((json.dumps([event, folder.name, attempt]) + "\n").encode())


def read_trial_audit(path: Path) -> list[tuple[str, str, int]]:
    """Every whole line of an audit file: event, run, attempt."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(event, name, attempt) for event, name, attempt in map(json.loads, lines)]


def finished() -> int:
    """How many runs have finished."""
    audit = read_trial_audit(Path(os.environ["STUB_AUDIT"]))
    return sum(event == "finishes" for event, _, _ in audit)


def quality(spec: dict) -> float:
    """The mAP of a point: best at a scale of 2; the baseline's is .3, a seed is worth .001."""
    bias = spec["variant"].get("bias")
    seed = 0.001 * spec["seed"]
    if bias is None:
        return 0.3 + seed
    return 0.4 - 0.1 * abs(math.log(bias["scale"]["start"] / 2)) + seed


def train(folder: RunFolder, attempt: int) -> int:
    """Train epoch by epoch, and finish."""
    spec = folder.read_spec()
    schedule = spec["schedule"]
    for epoch in range(1, schedule["epochs"] + 1):
        if schedule["validate_every_epochs"]:
            value = quality(spec) * epoch / schedule["epochs"]
            folder.append_history({"kind": "val", "epoch": epoch, "mAP": value, "NDS": value})
        while epoch == 2 and quality(spec) < float(os.environ.get("STUB_HANGS_BELOW", "0")):
            time.sleep(0.005)
    fails = any(word in folder.name for word in os.environ.get("STUB_FAILS", "").split())
    if fails or quality(spec) < float(os.environ.get("STUB_FAILS_BELOW", "0")):
        sys.stdout.write("a line before the end\n")
        folder.write_state("failed", reason="the loss is not finite at step 7 (loss_cls)")
        return 1
    count, _, gate = os.environ.get("STUB_HOLD", "1000000 none").partition(" ")
    while finished() >= int(count) and not Path(gate).exists():
        time.sleep(0.005)
    note("finishes", folder, attempt)
    part = int(hashlib.sha256(folder.name.encode()).hexdigest()[:8], 16) / 2**32 - 0.5
    noise = float(os.environ.get("STUB_NOISE", "0")) * part
    metrics = {"mAP": quality(spec) + noise, "NDS": 0.3, "split": "synth_val", "synthetic": True}
    folder.write_metrics(metrics)
    folder.write_state("completed")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Train the run whose folder is given, as `aqr_exp.train` would."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--attempt", type=int)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args(argv)
    folder = RunFolder(arguments.run_dir)
    with folder.lock():
        if not folder.is_queued(arguments.attempt):
            return 130
        note("begins", folder, arguments.attempt)
        folder.write_state("running")
        try:
            if arguments.attempt == 1 and folder.name == os.environ.get("STUB_TIME_UP"):
                interrupt(signal.SIGUSR2)
            return train(folder, arguments.attempt)
        except KeyboardInterrupt as stopped:
            note("stopped", folder, arguments.attempt)
            return EXIT_CODES[folder.write_stopped(out_of_time=isinstance(stopped, OutOfTimeError))]


if __name__ == "__main__":
    sys.exit(main())
