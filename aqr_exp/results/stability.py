"""How smoothly a run trained, from its history: loss oscillation and gradient spikes.

Both depend on which steps the history holds (`schedule.log_every_steps`): compare runs that log alike.
"""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

LOSS_OSCILLATION = "stability/loss_oscillation"
GRADIENT_SPIKES = "stability/gradient_spikes"
SPIKE_FACTOR = 3.0
# The running median is that of so many norms before the step, and needs a few to be one.
MEDIAN_STEPS = 50
LEAST_MEDIAN_STEPS = 5


def stability_metrics(history: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Both numbers under the names they have in `metrics.json`; None where the history is too short.

    Args:
        history: The run's history, all kinds of lines, in the order they were written.
    """
    return {
        LOSS_OSCILLATION: loss_oscillation(history),
        GRADIENT_SPIKES: gradient_spikes(history),
    }


def loss_oscillation(history: Sequence[Mapping[str, Any]]) -> float | None:
    """How much the loss jumps from line to line in the last half of training, over its mean there.

    The standard deviation (n - 1) of the differences between successive losses, so that a steady
    fall of the loss adds nothing.

    Args:
        history: The run's history.

    Returns:
        The ratio, 0 or more; None with fewer than three losses there, or when their mean is not
        positive.
    """
    steps = _train_values(history, "loss")
    last = max(steps, default=0)
    losses = [value for step, value in steps.items() if step > last / 2]
    if len(losses) < 3 or statistics.fmean(losses) <= 0:
        return None
    differences = [after - before for before, after in itertools.pairwise(losses)]
    return statistics.stdev(differences) / statistics.fmean(losses)


def gradient_spikes(history: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of steps whose gradient norm exceeds three times the running median.

    The running median is that of the 50 norms before the step (the step's own is not among them);
    steps with fewer than 5 before them are not judged.

    Args:
        history: The run's history.

    Returns:
        The share, 0 to 1; None when no step can be judged.
    """
    norms = list(_train_values(history, "grad_norm").values())
    judged = range(LEAST_MEDIAN_STEPS, len(norms))
    if not judged:
        return None
    spikes = sum(
        norms[at] > SPIKE_FACTOR * statistics.median(norms[max(0, at - MEDIAN_STEPS) : at])
        for at in judged
    )
    return spikes / len(judged)


def _train_values(history: Sequence[Mapping[str, Any]], name: str) -> dict[int, float]:
    """A scalar by training step, rising; of a step that was repeated after a resume, the last counts."""
    latest: dict[int, Any] = {}
    for line in history:
        step = line.get("step")
        if line.get("kind") == "train" and isinstance(step, int):
            latest[step] = line.get(name)
    return {
        step: float(value)
        for step, value in sorted(latest.items())
        if isinstance(value, (int, float)) and math.isfinite(value)
    }
