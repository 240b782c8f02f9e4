"""Submission to Slurm: an array of workers, and the code as it is at that moment for them to run.

What was submitted works on what is due of a sweep or of some runs, as `aqr-exp work` does anywhere; leases
see to it that each run is executed once. submitit writes the batch script and hands it over. A job whose
time is nearly up saves its runs and is queued again by its own script, and by nobody else: one that is
cancelled gets SIGTERM and stays away, and one that was preempted or has lost its node Slurm queues itself.
"""

import hashlib
import io
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Any

from aqr_exp.config.idea_files import FOLDER as IDEAS
from aqr_exp.config.idea_files import PATH_VARIABLE
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.run import SlurmConfig
from aqr_exp.config.sources import PACKAGE, check_sources
from aqr_exp.errors import OUT_OF_TIME, AqrExpError, Fault, RequestError, cut
from aqr_exp.files.atomic import clear_litter, draft_of
from aqr_exp.launch.json_worker import python_module
from aqr_exp.store.lease import LockHeldError
from aqr_exp.store.run_folder import RunFolder, utc_now
from aqr_exp.store.slurm import own_cluster, setting
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store
from aqr_exp.store.submissions import Submission, submissions_dir, write_submission

SINCE_VARIABLE = "AQR_EXP_SINCE"
"""Holds the last request to stop that a submitted sweep had: a later one is meant for its workers."""

_FOLDERS = ("AQR_EXP_RESULTS", "AQR_EXP_DATA", "AQR_EXP_CACHE")


def slurm_of(configs: Iterable[RunConfig]) -> SlurmConfig | None:
    """How runs are to be submitted; None where one of them is not to be.

    Raises:
        RequestError: They are to be submitted in different ways.
    """
    asked = {one.launcher.slurm if one.launcher.name == "slurm" else None for one in configs}
    if len(asked - {None}) > 1:
        raise RequestError(
            Fault("launcher.slurm", None, "must be the same for all runs of one request")
        )
    return asked.pop() if len(asked) == 1 else None


def refuse_slurm(configs: Iterable[RunConfig], what: str) -> None:
    """Refuse to submit a sweep whose runs follow from earlier ones.

    Args:
        what: The kind of sweep.

    Raises:
        RequestError: Its runs are to be submitted.
    """
    if slurm_of(configs):
        rule = (
            f"{what} finds its runs while it works: start it within a job, without launcher=slurm"
        )
        raise RequestError(Fault("launcher=slurm", None, rule))


def check_slurm() -> None:
    """Refuse to submit where that cannot be done.

    Raises:
        RequestError: Names what is missing.
    """
    missing = [name for name in ("sbatch", "squeue", "srun") if shutil.which(name) is None]
    if missing:
        raise RequestError(f"launcher=slurm needs {', '.join(missing)}: type it on a login node")
    try:
        import submitit  # noqa: F401  asked for here: it is an extra
    except ModuleNotFoundError:
        raise RequestError("launcher=slurm needs submitit: pip install 'aqr-exp[slurm]'") from None


def make_due(folder: RunFolder) -> bool:
    """Let workers start a run again that failed or was stopped; returns whether it is due now."""
    try:
        with folder.launch_lock(), folder.lock():
            state = folder.read_state()
            status = folder.effective_status(ours=True)
            if status in {RunStatus.FAILED, RunStatus.CANCELLED}:
                folder.check_folders()
                folder.forget_attempt()
                folder.write_state(RunStatus.PLANNED, attempt=state.attempt + 1)
            return status not in {RunStatus.COMPLETED, RunStatus.PRUNED}
    except LockHeldError:
        return False


def remove_planned(folder: RunFolder) -> None:
    """Remove a run that was made to be submitted and that nobody has started."""
    with suppress(AqrExpError, OSError), folder.launch_lock(), folder.lock():
        if folder.read_state().status is RunStatus.PLANNED:
            shutil.rmtree(folder.path)


def submit(
    names: Sequence[str],
    runs: Sequence[str],
    configs: Sequence[RunConfig],
    slurm: SlurmConfig,
    store: Store,
    *,
    since: str | None = None,
) -> tuple[Submission, RequestError | None]:
    """Submit workers for runs that are due.

    Args:
        names: What they are given: a sweep, or the runs.
        configs: Those of the runs.
        since: The sweep's last request to stop.

    Returns:
        What was submitted, and why Slurm refuses further jobs; those that it took work on all runs.

    Raises:
        RequestError: Slurm refuses it, or it cannot be submitted here.
    """
    check_slurm()
    code = snapshot(store, configs)
    place = submissions_dir(store.root).absolute()
    for name in ("logs", "jobs"):
        (place / name).mkdir(parents=True, exist_ok=True)
    workers = -(-len(runs) // (slurm.nodes * max(1, slurm.runs_per_job)))
    workers = max(1, min(slurm.max_jobs, workers))
    most = max(2, int(setting("MaxArraySize") or 1001)) - 1
    counts = [min(most, workers - first) for first in range(0, workers, most)]
    script = _script(code, names, slurm, store, since)
    jobs: list[str] = []
    refused = None
    try:
        for count in counts:
            jobs += [_submit_array(place, script, slurm, names, count)]
    except RequestError as error:
        if not jobs:
            raise
        refused = error
    submission = Submission(
        jobs=tuple(jobs),
        cluster=own_cluster(),
        names=tuple(names),
        runs=tuple(runs),
        code=code.name,
        submitted=utc_now(),
    )
    write_submission(submission, store.root)
    return submission, refused


def _submit_array(
    place: Path, script: str, slurm: SlurmConfig, names: Sequence[str], count: int
) -> str:
    """Submit an array of so many jobs; returns its number."""
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    class Workers(SlurmExecutor):
        """Submitit's executor, of a script that pickles nothing."""

        def start(self) -> str:
            self.parameters["map_count"] = count
            return str(self._submit_command(script).job_id)

    # A percent sign begins a pattern there.
    log = os.fspath(place / "logs").replace("%", "%%") + "/%A_%a.log"
    options: dict[str, Any] = {
        "job_name": cut(f"aqr-exp {names[0]}"),
        "time": slurm.time_min,
        "nodes": slurm.nodes,
        "ntasks_per_node": 1,
        "signal_delay_s": slurm.save_s,
        "array_parallelism": count,
        "setup": list(slurm.setup),
        "stderr_to_stdout": True,
        "use_srun": False,
        "additional_parameters": {
            "requeue": True,
            "output": log,
            "comment": "aqr-exp",
            **slurm.additional,
        },
    }
    for key in ("partition", "account", "qos", "constraint", "gres", "cpus_per_task"):
        if (value := getattr(slurm, key)) is not None:
            options[key] = value
    if slurm.mem_gb is not None:
        options["mem"] = f"{round(1024 * slurm.mem_gb)}M"
    try:
        workers = Workers(folder=place / "jobs")
        workers.update_parameters(**options)
        with redirect_stderr(io.StringIO()):  # what sbatch says there is in the exception, too
            return workers.start()
    except (FailedJobError, FailedSubmissionError, RuntimeError) as error:
        said = [line for line in str(error).splitlines() if "sbatch: error:" in line]
        words = said[0].partition("sbatch: error:")[2] if said else " ".join(str(error).split())
        raise RequestError(
            Fault("launcher=slurm", None, f"sbatch refuses it: {words.strip()}")
        ) from None


def _script(
    code: Path, names: Sequence[str], slurm: SlurmConfig, store: Store, since: str | None
) -> str:
    """What the batch script does: let workers work, and ask for more time where theirs is up."""
    variables = {
        name: str(Path(os.environ[name]).absolute()) for name in _FOLDERS if os.environ.get(name)
    }
    variables |= {"AQR_EXP_RESULTS": str(store.root.absolute()), PATH_VARIABLE: ""}
    variables |= {SINCE_VARIABLE: since or ""}
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    slots = ["--slots", str(slurm.runs_per_job)] if slurm.runs_per_job else []
    work = shlex.join([*python_module("aqr_exp.cli.main"), "work", *names, *slots])
    return f"""\
cd {shlex.quote(str(code))} || exit 2
export {exports} PYTHONPATH={shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}"
trap : TERM
srun --kill-on-bad-exit=0 ${{SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}} {work}
code=$?
if [ $code -eq {OUT_OF_TIME} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {slurm.requeue_limit} ]; then
  echo "the time is up: queued again"
  scontrol requeue "$SLURM_JOB_ID" && exit 0
fi
exit $code
"""


def snapshot(store: Store, configs: Iterable[RunConfig]) -> Path:
    """The package, and the files of ideas and own metrics of some runs, as they are now.

    Returns:
        A folder among the user's own files, named after its content, to import the package from and to
        work in.
    """
    files = dict(_code(configs, store))
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    # Not among the results: whoever may write there is not to say what this user's jobs run.
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    place = Path(home).expanduser().absolute() / "aqr-exp" / "snapshots" / digest.hexdigest()[:12]
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    clear_litter(place.parent)
    draft = draft_of(place)
    try:
        for name, content in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(content)
        with suppress(OSError):  # another has just made the same
            draft.rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if not place.exists():
        raise AqrExpError(f"{place}: the code could not be kept")
    return place


def _code(configs: Iterable[RunConfig], store: Store) -> Iterator[tuple[str, bytes]]:
    """Files of a snapshot by path."""
    top = PACKAGE.parent
    shipped = [top / name for name in ("conf", "sweeps", "templates", "results/reference")]
    for folder in (PACKAGE, *(() if (PACKAGE / "conf").exists() else shipped)):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(top).as_posix(), path.read_bytes()
    variants: Mapping[Any, RunConfig] = {one.variant.name: one for one in configs if one.sources}
    for one in variants.values():
        for name, content in check_sources(one).items():
            yield f"{IDEAS}/{name}", content
    metrics = {name for one in configs for name in one.metrics}
    if metrics:
        from aqr_exp.evaluate.own_metric_files import FOLDER, metric_files

        found = metric_files(store.root)
        for name in sorted(metrics & {*found}):
            yield f"{FOLDER}/{name}.py", Path(found[name]).read_bytes()
