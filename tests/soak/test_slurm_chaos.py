"""Chaos on a cluster: nodes lost, jobs preempted, processes killed; every run is completed once."""

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign import campaign
from made_up_data import write_identity
from run_bits import assert_same_bits, everything
from slurm_cluster import NODES, Site, SlurmCluster, running_cluster
from workplace import SMOKE

STUB = Path(__file__).parents[1] / "launch" / "stub_training.py"
CAP = 4


@pytest.fixture
def cluster() -> Iterator[SlurmCluster]:
    with running_cluster() as cluster:
        yield cluster


def disturb(site: Site, draw: random.Random) -> str:
    """Do one thing that happens to clusters; returns which."""
    cluster = site.cluster
    what = draw.choice(["node", "cancel", "kill", "controller", "preempt", "time"])
    running = [line.split()[0] for line in site.queue() if line.endswith(" RUNNING")]
    if what == "node":
        node = draw.choice(NODES)
        cluster.lose_node(node)
        cluster.start_node(node)
    elif what in {"cancel", "time"} and running:
        number = {"cancel": "TERM", "time": "USR2"}[what]
        cluster.said("scancel", f"--signal={number}", draw.choice(running))
    elif what == "kill":
        trainings = cluster.processes("AQR_EXP_LAUNCHER=")
        with contextlib.suppress(IndexError, ProcessLookupError):
            os.kill(draw.choice(trainings), signal.SIGKILL)
    elif what == "controller":
        cluster.kill("slurmctld")
        cluster.start_controller()
    elif what == "preempt":
        cluster.said("sbatch", "-p", "high", "--output=/dev/null", "--wrap", "sleep 5")
    return what


def chaos(site: Site, runs: int, typed: tuple[str, ...], draw: random.Random, for_s: float) -> None:
    """Disturb a submitted sweep for a while, then let it come to its end, submitted again if need be."""
    request = ("sweep", "baseline", *typed, f"seed=range({runs})", "--name", "s", "launcher=slurm")
    request += (f"launcher.slurm.max_jobs={CAP}", "launcher.slurm.time_min=30")
    site.aqr_exp(*request)
    done, until, every_s = [], time.monotonic() + for_s, for_s / 15
    while time.monotonic() < until:
        time.sleep(every_s)
        done.append(disturb(site, draw))
        if not site.queue() and site.cluster.said("sinfo", "-h"):
            site.aqr_exp(*request)
    deadline = time.monotonic() + 20 * for_s
    while site.statuses() != ["completed"] * runs:
        assert time.monotonic() < deadline, [done, site.statuses(), site.queue()]
        if not site.queue() and site.cluster.said("sinfo", "-h"):
            site.aqr_exp(*request)
        time.sleep(1.0)


@campaign(5)
def test_chaos_completes_every_stub_once(cluster: SlurmCluster, tmp_path: Path, seed: int) -> None:
    site = Site(tmp_path, cluster, [sys.executable, str(STUB)])
    write_identity(site.folder / "data" / "synth")
    site.environment["STUB_PLAN"] = '{"*": {"sleep_s": 3.0}}'
    site.within_s = 300.0
    chaos(site, 12, (), random.Random(seed), 60.0)  # noqa: S311 - to be repeated, not to be secret
    events = [line.split(",")[:2] for line in site.audit.read_text().splitlines()]
    completed = [name for event, name in events if event == '["completed"']
    assert len(completed) == len(set(completed)) == 12
    assert not [name for event, name in events if event == '["not alone"']


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_chaos_changes_no_bit_of_forty_runs(cluster: SlurmCluster, tmp_path: Path) -> None:
    site = Site(tmp_path, cluster, None)
    site.within_s = 3600.0
    site.aqr_exp("data", "synth", "--train-scenes", "3", "--val-scenes", "1", "--keyframes", "3")
    chaos(site, 40, tuple(SMOKE), random.Random(1), 900.0)  # noqa: S311 - as above
    disturbed = {run.name: everything(run.path) for run in site.runs()}
    site.environment["AQR_EXP_RESULTS"] = os.fspath(site.folder / "quiet")
    site.aqr_exp("sweep", "baseline", *SMOKE, "seed=range(40)", "--no-preflight")
    for name, ours in disturbed.items():
        assert_same_bits(ours, everything(site.folder / "quiet" / "runs" / name))
