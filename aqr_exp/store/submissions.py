"""Runs that were submitted to Slurm: by which jobs, and what the queue says of those now."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import replace_json
from aqr_exp.files.reading import read_json
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.slurm import QueuedJob, own_cluster, queued
from aqr_exp.store.status import RunStatus

# What a submitted run is until a worker has started it.
_WAITING = frozenset({RunStatus.PLANNED, RunStatus.TO_DO, RunStatus.INTERRUPTED})
MOST_JOBS_NAMED = 3


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs whose tasks work on what they were given.

    Attributes:
        jobs: Numbers of the arrays.
        names: What `aqr-exp work` was given: a sweep, or runs.
        runs: Those that were due.
        code: The snapshot that they run.
    """

    jobs: tuple[str, ...]
    cluster: str | None
    names: tuple[str, ...]
    runs: tuple[str, ...]
    code: str
    submitted: str

    @property
    def file_name(self) -> str:
        """Unique among all clusters."""
        return re.sub(r"[^\w.-]", "_", f"{self.cluster}-{self.jobs[0]}") + ".json"


def submissions_dir(root: Path) -> Path:
    """The folder of a results folder in which submissions and their logs are."""
    return root / "slurm"


def write_submission(submission: Submission, root: Path) -> None:
    """Write down what was submitted, and forget what is over."""
    jobs = Jobs(root)
    for path, known in jobs.submissions.items():
        if jobs.answered and known.cluster == jobs.cluster and not jobs.of(known):
            path.unlink(missing_ok=True)
    path = submissions_dir(root) / submission.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_json(path, msgspec.structs.asdict(submission))


class Jobs:
    """The jobs of a results folder, as the queue has them at this moment.

    Attributes:
        submissions: By file.
        answered: Slurm has answered; else nothing is known of any job.
    """

    def __init__(self, root: Path) -> None:
        self.submissions: dict[Path, Submission] = {}
        for path in sorted(submissions_dir(root).glob("*.json")):
            try:
                self.submissions[path] = read_json(path, Submission, follow=False)
            except AqrExpError:
                continue
        self.cluster = own_cluster() if self.submissions else None
        mine = [one for one in self.submissions.values() if one.cluster == self.cluster]
        rows = queued(job for one in mine for job in one.jobs) if self.cluster else None
        self.answered = rows is not None
        self._rows = [row for row in rows or () if not row.over]
        self._of_run = {name: found for one in mine if (found := self.of(one)) for name in one.runs}

    def of(self, submission: Submission) -> list[QueuedJob]:
        """Those of a submission that run or are to run."""
        return [
            row
            for row in self._rows
            if submission.cluster == row.cluster and row.array in submission.jobs
        ]

    def given(self, name: str, *, alone: bool = False) -> list[QueuedJob]:
        """Those whose workers were given a sweep or a run, or nothing else."""
        return [
            row
            for one in self.submissions.values()
            if name in one.names and (not alone or len(one.names) == 1)
            for row in self.of(one)
        ]

    def look(self, folder: RunFolder, status: RunStatus) -> tuple[RunStatus, str] | None:
        """A run's status and what Slurm says of its jobs; None where that has nothing to do with it."""
        if folder.name in self._of_run and _waits(folder, status):
            return RunStatus.SUBMITTED, in_words(self._of_run[folder.name])
        if status is RunStatus.RUNNING and self._rows:
            held = folder.lease_info()
            job = held.owner.job if held and held.owner else None
            for row in self._rows:
                if job is not None and (row.id, row.cluster) == (job.id, job.cluster):
                    return status, str(row)
        return None


def _waits(folder: RunFolder, status: RunStatus) -> bool:
    """Whether a worker will start the run; one that was preempted is cancelled, by nobody's request."""
    preempted = status is RunStatus.CANCELLED and folder.cancel_request() is None
    return status in _WAITING or preempted


def in_words(jobs: Sequence[QueuedJob]) -> str:
    """Such as `job 20_[2-5] pending (Resources), job 20_1 running on n1, 0:57 left`."""
    more = [f"{len(jobs) - MOST_JOBS_NAMED} more"] if len(jobs) > MOST_JOBS_NAMED else []
    return ", ".join([*map(str, jobs[:MOST_JOBS_NAMED]), *more])
