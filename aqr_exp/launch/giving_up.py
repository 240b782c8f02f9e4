"""Stopping what a pruner gave up, so that no launcher starts it again by itself."""

import contextlib

from aqr_exp.launch.task import Task
from aqr_exp.results.lock import LockHeldError
from aqr_exp.results.state import PRUNED, RunStatus, pruned_reason


def mark_pruned(task: Task, why: str) -> bool:
    """Stop a run, or keep it from being started; to be called until it says that the run has ended.

    Args:
        task: The run; its folder is made when it is not there, so that tables name it.
        why: Why it was given up.

    Returns:
        Whether the run has ended: as pruned, or completed before the request reached it.
    """
    folder, reason = task.folder, pruned_reason(why)
    if task.create is not None and not folder.path.exists():
        with contextlib.suppress(FileExistsError):
            task.create()
    status = folder.effective_status()
    if status in {RunStatus.COMPLETED.value, PRUNED}:
        return True
    if folder.standing() is not None:
        if folder.cancel_requested() != reason:
            folder.request_cancel(reason)
        return False
    try:
        with folder.launch_lock(), folder.lock():
            if folder.effective_status(ours=True) != RunStatus.COMPLETED.value:
                folder.write_state(RunStatus.CANCELLED, reason=reason)
    except LockHeldError:
        return False
    return True
