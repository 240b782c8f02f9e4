"""What asking for a run leads to: show it, start it, or start it again."""

from dataclasses import dataclass
from enum import Enum

from aqr_exp.errors import AqrExpError
from aqr_exp.results.holder import Life
from aqr_exp.results.lock import LockHeldError
from aqr_exp.results.run_folder import RunFolder
from aqr_exp.results.state import RunStatus
from aqr_exp.results.store import Store


class Action(Enum):
    """What is to be done."""

    SHOW = "show"
    START = "start"
    RESTART = "restart"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The intended action.

    Attributes:
        action: What is to be done.
        folder: With which run.
        attempt: The number of the start.
        previous: How the earlier start ended; None when there was none.
    """

    action: Action
    folder: RunFolder
    attempt: int = 1
    previous: str | None = None


def plan_run(store: Store, name: str, *, force: bool) -> Plan:
    """Decide what asking for the run `name` leads to; changes nothing.

    Args:
        store: Where runs are kept.
        name: The run's name.
        force: Whether a new attempt is wanted beside those that are there.

    Returns:
        Show the newest completed attempt; or start the newest again; or start afresh.

    Raises:
        LockHeldError: Somebody works on it; names the process.
        AqrExpError: Its state cannot be read.
    """
    attempts = store.attempts(name)
    if not attempts:
        return Plan(action=Action.START, folder=store.folder(name))
    if force:
        return Plan(action=Action.START, folder=store.folder(store.next_forced_name(name)))
    for folder in reversed(attempts):
        if _status(folder) == RunStatus.COMPLETED.value:
            return Plan(action=Action.SHOW, folder=folder)
    return plan_restart(attempts[-1])


def plan_restart(folder: RunFolder) -> Plan:
    """Decide what becomes of a run that is there and has not completed.

    Raises:
        LockHeldError: Somebody works on it; names the process.
        AqrExpError: Its state cannot be read.
    """
    standing = folder.standing()
    if standing is not None:
        unknown = standing.life is Life.UNKNOWN
        hint = (
            f"; once you know it is dead: aqr-exp resume {folder.name} --steal" if unknown else ""
        )
        raise LockHeldError(f"{folder.name} is worked on by {standing}{hint}")
    attempt = folder.read_state().attempt
    status = _status(folder)
    if status == RunStatus.PLANNED.value:
        return Plan(action=Action.START, folder=folder, attempt=attempt)
    return Plan(action=Action.RESTART, folder=folder, attempt=attempt + 1, previous=status)


def _status(folder: RunFolder) -> str:
    try:
        return folder.effective_status()
    except AqrExpError as error:
        raise AqrExpError(f"{error} (--force starts the run anew beside it)") from None
