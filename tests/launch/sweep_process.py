"""One launcher of stub runs in a process: `sweep_process.py RESULTS RUNS SLOTS [detached] [forked]`."""

import json
import os
import sys
from functools import partial
from pathlib import Path

import forked
from stub_training import jump_with_the_clock

from aqr_exp.cli import main as command_line
from aqr_exp.cli.sweep_execute import run_tasks
from aqr_exp.launch.executor import LocalExecutor
from aqr_exp.launch.scheduler import Task
from aqr_exp.launch.slots import SlotLeases, cpu_slots
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry

STUB = Path(__file__).with_name("stub_training.py")


def stub_environment(audit: Path, plan: dict | None = None) -> dict[str, str]:
    """The variables under which stubs are started instead of trainings."""
    return {
        "AQR_EXP_TRAIN_COMMAND": json.dumps([sys.executable, str(STUB)]),
        "STUB_AUDIT": str(audit),
        "STUB_PLAN": json.dumps(plan or {}),
    }


def stub_task(store: Store, seed: int, expected_s: float | None = None) -> Task:
    """A task whose run can be made from nothing."""
    folder = store.folder(f"baseline-{seed:012x}-s{seed}")
    create = partial(make, folder, seed)
    return Task(folder=folder, label=folder.name, create=create, expected_s=expected_s)


def make(folder: RunFolder, seed: int) -> None:
    """Make a run that a stub can train."""
    record = {"variant": "baseline", "fingerprint": f"{seed:012x}", "seed": seed}
    folder.create(f"seed: {seed}\n", record)


def main() -> int:
    """Execute the runs 0, 1, 2, ... of the sweep `stubs`."""
    jump_with_the_clock()
    results, runs, slots = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    store = Store(results)
    plan = json.loads(os.environ.get("STUB_PLAN", "{}"))
    tasks = []
    for seed in range(runs):
        name = stub_task(store, seed).folder.name
        tasks.append(stub_task(store, seed, plan.get(name, plan.get("*", {})).get("sleep_s")))
    sweep = store.sweep("stubs")
    sweep.write_plan(
        [
            SweepEntry(name=task.folder.name, variant="baseline", overrides=(), seed=seed)
            for seed, task in enumerate(tasks)
        ]
    )
    detached = "detached" in sys.argv
    if "forked" in sys.argv:
        forked.be_quick(setattr)
    executor = LocalExecutor(SlotLeases(store.slots_dir, cpu_slots(slots)))
    try:
        return run_tasks("stubs", tasks, store, executor, sweep=sweep, detached=detached)
    except Exception as error:
        return command_line._report(error)  # the command line's own edge


if __name__ == "__main__":
    sys.exit(main())
