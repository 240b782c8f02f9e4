"""Time to plan a sweep of 1,000 and of 10,000 points, from process start to plan.

Run `make bench`. Each size is planned in processes of their own, as by the command line, on a data
identity that is made for it. CPU time is printed beside wall time: it stays the same on a busy machine.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5
LIMITS_S = {1_000: 1.0, 10_000: 8.0}
PLAN = """
import sys
from aqr_exp.config.variant_spec import variant_specs
from aqr_exp.sweep.plan import plan_sweep
from aqr_exp.sweep.cli_source import sweep_request
scales = ",".join(str(0.5 + index / 10000) for index in range(int(sys.argv[1])))
(variant,) = [name for name, spec in variant_specs().items() if "bias_scale" in spec.short_names]
plan = plan_sweep(sweep_request(variant, [f"bias_scale={scales}", *sys.argv[3:]]))
assert len(plan.runs) == int(sys.argv[2]), len(plan.runs)
"""
# Many values of one key; the product of several; and many seeds of few points.
SHAPES = {
    1_000: {
        "1,000 values": ["1000", "1000"],
        "10 x 5 x 5 x 4 seeds": [
            *("10", "1000", "window_size=1,2,3,4,5"),
            *("variant.router.lr_mult=1,2,3,4,5", "seed=0,1,2,3"),
        ],
    },
    10_000: {
        "10,000 values": ["10000", "10000"],
        "10 x 5 x 5 x 10 x 4 seeds": [
            *("10", "10000", "window_size=1,2,3,4,5"),
            *("variant.router.lr_mult=1,2,3,4,5", "schedule.epochs=1,2,3,4,5,6,7,8,9,10"),
            "seed=0,1,2,3",
        ],
    },
}


def planned(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of one process that plans."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", PLAN, *arguments], check=True, env=environment)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print; fails when a limit is exceeded in CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        identity = Path(folder) / "synth" / "aqr_infos" / "fingerprint.json"
        identity.parent.mkdir(parents=True)
        value = {
            "fingerprint": "0123456789abcdef",
            "version": "v1.0-synth",
            "splits": {"synth_train": 10, "synth_val": 4},
            "synthetic": True,
        }
        identity.write_text(json.dumps(value))
        environment = {**os.environ, "AQR_EXP_DATA": folder}
        for size, shapes in SHAPES.items():
            for name, arguments in shapes.items():
                times = [planned(arguments, environment) for _ in range(ROUNDS)]
                wall, cpu = min(wall for wall, _ in times), min(cpu for _, cpu in times)
                limit = LIMITS_S[size]
                print(
                    f"{size:6d} points ({name}): {wall:5.2f} s wall, {cpu:5.2f} s CPU (<= {limit:g} s)"
                )
                assert cpu <= limit, f"{size} points took {cpu:.2f} s"


if __name__ == "__main__":
    main()
