"""What `aqr-exp run --dry-run` shows."""

import sys
from typing import TYPE_CHECKING, Any

from aqr_exp.cli import output

if TYPE_CHECKING:
    from aqr_exp.config.schema import RunConfig
    from aqr_exp.launch.run_plan import RunPlan
    from aqr_exp.results.store import Store

_BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_PLAIN_BARS = "_.-=+*#"


def show_run_plan(config: "RunConfig", store: "Store", *, as_json: bool) -> int:
    """Print what a run would do.

    Args:
        config: The checked run.
        store: Where it would be kept.
        as_json: Print JSON.

    Returns:
        0 when it can run here, 2 when something is missing; each fault is a line on stderr.
    """
    from aqr_exp.errors import AqrExpError
    from aqr_exp.launch.memory import estimate_memory
    from aqr_exp.launch.run_plan import plan_of

    plan = plan_of(config, store.root)
    output.say("estimating the memory of a step (some seconds)")
    memory: dict[str, float] = {}
    try:
        memory = estimate_memory(config)
    except AqrExpError as error:
        output.say(str(error))
    if as_json:
        output.print_json(_as_json(plan, memory))
    else:
        for line in _lines(config, plan, memory):
            output.data(line)
    for note in plan.notes:
        output.say(f"note: {note}")
    for fault in plan.faults:
        output.say(f"aqr-exp: {fault}")
    return 2 if plan.faults else 0


def _as_json(plan: "RunPlan", memory: dict[str, float]) -> dict[str, Any]:
    return {
        "samples": plan.samples,
        "samples_per_epoch": plan.drawn,
        "epochs": plan.epochs,
        "steps_per_epoch": plan.steps_per_epoch,
        "steps": plan.steps,
        "stages": list(plan.stages),
        "learning_rates": list(plan.rates),
        "peak_share": plan.peak_share,
        "memory": memory,
        "notes": list(plan.notes),
        "faults": list(plan.faults),
    }


def _lines(config: "RunConfig", plan: "RunPlan", memory: dict[str, float]) -> list[str]:
    schedule = config.schedule
    names = f"model {config.model.name}, data {config.data.name}, schedule {schedule.name}"
    steps = f"steps an epoch: {_known(plan.steps_per_epoch)}, steps in all: {_known(plan.steps)}"
    drawn = f", class-balanced {_known(plan.drawn)} an epoch" if schedule.cbgs else ""
    peak = f"{max(plan.rates):.3g} after {100 * plan.peak_share:.0f} % of the run"
    lines = [
        f"{config.variant.name.value}, {names}, seed {config.seed}",
        f"samples: {_known(plan.samples)}{drawn}, batch size {schedule.batch_size}",
        f"epochs: {plan.epochs}, {steps}",
        *(f"  {words}" for words in plan.stages),
        f"learning rate: {plan.rates[0]:.3g}, at its highest {peak}, {plan.rates[-1]:.3g} at the end",
        f"  {_curve(plan.rates)}",
    ]
    if memory:
        weights, activations = (
            _gigabytes(memory["weights_gb"]),
            _gigabytes(memory["activations_gb"]),
        )
        lines.append(
            f"memory of a step: about {_gigabytes(memory['total_gb'])} with {schedule.batch_size} "
            f"samples in one process (weights, gradients and AdamW {weights}, activations "
            f"{activations}; the sparse encoder and the arm come on top)"
        )
    return lines


def _gigabytes(size: float) -> str:
    return f"{size:.1f} GB" if size >= 1 else f"{size:.2f} GB"


def _known(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _curve(rates: tuple[float, ...]) -> str:
    """The curve in one line of text."""
    encoding = (sys.stdout.encoding or "ascii").lower()
    bars = _BARS if encoding.startswith("utf") else _PLAIN_BARS
    top = max(rates)
    return "".join(bars[min(len(bars) - 1, int(rate / top * len(bars)))] for rate in rates)
