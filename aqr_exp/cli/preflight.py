"""The pre-flight of a sweep: each distinct configuration makes its first steps before any is queued."""

import time

from aqr_exp.cli import console
from aqr_exp.cli.console import duration
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import RequestError
from aqr_exp.files.run_name import arm_of
from aqr_exp.launch.measuring import FirstSteps, can_be_tried, try_first_steps
from aqr_exp.launch.slots import Slot
from aqr_exp.store.counting import RunFolders
from aqr_exp.store.store import Store
from aqr_exp.sweep.plan import Plan

HINT = "--no-preflight leaves it out"


def preflight(plan: Plan, store: Store, slot: Slot) -> None:
    """Let every configuration that has never trained here make its first steps, and tell.

    Args:
        plan: The runs; seeds share a configuration.
        store: Where runs are kept; what has trained there is not tried again.
        slot: Where a run executes.

    Raises:
        RequestError: One line for each configuration that cannot make them, with its reason.
    """
    configs = untried(plan, store) if can_be_tried() else {}
    if not configs:
        return
    console.say(f"pre-flight: {counted(len(configs))}, a few steps each ({HINT})")
    started = time.monotonic()
    faults = []
    for steps in try_first_steps(configs, slot):
        console.say(f"  {told(steps)}")
        if steps.fault is not None:
            faults.append(f"pre-flight: {steps.name}: {steps.fault}")
    took = duration(time.monotonic() - started)
    if faults:
        raise RequestError("\n".join([*faults, f"nothing was started ({HINT})"]))
    console.say(f"pre-flight: {counted(len(configs))} can train ({took})")


def untried(plan: Plan, store: Store) -> dict[str, RunConfig]:
    """One run of each configuration of which no run of the plan has ever made a step.

    Args:
        plan: The runs.
        store: Where runs are kept.

    Returns:
        Configurations by what would be typed for them.
    """
    found: dict[str, tuple[str, RunConfig]] = {}
    tried = set()
    folders = RunFolders(store)
    for run in plan.runs:
        arm = arm_of(run.name)
        if folders.of(run.name).history_path.exists():
            tried.add(arm)
        found.setdefault(arm, (" ".join([run.variant, *run.overrides]), run.config))
    return {label: config for arm, (label, config) in found.items() if arm not in tried}


def counted(configurations: int) -> str:
    """`1 configuration`, `3 configurations`."""
    return f"{configurations} configuration{'' if configurations == 1 else 's'}"


def told(steps: FirstSteps) -> str:
    """One line on the first steps of a configuration."""
    if steps.fault is not None:
        return f"{steps.name}: {steps.fault}"
    return (
        f"{steps.name}: {steps.step_s:.2f} s a step, {steps.memory_mb:.0f} MB at most, "
        f"loss {steps.loss:.4g}"
    )
