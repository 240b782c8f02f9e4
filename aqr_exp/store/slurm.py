"""Slurm as its users see it: the job that a process is part of, and what the queue says of jobs.

`squeue` and `scontrol` are asked, which every cluster has, and no accounting. Where they do not answer,
nothing is known of a job: it is never taken for over.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

# An answer holds for so long; that there was none, for longer, as asking may take `PATIENCE_S`.
ASK_EVERY_S = 5.0
TRY_AGAIN_AFTER_S = 30.0
PATIENCE_S = 10.0

# States in which nothing of what a job had begun is left.
_OVER = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "CONFIGURING", "DEADLINE", "FAILED", "NODE_FAIL"),
        *("OUT_OF_MEMORY", "PENDING", "PREEMPTED", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"),
        *("REVOKED", "SPECIAL_EXIT", "TIMEOUT"),
    }
)
# Those of them from which it starts again.
_WAITS = frozenset({"CONFIGURING", "PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"})
_COLUMNS = (
    *("JobID", "JobArrayID", "ArrayJobID", "State", "Reason", "NodeList", "TimeLeft"),
    *("RestartCnt", "Cluster"),
)


class SlurmJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job, or a task of an array, at one of its starts.

    Attributes:
        id: Its number, of a task its own.
        task: Such as `20_1`; None of a job that is no array.
        restarts: How often Slurm had started it again.
        user: The number of the user whose job it is.
    """

    id: str
    task: str | None = None
    restarts: int = 0
    cluster: str | None = None
    user: int | None = None

    def __str__(self) -> str:
        """Such as `job 20_1`."""
        return f"job {self.task or self.id}"


def own_job(environment: Mapping[str, str] = os.environ) -> SlurmJob | None:
    """The job that started this process and ends it; a shell of `salloc` outlives its job."""
    number = environment.get("SLURM_JOB_ID")
    if not number or "SLURMD_NODENAME" not in environment:
        return None
    array, index = (environment.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    restarts = environment.get("SLURM_RESTART_COUNT", "0")
    return SlurmJob(
        id=number,
        task=f"{array}_{index}" if array and index else None,
        restarts=int(restarts) if restarts.isdecimal() else 0,
        cluster=environment.get("SLURM_CLUSTER_NAME"),
        user=os.geteuid(),
    )


class QueuedJob(NamedTuple):
    """A line of the queue: a job, a task of an array, or those of its tasks that wait.

    Attributes:
        task: Such as `20_1`, or `20_[2-5%2]`.
        array: The number of the whole array; that of a job that is none.
        reason: Why it waits, in Slurm's words.
        left: The time it has left, such as `1:23:45`.
    """

    id: str
    task: str
    array: str
    state: str
    reason: str
    nodes: str
    left: str
    restarts: int
    cluster: str

    def __str__(self) -> str:
        """Such as `job 20_1 running on n1, 0:57 left` or `job 20_[2-5] pending (Resources)`."""
        where = f" on {self.nodes}, {self.left} left" if self.nodes else f" ({self.reason})"
        return f"job {self.task} {self.state.lower()}{where}"

    @property
    def over(self) -> bool:
        """It has ended and will not run again."""
        return self.state in _OVER - _WAITS


_known: dict[tuple[str, ...], tuple[float, list[QueuedJob] | None]] = {}


def queued(ids: Iterable[str]) -> list[QueuedJob] | None:
    """What the queue says of some jobs; of one that it has forgotten nothing.

    Args:
        ids: Numbers of jobs, tasks or whole arrays.

    Returns:
        None where Slurm does not answer.
    """
    asked = tuple(sorted(set(ids)))
    if not asked:
        return []
    until, found = _known.get(asked, (0.0, None))
    if time.monotonic() >= until:
        found = _ask(asked)
        until = time.monotonic() + (TRY_AGAIN_AFTER_S if found is None else ASK_EVERY_S)
        _known[asked] = until, found
    return found


def _ask(ids: tuple[str, ...]) -> list[QueuedJob] | None:
    form = ",".join(f"{column}:|" for column in _COLUMNS)
    code, said = command("squeue", "-h", "-a", "-t", "all", "-j", ",".join(ids), "-O", form)
    if code:
        return [] if "Invalid job id" in said else None
    rows = [line.split("|")[: len(_COLUMNS)] for line in said.splitlines() if line]
    try:
        return msgspec.convert(rows, list[QueuedJob], strict=False)
    except msgspec.ValidationError:
        return None


def command(*arguments: str) -> tuple[int, str]:
    """The exit code of one of Slurm's commands, and what it says; 127 where it is not there or is stuck."""
    # A user's own filters and formats are for people: who sees no job is not to think that it is gone.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "SLURM_CLUSTERS" and not name.startswith("SQUEUE_")
    }
    environment["LC_ALL"] = "C"
    try:
        done = subprocess.run(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return 127, f"{arguments[0]} does not answer"
    return done.returncode, done.stdout.decode("utf-8", "replace")


def setting(name: str) -> str | None:
    """A setting of the cluster, such as its `ClusterName`; None where Slurm does not answer."""
    code, said = command("scontrol", "show", "config")
    found = re.search(rf"^{name}\s*= (.*)$", said, re.MULTILINE)
    return None if code or found is None else found[1].strip()


def cancel_waiting(jobs: Iterable[QueuedJob]) -> None:
    """Cancel those of some jobs that have not begun, or wait to begin again."""
    numbers = sorted({job.id for job in jobs if job.state in _WAITS})
    if numbers:
        command("scancel", "--state=PENDING", *numbers)


_clusters: dict[str | None, str | None] = {}


def own_cluster() -> str | None:
    """The name of the cluster whose queue is asked; None where Slurm does not answer."""
    settings = os.environ.get("SLURM_CONF")
    if _clusters.get(settings) is None:
        _clusters[settings] = setting("ClusterName")
    return _clusters[settings]


def is_over(job: SlurmJob) -> bool:
    """Whether Slurm says that a job has ended since, or was started again; False where it does not say."""
    here = own_job()
    if here is not None and (here.id, here.cluster) == (job.id, job.cluster):
        return job.restarts < here.restarts
    found = queued([job.id])
    if found is None:
        return False
    for row in found:
        if row.id == job.id:
            over = row.state in _OVER or row.restarts > job.restarts
            return over and row.cluster == job.cluster
    # Nothing is said of jobs of other clusters, and where they are private, of other users.
    return job.user == os.geteuid() and job.cluster is not None and job.cluster == own_cluster()
