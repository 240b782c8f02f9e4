"""Runs as jobs of a real Slurm: shared, stopped, preempted and queued again, with stubs for trainings."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_up_data import write_identity
from slurm_cluster import PACKAGE, Site, SlurmCluster, running_cluster
from stub_training import read_audit

from aqr_exp.store import slurm
from aqr_exp.store.process_identity import Liveness, ProcessIdentity, liveness_of, process
from aqr_exp.store.slurm import SlurmJob

STUB = Path(__file__).with_name("stub_training.py")


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    with running_cluster() as cluster:
        yield cluster


def events(site: Site, kind: str) -> list[tuple[str, int, ProcessIdentity]]:
    """What the stubs noted of one kind: run, attempt, process."""
    return [
        (name, attempt, who)
        for event, name, attempt, who in read_audit(site.audit)
        if event == kind
    ]


@pytest.fixture
def site(tmp_path: Path, cluster: SlurmCluster) -> Iterator[Site]:
    cluster.recover()
    site = Site(tmp_path, cluster, [sys.executable, str(STUB)])
    write_identity(site.folder / "data" / "synth")
    yield site
    cluster.said("scancel", "--full", "--signal=KILL", "--me")
    cluster.said("scancel", "--me")
    site.until(lambda: not site.queue())


def test_an_array_shares_a_sweep(site: Site) -> None:
    said = site.sweep(8, {"*": {"sleep_s": 1.0}}, "launcher.slurm.max_jobs=4").stderr
    assert "s: 8 runs submitted to Slurm as job " in said
    site.until(lambda: not site.queue())
    assert site.statuses() == ["completed"] * 8
    begun = events(site, "begins")
    assert len(begun) == len({name for name, _, _ in begun}) == 8
    jobs = {str(who.job) for _, _, who in begun}
    number = said.partition("as job ")[2].split()[0]
    assert jobs <= {f"job {number}_{index}" for index in range(4)}
    assert len(jobs) > 1
    # Asked again there is nothing to submit.
    assert "8 runs: 8 done" in site.sweep(8, {}).stderr
    assert not site.queue()


def test_a_time_that_is_up_is_asked_for_again_and_a_cancelled_job_stays_away(site: Site) -> None:
    site.sweep(1, {"*": {"ends": "hangs"}})
    site.until(lambda: site.statuses() == ["running"])
    (job,) = [line.split()[0] for line in site.queue()]
    # What Slurm sends before the time is up.
    site.cluster.said("scancel", "--signal=USR2", job)
    site.until(lambda: len(events(site, "begins")) == 2)
    (folder,) = site.runs()
    assert folder.read_state().attempt == 2
    owner = folder.lease_info().owner
    assert (owner.job.task, owner.job.restarts, owner.job.cluster) == (job, 1, "trial")
    site.cluster.said("scancel", job)
    site.until(lambda: not site.queue())
    assert site.statuses() == ["cancelled"]
    assert len(events(site, "begins")) == 2


def test_submitted_runs_are_seen_and_cancelled(site: Site) -> None:
    site.sweep(6, {"*": {"ends": "hangs"}})
    site.until(lambda: site.statuses().count("running") == 4)
    seen = json.loads(site.aqr_exp("watch", "s", "--json").stdout)
    assert seen["totals"] == {"running": 4, "submitted": 2}
    waiting = [run for run in seen["runs"] if run["status"] == "submitted"]
    assert all("pending (Resources)" in run["reason"] for run in waiting)
    running = [run["reason"] for run in seen["runs"] if run["status"] == "running"]
    assert all(" running on n" in words and words.endswith(" left") for words in running)
    name = waiting[0]["name"]
    assert f"{name} is left out, it is submitted: job " in site.aqr_exp("resume", name).stderr
    assert "nothing to submit" in site.sweep(6, {}).stderr
    assert "submitted" in site.aqr_exp("list").stdout
    assert "status: submitted: job " in site.aqr_exp("show", name).stdout
    said = site.aqr_exp("cancel", "s").stderr
    assert "4 runs running; job " in said
    site.until(lambda: not site.queue())
    assert site.statuses() == [*["cancelled"] * 4, *["planned"] * 2]
    assert "no process works on sweep s" in site.aqr_exp("cancel", "s", code=2).stderr


@pytest.mark.slow
def test_a_preempted_run_goes_on_when_the_others_are_through(site: Site) -> None:
    site.environment["STUB_PLAN"] = json.dumps({"*": {"ends": "hangs"}})
    site.aqr_exp("run", "baseline", "launcher=slurm", "launcher.slurm.time_min=30")
    site.until(lambda: site.statuses() == ["running"])
    urgent = ["sbatch", "--parsable", "-p", "high", "-N2", "--exclusive", "--output=/dev/null"]
    number = site.cluster.said(*urgent, "--wrap", "sleep 60")
    site.until(lambda: f"{number} RUNNING" in site.queue())
    # By its state it is cancelled; its job is to start again.
    assert site.statuses() == ["cancelled"]
    assert "status: submitted: job " in site.aqr_exp("show", "baseline").stdout
    site.cluster.said("scancel", number)
    site.until(lambda: len(events(site, "begins")) == 2)
    assert events(site, "not alone") == []
    # A run that is to start again can be cancelled, too.
    number = site.cluster.said(*urgent, "--wrap", "sleep 60")
    site.until(lambda: f"{number} RUNNING" in site.queue())
    assert "cancelled" in site.aqr_exp("cancel", site.runs()[0].name).stderr
    site.until(lambda: site.queue() == [f"{number} RUNNING"])
    assert site.statuses() == ["cancelled"]


@pytest.mark.slow
def test_a_controller_that_is_killed_harms_no_run(site: Site) -> None:
    site.sweep(2, {"*": {"sleep_s": 3.0}}, "launcher.slurm.max_jobs=1")
    site.until(lambda: "running" in site.statuses())
    site.cluster.kill("slurmctld")
    try:
        # Nobody answers: what is known of the runs is what their folders say.
        seen = json.loads(site.aqr_exp("watch", "s", "--json").stdout)
        assert set(seen["totals"]) <= {"running", "to do", "completed"}
        site.until(lambda: site.statuses() == ["completed"] * 2)
    finally:
        site.cluster.start_controller()
        site.until(lambda: bool(site.cluster.said("sinfo", "-h")))
    # It may have forgotten that the job began: whatever it starts again finds nothing to do.
    assert len(events(site, "begins")) == 2


@pytest.mark.slow
def test_jobs_run_the_code_that_was_submitted(site: Site, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for name in ("aqr_exp", "conf", "sweeps", "templates"):
        shutil.copytree(PACKAGE.parent / name, checkout / name)
    site.environment["PYTHONPATH"] = str(checkout)
    blocked = site.cluster.said(
        *("sbatch", "--parsable", "-N2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 300")
    )
    site.until(lambda: f"{blocked} RUNNING" in site.queue())
    site.sweep(1, {})
    (checkout / "aqr_exp" / "store" / "run_folder.py").write_text("raise RuntimeError\n")
    site.cluster.said("scancel", blocked)
    site.until(lambda: site.statuses() == ["completed"])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ((), "launcher.slurm.time_min=None: must be a whole number from 1 to 43200"),
        (
            ("launcher.slurm.time_min=5",),
            "launcher.slurm.save_s=180: must be at most half of launcher.slurm.time_min=5, 150",
        ),
        (
            ("launcher.slurm.time_min=30", "launcher.slurm.partition=nope"),
            "launcher=slurm: sbatch refuses it: invalid partition specified: nope",
        ),
        (
            ("launcher.slurm.time_min=30", "launcher.slurm.partitoin=main"),
            "unknown key 'launcher.slurm.partitoin': did you mean 'launcher.slurm.partition'?",
        ),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(
    typed: tuple[str, ...], said: str, site: Site
) -> None:
    done = site.aqr_exp("run", "baseline", "launcher=slurm", *typed, code=2)
    assert done.stderr == f"aqr-exp: {said}\n"
    assert not site.queue()
    assert site.runs() == []


def elsewhere(job: SlurmJob | None) -> ProcessIdentity:
    """A process of another machine."""
    return ProcessIdentity(host="far", machine="other", pid=7, job=job)


def test_a_silent_process_is_dead_when_its_job_is_over(
    cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster.environment[name])
    # A user's own filters hide no job from the judge.
    monkeypatch.setenv("SQUEUE_STATES", "FAILED")
    monkeypatch.setattr(slurm, "ASK_EVERY_S", 0.0)
    submitted = ("sbatch", "--parsable", "--output=/dev/null", "--wrap", "sleep 300")
    running = cluster.said(*submitted)
    while slurm.queued([running])[0].state != "RUNNING":
        time.sleep(0.1)
    held = cluster.said(submitted[0], "--hold", *submitted[1:])

    def judged(age_s: float, number: str, **more: object) -> Liveness:
        facts = {"id": number, "cluster": "trial", "user": os.geteuid(), **more}
        return liveness_of(elsewhere(SlurmJob(**facts)), age_s)

    alive, dead, unknown = Liveness.ALIVE, Liveness.DEAD, Liveness.UNKNOWN
    assert liveness_of(elsewhere(None), 500.0) is unknown
    assert judged(500.0, running) is unknown
    assert judged(500.0, held) is dead
    assert judged(30.0, held) is dead
    assert judged(10.0, held) is alive
    assert judged(500.0, "999999") is dead
    # Of another cluster's job, and of another user's that is not shown, nothing is known.
    assert judged(500.0, "999999", cluster="other") is unknown
    assert judged(500.0, held, cluster="other") is unknown
    assert judged(500.0, "999999", cluster=None) is unknown
    assert judged(500.0, "999999", user=os.geteuid() + 1) is unknown
    cluster.said("scontrol", "requeue", running)
    assert judged(500.0, running) is dead
    # Who is its next start knows without asking.
    monkeypatch.setenv("PATH", "/nowhere")
    facts = {"SLURM_JOB_ID": running, "SLURMD_NODENAME": "n1", "SLURM_CLUSTER_NAME": "trial"}
    for name, value in {**facts, "SLURM_RESTART_COUNT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert judged(500.0, running) is dead
    assert judged(500.0, running, restarts=1) is unknown
    # A controller that does not answer says of no job that it is over.
    assert judged(500.0, held) is unknown
    assert str(process()) == f"process {os.getpid()} on {process().host} (job {running})"
    monkeypatch.setenv("PATH", cluster.environment["PATH"])
    cluster.said("scancel", running, held)


@pytest.mark.slow
def test_a_lost_node_s_run_goes_on_elsewhere(site: Site) -> None:
    if not site.cluster.apart:
        pytest.skip("only root can give the virtual nodes names of their own")
    site.sweep(1, {"*": {"ends": "hangs"}})
    site.until(lambda: site.statuses() == ["running"])
    node = events(site, "begins")[0][2].host
    site.cluster.lose_node(node)
    began = time.monotonic()
    try:
        site.until(lambda: len(events(site, "begins")) == 2)
        assert time.monotonic() - began < 90
        assert events(site, "begins")[1][2].host != node
        assert events(site, "not alone") == []
    finally:
        site.cluster.start_node(node)
