"""One row a run, from small files only; a damaged run is a row that says so."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.results.run_folder import RunFolder
from aqr_exp.results.state import INTERRUPTED, UNKNOWN, RunStatus
from aqr_exp.results.store import Store

DAMAGED = "damaged"
PEAK_MEMORY = "peak_memory_mb"
FINAL_SCALE = "aqr/final_scale"
# Where text would be damage; classes and conditions are recognised by their beginnings.
NUMERIC = ("train_time_s", PEAK_MEMORY, "AP/", "gt/", "stability/")
MEAN_METRICS = ("mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE")


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """What one run's folder says.

    Attributes:
        name: The run's name.
        status: A `RunStatus` value, `interrupted`, `pruned`, `unknown` or `damaged`.
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

    @property
    def setting(self) -> str | None:
        """What the run shares with the arms it may be compared with; None when unknown."""
        setting = self.record.get("setting")
        return setting if isinstance(setting, str) else None

    @property
    def hardware(self) -> dict[str, Any]:
        """What its training time depends on; empty when unknown."""
        hardware = self.record.get("hardware")
        return hardware if isinstance(hardware, dict) else {}

    @property
    def final_scales(self) -> list[float]:
        """The bias scale training ended with, one or several; empty for a run without."""
        scales = _flat(self.metrics.get(FINAL_SCALE))
        return [float(value) for value in scales if value is not None]

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
    reason = state.why
    if status == INTERRUPTED:
        reason = "its process ended without saying so"
    elif status == UNKNOWN:
        reason = f"held by {folder.holder()}"
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
        numeric = name in MEAN_METRICS or name.startswith(NUMERIC)
        if numeric and not (value is None or _is_number(value)):
            raise AqrExpError(f"{where} is damaged: {name} is {value!r}, not a number")
    scales = _flat(metrics.get(FINAL_SCALE))
    if not all(value is None or _is_number(value) for value in scales):
        raise AqrExpError(f"{where} is damaged: {FINAL_SCALE} is {scales!r}, not numbers")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _flat(value: Any) -> list[Any]:
    """A value, or the values of nested lists, in order."""
    if not isinstance(value, list):
        return [value]
    return [item for part in value for item in _flat(part)]


def collect(store: Store) -> list[RunRow]:
    """Every run of a store, in the order of their names."""
    return [read_row(folder) for folder in store]


def with_settings(store: Store, rows: Sequence[RunRow]) -> list[RunRow]:
    """The rows, with what older records do not hold read from the runs' specifications.

    Args:
        store: Where the rows come from.
        rows: All runs.

    Returns:
        The same rows; `setting` and `hardware` stay unknown where a specification is damaged.
    """
    return [
        _with_setting(store.folder(row.name), row) if row.completed and row.setting is None else row
        for row in rows
    ]


def _with_setting(folder: RunFolder, row: RunRow) -> RunRow:
    from aqr_exp.results.setting import launch_circumstances, setting_fingerprint

    try:
        spec = folder.read_spec()
    except AqrExpError:
        return row
    known = {name: row.record[name] for name in ("host", "cpus") if name in row.record}
    facts = {
        "setting": setting_fingerprint(spec),
        "hardware": known | launch_circumstances(spec, known.get("cpus")),
    }
    return replace(row, record=row.record | facts)
