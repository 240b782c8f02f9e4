"""`cost.json`: what a forward pass of a run's detector costs, and where that was measured."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import read_checked_json, replace_checked_json


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What was measured of one run.

    Attributes:
        call: Runs that were measured together, pass by pass in turn, share it.
        measured: When, ISO 8601 in UTC.
        hardware: The machine, the device and the number of threads.
        parameters: Of the whole detector.
        flops: Operations of a forward pass of one sample, with those made by formula.
        latencies_ms: Of each timed pass of one sample, in milliseconds.
        memory_mb: The most a pass holds beyond the idle model, median over passes, in 10^6 bytes; None
            where the system does not tell.
        about: What else is known: checkpoint, split, samples, versions.
    """

    call: str
    measured: str
    hardware: dict[str, Any]
    parameters: int
    flops: int
    latencies_ms: tuple[float, ...]
    memory_mb: float | None
    about: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """What the file holds; median and p95 are there for readers."""
        median, p95 = median_and_p95(self.latencies_ms)
        return {
            **self.about,
            "call": self.call,
            "measured": self.measured,
            "hardware": self.hardware,
            "parameters": self.parameters,
            "flops": self.flops,
            "latency_ms": {"median": round(median, 4), "p95": round(p95, 4)},
            "memory_mb": self.memory_mb,
            "latencies_ms": self.latencies_ms,
        }


def median_and_p95(values: Sequence[float]) -> tuple[float, float]:
    """Median and 95th percentile, linear between the two nearest values.

    Args:
        values: At least one.
    """
    if len(values) == 1:
        return values[0], values[0]
    return statistics.median(values), statistics.quantiles(values, n=20, method="inclusive")[-1]


def write_cost(path: Path, cost: Cost) -> None:
    """Replace the file in one step.

    Raises:
        OSError: Writing failed; the old file is untouched.
    """
    replace_checked_json(path, cost.as_json())


def read_cost(path: Path) -> Cost | None:
    """Read the file; None where the run was not measured.

    Args:
        path: The file.

    Raises:
        AqrExpError: It is damaged; names it.
    """
    if not path.exists():
        return None
    value = read_checked_json(path).value
    try:
        return cost_of(value)
    except (KeyError, TypeError, ValueError) as error:
        raise AqrExpError(f"{path} is damaged: {_fault(error)}") from None


def cost_of(value: Mapping[str, Any]) -> Cost:
    """From what `as_json` gave.

    Raises:
        KeyError: Something is missing.
        TypeError: Something is of another kind.
        ValueError: A number is impossible.
    """
    known = dict(value)
    known.pop("latency_ms", None)
    latencies = known.pop("latencies_ms")
    memory_mb = known.pop("memory_mb")
    cost = Cost(
        call=_text(known, "call"),
        measured=_text(known, "measured"),
        hardware=dict(known.pop("hardware")),
        parameters=_count(known, "parameters"),
        flops=_count(known, "flops"),
        latencies_ms=tuple(_number("latencies_ms", item) for item in latencies),
        memory_mb=None if memory_mb is None else _number("memory_mb", memory_mb),
        about=known,
    )
    if not cost.latencies_ms:
        raise ValueError("latencies_ms is empty")
    return cost


def _text(known: dict[str, Any], name: str) -> str:
    found = known.pop(name)
    if not isinstance(found, str):
        raise TypeError(f"{name} is no text")
    return found


def _count(known: dict[str, Any], name: str) -> int:
    found = known.pop(name)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise ValueError(f"{name} is no count")
    return found


def _number(name: str, found: Any) -> float:
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise TypeError(f"{name} holds what is no number")
    if not math.isfinite(found) or found < 0:
        raise ValueError(f"{name} holds an impossible number")
    return float(found)


def _fault(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
