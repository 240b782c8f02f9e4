"""Time to list and tabulate a store of 1,000 and of 10,000 runs, as whole processes.

Run `make bench`. The runs are written by the store's own writers, with records and metrics as a
training leaves them; detections, match records and checkpoints are a few bytes each, since neither
command reads them. Printed are the first call, which reads every run and writes the index, and the
warm ones after it: wall and CPU seconds, of which the latter stay the same on a busy machine.
"""

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aqr_exp.config import BASELINE
from aqr_exp.config.variant_spec import variant_specs
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store

ROUNDS = 5
LIMITS_S = {1_000: 0.5, 10_000: 2.0}
SEEDS = 5
VARIANTS = [BASELINE, *(name for name in variant_specs() if name != BASELINE)]
COMMANDS = {
    "list": ["list"],
    "list --json": ["list", "--json"],
    "table": ["table"],
}
PROGRAM = "import sys; from aqr_exp.cli.main import main; code = main(); {check}; sys.exit(code)"
NO_TORCH = "assert 'torch' not in sys.modules"
VERSIONS = dict.fromkeys(("torch", "mmengine", "mmcv", "mmdet", "mmdet3d", "numpy"), "1.2.3")
HARDWARE = {"host": "vm", "cpus": 2, "gpus": [], "processor": "AMD EPYC", "device": "auto"}


def make_run(folder: RunFolder, index: int, draw: random.Random) -> None:
    """One completed run; of every hundred one failed and one was killed."""
    arm, seed = divmod(index, SEEDS)
    variant = VARIANTS[min(arm, len(VARIANTS) - 1)]
    overrides = (
        [f"seed={seed}"] if arm < 3 else [f"variant.router.lr_mult={arm / 100}", f"seed={seed}"]
    )
    record = {
        "name": folder.name,
        "variant": variant,
        "fingerprint": f"{arm:012x}",
        "seed": seed,
        "preset": "quick",
        "overrides": overrides,
        "argv": ["aqr-exp", "run", variant, *overrides],
        "created": "2026-01-02T03:04:05+00:00",
        "data": {"name": "synth", "version": "v1.0-synth", "fingerprint": "0123456789abcdef"},
        "code": {"revision": "0" * 40, "dirty": False, "difference_sha256": None},
        "versions": VERSIONS,
        "host": "vm",
        "cpus": 2,
        "setting": "411e7542dade",
        "hardware": HARDWARE | {"threads": 1, "loader_workers": 1},
    }
    folder.create(f"variant: {{name: {variant}}}\nseed: {seed}\n", record)
    if index % 100 == 98:
        folder.write_state("failed", reason="the loss is not finite at step 310 (loss_cls)")
    elif index % 100 == 99:
        folder.write_state("running")
    else:
        folder.append_history({"kind": "train", "epoch": 1, "step": 1, "loss": draw.random()})
        for path in (folder.predictions_path("synth_val"), folder.records_path):
            path.write_text("not read")
        for epoch in (11, 12):
            (folder.checkpoints_dir / f"epoch_{epoch}.pth").write_text("not read")
        folder.write_metrics(metrics(draw))
        folder.write_state("completed")


def metrics(draw: random.Random) -> dict[str, object]:
    """As many numbers as a real run has."""
    names = ("mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE")
    return {
        **{name: draw.random() for name in names},
        **{f"AP/{name}": draw.random() for name in CLASS_NAMES},
        **{f"gt/{name}": draw.randrange(1000) for name in CLASS_NAMES},
        "samples": 160,
        "stability/loss_oscillation": draw.random(),
        "stability/gradient_spikes": 0.0,
        "aqr/final_scale": 2.5 + draw.random(),
        "split": "synth_val",
        "evaluator": "aqr",
        "synthetic": True,
        "train_time_s": 286.5 + draw.random(),
        "evaluate_time_s": 13.2,
        "parameters": 1667634,
        "peak_memory_mb": 992.2,
    }


def make_store(root: Path, size: int) -> Store:
    """A store of so many runs."""
    draw = random.Random(size)  # noqa: S311 - to be repeated, not to be secret
    store = Store(root)
    # Thousands of runs at once that nobody needs after a crash.
    os.fsync = lambda fd: None  # noqa: ARG005  # its name is a part of its type
    for index in range(size):
        make_run(store.folder(f"run-{index // SEEDS:08x}-s{index % SEEDS}"), index, draw)
    return store


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of one whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    program = PROGRAM.format(check=NO_TORCH)
    subprocess.run(
        [sys.executable, "-c", program, *command],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print; fails when a limit is exceeded in CPU time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(LIMITS_S))
    parser.add_argument("--keep", type=Path, help="make the stores here and leave them")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for size in given.sizes:
            root = (given.keep or Path(scratch)) / f"runs-{size}"
            if not root.exists():
                make_store(root, size)
            measure(root, size)


def measure(root: Path, size: int) -> None:
    """Time every command on one store."""
    environment = {**os.environ, "AQR_EXP_RESULTS": str(root)}
    limit = LIMITS_S.get(size)
    first_wall, first_cpu = timed(["list"], environment)
    print(f"{size:6d} runs, first list    : {first_wall:5.2f} s wall, {first_cpu:5.2f} s CPU")
    for name, command in COMMANDS.items():
        times = [timed(command, environment) for _ in range(ROUNDS)]
        wall = statistics.median(wall for wall, _ in times)
        cpu = statistics.median(cpu for _, cpu in times)
        allowed = "" if limit is None else f" (<= {limit:g} s)"
        print(f"{size:6d} runs, {name:14s}: {wall:5.2f} s wall, {cpu:5.2f} s CPU{allowed}")
        assert limit is None or min(cpu for _, cpu in times) <= limit, f"{name} is too slow"


if __name__ == "__main__":
    main()
