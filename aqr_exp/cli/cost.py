"""`aqr-exp cost`: what a forward pass of runs' detectors costs."""

from typing import Annotated, Any

import typer

from aqr_exp.cli import completion, console
from aqr_exp.cli.console import counted_progress
from aqr_exp.config.variant_spec import example_lines
from aqr_exp.errors import RequestError
from aqr_exp.launch.measuring import Outcome, measure_together
from aqr_exp.store.collect import intact_row
from aqr_exp.store.cost import Cost, median_and_p95
from aqr_exp.store.store import Store, results_root

HELP = f"""
That is parameters, operations, latency and memory.
The newest checkpoint of each run detects in real samples of the validation split. Runs named together
are timed in turn, pass by pass, so only they are compared. Each run's folder gets a cost.json, which
`aqr-exp table --by cost` shows.

\b
Examples:
  aqr-exp cost baseline --json
{example_lines("cost")}
"""

_RUNS = typer.Argument(
    help="Runs' names, or their beginnings when unambiguous.",
    metavar="RUN...",
    autocompletion=completion.run_names,
    show_default=False,
)
_PASSES = typer.Option(
    "--passes", help="Timed passes of each run.", metavar="N", min=1, max=100_000
)
_SAMPLES = typer.Option(
    "--samples", help="Samples they go through.", metavar="N", min=1, max=10_000
)


def command(
    runs: Annotated[list[str], _RUNS],
    passes: Annotated[int, _PASSES] = 50,
    samples: Annotated[int, _SAMPLES] = 5,
    as_json: console.Json = False,
) -> int:
    """Measure runs of the results folder; returns the exit code."""
    store = Store(results_root())
    folders = {folder.name: folder for folder in map(store.find, runs)}
    for folder in folders.values():
        intact_row(folder)
    untrained = [
        name
        for name, folder in folders.items()
        if not any(path.is_file() for path in folder.checkpoints_dir.glob("*.pth"))
    ]
    if untrained:
        raise RequestError(*(f"{name}: no checkpoint to measure yet" for name in untrained))
    counted = f"{len(folders)} run{'' if len(folders) == 1 else 's'}"
    console.say(f"measuring {counted}: loading, then {passes} timed passes each")
    outcomes = {}
    with counted_progress("steps") as step:
        for outcome in measure_together(
            list(folders.values()), passes=passes, samples=samples, progress=step
        ):
            outcomes[outcome.name] = outcome
    ordered = [outcomes[name] for name in folders]
    if as_json:
        console.print_json([_as_json(outcome) for outcome in ordered])
    else:
        costs = {one.name: one.cost for one in ordered if one.cost is not None}
        console.data("\n".join(f"{name}: {format_cost(cost)}" for name, cost in costs.items()))
    faults = {one.name: one.fault for one in ordered if one.fault is not None}
    for name, fault in faults.items():
        console.say(f"not measured: {name}: {fault}")
    return 1 if faults else 0


def _as_json(outcome: Outcome) -> dict[str, Any]:
    cost = None if outcome.cost is None else outcome.cost.as_json()
    return {"run": outcome.name, "fault": outcome.fault, "cost": cost}


def format_cost(cost: Cost) -> str:
    """A cost in one line."""
    median, p95 = median_and_p95(cost.latencies_ms)
    memory = "unknown memory" if cost.memory_mb is None else f"{cost.memory_mb:.1f} MB"
    return (
        f"{cost.parameters / 1e6:.3f} M parameters, {cost.flops / 1e9:.3f} GFLOPs, "
        f"{median:.1f} ms (p95 {p95:.1f}), {memory} beyond the idle model"
    )
