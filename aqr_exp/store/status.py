"""States of a run: every one that is stored, shown or compared anywhere, and what is written of them."""

from enum import Enum
from typing import Annotated

import msgspec

from aqr_exp.errors import INTERRUPTED, OUT_OF_TIME


class RunStatus(str, Enum):
    """The state of a run; its value is the word for it in files, tables and JSON."""

    # What `state.json` may hold.
    PLANNED = "planned"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PRUNED = "pruned"
    # Its time was up; or queued or running by its file, and no process behind it.
    INTERRUPTED = "interrupted"
    # Queued or running by its file, and its process cannot be looked at.
    UNKNOWN = "unknown"
    # Its files cannot be read, it was never made, or a table passes over it.
    DAMAGED = "damaged"
    TO_DO = "to do"
    # Waits for a job of Slurm that is to work on it.
    SUBMITTED = "submitted"
    LEFT_OUT = "left out"

    __hash__ = str.__hash__

    def __str__(self) -> str:
        """The word."""
        return self.value


STORED = frozenset(list(RunStatus)[:8])
# States behind which a process must be.
IN_HAND = frozenset({RunStatus.QUEUED, RunStatus.RUNNING})
# Stopped on request, by a person or by a pruner.
STOPPED = frozenset({RunStatus.CANCELLED, RunStatus.PRUNED})
# Ended without a result, and nothing speaks against another attempt.
ENDED_BADLY = frozenset({RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED})
# What running a sweep again starts.
NEEDS_RUN = ENDED_BADLY | {RunStatus.TO_DO}
# What is left alone when a sweep no longer contains the run.
OVER = STOPPED | {RunStatus.COMPLETED}
EXIT_CODES = {
    RunStatus.COMPLETED: 0,
    RunStatus.FAILED: 1,
    RunStatus.INTERRUPTED: OUT_OF_TIME,
    RunStatus.CANCELLED: INTERRUPTED,
    RunStatus.PRUNED: INTERRUPTED,
}
"""Exit codes of a process by the state in which its run ended."""
# What the run's files alone do not tell, or not for long.
NOT_CACHED = IN_HAND | {RunStatus.INTERRUPTED, RunStatus.UNKNOWN, RunStatus.DAMAGED}
# The order in which totals are shown.
SHOWN = (
    RunStatus.COMPLETED,
    RunStatus.RUNNING,
    RunStatus.TO_DO,
    RunStatus.SUBMITTED,
    RunStatus.FAILED,
    RunStatus.CANCELLED,
    RunStatus.PRUNED,
    RunStatus.INTERRUPTED,
    RunStatus.UNKNOWN,
    RunStatus.DAMAGED,
)

_OLD_PRUNED = "pruned: "
"""The beginning of the reason by which older versions marked a cancelled run as pruned."""


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `state.json`.

    Attributes:
        status: One of `STORED`.
        attempt: How often the run was started, from 1.
        failures: How many of its attempts failed.
        reason: Why it failed, was cancelled, pruned or interrupted.
        updated: When it was written, ISO 8601 in UTC.
    """

    status: RunStatus
    attempt: Annotated[int, msgspec.Meta(ge=1)]
    reason: str | None = None
    updated: str = ""
    failures: int = 0

    def __post_init__(self) -> None:
        if self.status not in STORED:
            raise ValueError(f"status {self.status.value!r} is never stored")
        if self.status is RunStatus.CANCELLED and (self.reason or "").startswith(_OLD_PRUNED):
            msgspec.structs.force_setattr(self, "status", RunStatus.PRUNED)
            msgspec.structs.force_setattr(self, "reason", str(self.reason)[len(_OLD_PRUNED) :])


class CancelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `.cancel.json`, there while a run is to stop and to end in a state.

    Each request has another `requested`, which begins with the time.
    """

    reason: str
    requested: str
    status: RunStatus = RunStatus.CANCELLED
