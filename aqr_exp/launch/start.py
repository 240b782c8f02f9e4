"""Starting a run: of all launchers that find it due, exactly one does."""

import contextlib
from dataclasses import dataclass

from aqr_exp.errors import AqrExpError
from aqr_exp.launch.outlook import Outlook, Past, View, view_of
from aqr_exp.launch.slots import Slot
from aqr_exp.launch.training import Training, queue, training_command
from aqr_exp.results.lease import Lease, Standing, claim
from aqr_exp.results.run_folder import RunFolder
from aqr_exp.results.state import RunStatus


@dataclass(frozen=True, kw_only=True)
class Started:
    """A run whose process was started here.

    Attributes:
        training: The process.
        lease: The right to launch the run, to be released when the process has been accounted for.
        attempt: The number of the start.
    """

    training: Training
    lease: Lease
    attempt: int


def start(folder: RunFolder, past: Past, slot: Slot) -> Started | View:
    """Start a run that looked due, if it still is once nobody else can start it.

    Args:
        folder: The run's folder; it exists.
        past: What had happened to the run when this launcher came to it.
        slot: Where it runs.

    Returns:
        The started run; or what it is instead: somebody else's, finished meanwhile, or failed
        because it cannot be started.
    """
    kept: list[Lease] = []
    try:
        for path in (folder.launch_lease_path, folder.lease_path):
            answer = claim(path)
            if isinstance(answer, Standing):
                return View(outlook=Outlook.ELSEWHERE, reason=f"held by {answer}")
            kept.append(answer)
        # Decided while nobody trains: what a process that outlived its launcher did until now counts.
        view = view_of(folder, past, ours=True)
        if view.outlook is not Outlook.DUE:
            return view
        queue(folder, view.attempt)
        kept.pop().release()
        command = training_command(folder.path, attempt=view.attempt, threads=slot.threads)
        training = Training(folder, command, attempt=view.attempt, environment=slot.environment)
        return Started(training=training, lease=kept.pop(), attempt=view.attempt)
    except (AqrExpError, OSError) as error:
        reason = f"cannot be started: {error}"
        with contextlib.suppress(AqrExpError, OSError):
            folder.write_state(RunStatus.FAILED, reason=reason)
        return View(outlook=Outlook.FAILED, reason=reason)
    finally:
        for lease in kept:
            lease.release()
