"""What becomes of the runs that a sweep means no more: shown, and cancelled when asked to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aqr_exp.cli import output

if TYPE_CHECKING:
    from aqr_exp.sweep.removed import RemovedRun


def say_removed(name: str, removed: "Sequence[RemovedRun]") -> None:
    """Say that there are such runs."""
    if removed:
        runs = "1 run is" if len(removed) == 1 else f"{len(removed)} runs are"
        output.say(
            f"{name}: {runs} no longer part of it and not complete: "
            "--dry-run shows which, --cancel-removed cancels them"
        )


def cancel_removed(name: str, removed: "Sequence[RemovedRun]") -> None:
    """Cancel such runs: those that wait or failed at once, those that run by a request to stop.

    Args:
        name: The sweep's name.
        removed: Its runs that it means no more.
    """
    from aqr_exp.errors import AqrExpError

    reason = f"removed from sweep {name}"
    for run in removed:
        try:
            output.say(f"{run.folder.name}: {_cancel(run, reason)}")
        except (AqrExpError, OSError) as error:
            output.say(f"{run.folder.name} is left as it is: {error}")


def _cancel(run: "RemovedRun", reason: str) -> str:
    from aqr_exp.results.state import RunStatus

    folder = run.folder
    if folder.standing() is not None:
        folder.request_cancel(reason)
        return f"asked to stop ({folder.holder() or 'it has just ended'})"
    with folder.launch_lock(), folder.lock():
        # Decided while nobody works on it: it may have been finished since it was looked at.
        if folder.effective_status(ours=True) == RunStatus.COMPLETED.value:
            return "completed meanwhile"
        folder.request_cancel(reason)
        folder.write_state(RunStatus.CANCELLED, reason=reason)
    return f"cancelled ({run.state} before)"
