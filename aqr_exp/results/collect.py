"""One row a run, from small files only; a damaged run is a row that says so."""

from dataclasses import dataclass, field
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.results.run_folder import RunFolder
from aqr_exp.results.state import RunStatus
from aqr_exp.results.store import Store

DAMAGED = "damaged"
INTERRUPTED = "interrupted"
MEAN_METRICS = ("mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE")


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """What one run's folder says.

    Attributes:
        name: The run's name.
        status: A `RunStatus` value, `interrupted` or `damaged`.
        reason: Why it failed, was cancelled or cannot be read.
        attempt: How often it was started.
        updated: When its state was last written.
        record: `record.json`; empty when damaged.
        metrics: `metrics.json` of a completed run; empty otherwise.
    """

    name: str
    status: str
    reason: str | None = None
    attempt: int = 1
    updated: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def completed(self) -> bool:
        """Whether the row has metrics of record."""
        return self.status == RunStatus.COMPLETED.value

    @property
    def variant(self) -> str:
        """The arm of the comparison."""
        return str(self.record.get("variant", "?"))

    @property
    def fingerprint(self) -> str:
        """The identity without the seed."""
        return str(self.record.get("fingerprint", "?"))

    @property
    def preset(self) -> str:
        """The preset it was asked for with."""
        return str(self.record.get("preset", "?"))

    @property
    def seed(self) -> int | None:
        """The replicate."""
        seed = self.record.get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def overrides(self) -> str:
        """What was typed besides the variant, except the seed."""
        typed = self.record.get("overrides")
        words = typed if isinstance(typed, list) else []
        return " ".join(str(word) for word in words if not str(word).startswith("seed="))

    @property
    def synthetic(self) -> bool:
        """Whether it was scored on synthetic data."""
        return self.metrics.get("synthetic") is True

    @property
    def data(self) -> str:
        """The split it was scored on, marked when synthetic."""
        split = str(self.metrics.get("split", "?"))
        return f"{split} (synthetic)" if self.synthetic else split

    def metric(self, name: str) -> float | None:
        """A metric's value; None when it is absent or was no number."""
        value = self.metrics.get(name)
        return float(value) if isinstance(value, (int, float)) else None


def read_row(folder: RunFolder) -> RunRow:
    """One run's row; whatever is wrong with its files becomes status and reason."""
    try:
        state = folder.read_state()
        status = folder.effective_status()
        record = folder.read_record()
        metrics = folder.read_metrics() if status == RunStatus.COMPLETED.value else {}
        check_numbers(metrics, str(folder.metrics_path))
    except (AqrExpError, OSError) as error:
        return RunRow(name=folder.name, status=DAMAGED, reason=str(error))
    reason = state.reason
    if status == INTERRUPTED:
        reason = "its process ended without saying so"
    return RunRow(
        name=folder.name,
        status=status,
        reason=reason,
        attempt=state.attempt,
        updated=state.updated,
        record=record,
        metrics=metrics,
    )


def check_numbers(metrics: dict[str, Any], where: str) -> None:
    """Refuse metrics that hold text where a number belongs.

    Raises:
        AqrExpError: Names file, metric and value.
    """
    for name, value in metrics.items():
        numeric = name in MEAN_METRICS or name.startswith(("AP/", "gt/"))
        if numeric and (isinstance(value, bool) or not isinstance(value, (int, float, type(None)))):
            raise AqrExpError(f"{where} is damaged: {name} is {value!r}, not a number")


def collect(store: Store) -> list[RunRow]:
    """Every run of a store, in the order of their names."""
    return [read_row(folder) for folder in store]
