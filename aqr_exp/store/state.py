"""What a run is doing, as its folder says it."""

from dataclasses import dataclass
from enum import Enum
from typing import Any


class RunStatus(str, Enum):
    """What `state.json` may say."""

    PLANNED = "planned"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


# States behind which a process must stand, and what a run is when none does or nobody can tell.
IN_HAND = frozenset({RunStatus.QUEUED, RunStatus.RUNNING})
INTERRUPTED = "interrupted"
UNKNOWN = "unknown"
# What a cancelled run is whose reason says that a pruner stopped it.
PRUNED = "pruned"
_PRUNED_REASON = f"{PRUNED}: "


def pruned_reason(why: str) -> str:
    """The reason of a request to stop, or of a state, that makes it a pruner's."""
    return _PRUNED_REASON + why


@dataclass(frozen=True, kw_only=True)
class RunState:
    """One reading of `state.json`.

    Attributes:
        status: What the run is doing.
        attempt: How often it was started, from 1.
        reason: Why it failed or was cancelled.
        updated: When it was written, ISO 8601 in UTC.
    """

    status: RunStatus
    attempt: int = 1
    reason: str | None = None
    updated: str = ""

    @property
    def pruned(self) -> bool:
        """Whether a pruner stopped the run: it is not to be started again by itself."""
        reason = self.reason or ""
        return self.status is RunStatus.CANCELLED and reason.startswith(_PRUNED_REASON)

    @property
    def why(self) -> str | None:
        """The reason, without the mark of a pruner."""
        return self.reason and self.reason.removeprefix(_PRUNED_REASON)

    def as_json(self) -> dict[str, Any]:
        """What `state.json` holds."""
        return {
            "status": self.status.value,
            "attempt": self.attempt,
            "reason": self.reason,
            "updated": self.updated,
        }


def state_from_json(value: dict[str, Any]) -> RunState:
    """Check what was read from `state.json`.

    Args:
        value: The file's content.

    Returns:
        The state.

    Raises:
        ValueError: A key is missing or holds what it cannot.
    """
    known = ", ".join(status.value for status in RunStatus)
    status, attempt = value.get("status"), value.get("attempt")
    reason, updated = value.get("reason"), value.get("updated", "")
    if status not in [item.value for item in RunStatus]:
        raise ValueError(f"status is {status!r}; allowed: {known}")
    if not isinstance(attempt, int) or isinstance(attempt, bool) or attempt < 1:
        raise ValueError(f"attempt is {attempt!r}; it must be a whole number from 1")
    if not isinstance(reason, (str, type(None))) or not isinstance(updated, str):
        raise ValueError("reason and updated must be text")
    return RunState(status=RunStatus(status), attempt=attempt, reason=reason, updated=updated)
