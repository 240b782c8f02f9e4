"""`cost.json`: what a forward pass of a run's detector costs, and where that was measured."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from aqr_exp.errors import AqrExpError
from aqr_exp.files.reading import type_fault
from aqr_exp.store.run_files import RunPaths

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Measure = Annotated[float, msgspec.Meta(ge=0)]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The measured cost of one run.

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
    parameters: _Count
    flops: _Count
    latencies_ms: Annotated[tuple[_Measure, ...], msgspec.Meta(min_length=1)]
    memory_mb: _Measure | None
    about: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The content of the file; median and p95 are there for readers."""
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
    """Median and 95th percentile of at least one value, linear between the two nearest."""
    if len(values) == 1:
        return values[0], values[0]
    return statistics.median(values), statistics.quantiles(values, n=20, method="inclusive")[-1]


def read_cost(folder: RunPaths) -> Cost | None:
    """Read the file of a run; None where it was not measured.

    Raises:
        AqrExpError: It is damaged, or belongs to another run; names it.
    """
    path = folder.cost_path
    if not path.exists():
        return None
    value = folder.read_json(path).value
    try:
        return cost_of(value)
    except msgspec.ValidationError as error:
        raise AqrExpError(f"{path} is damaged: {type_fault(error)}") from None


def cost_of(value: Mapping[str, Any]) -> Cost:
    """The cost from what `as_json` gave.

    Raises:
        msgspec.ValidationError: Something is missing, of another kind or impossible.
    """
    known = {*Cost.__struct_fields__, "latency_ms"}
    about = {name: item for name, item in value.items() if name not in known}
    return msgspec.convert({**value, "about": about}, Cost)
