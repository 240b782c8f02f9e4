"""A real training under a time limit of Slurm that is too short for it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_bits import assert_same_bits, everything
from slurm_cluster import Site, running_cluster
from workplace import SMOKE

TYPED = ("run", "baseline", *SMOKE, "schedule.epochs=9")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running_cluster() as cluster:
        yield Site(tmp_path, cluster, None)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_time_limit_changes_no_bit(site: Site) -> None:
    site.within_s = 3000.0
    sizes = ("--train-scenes", "6", "--val-scenes", "1", "--keyframes", "4")
    site.aqr_exp("data", "synth", *sizes)
    limit = [
        f"launcher.slurm.{words}" for words in ("time_min=1", "save_s=20", "requeue_limit=500")
    ]
    site.aqr_exp(*TYPED, "launcher=slurm", *limit)
    site.until(lambda: site.statuses() == ["completed"] and not site.queue())
    (run,) = site.runs()
    assert run.read_state().attempt > 1
    attempts = {json.loads(line)["attempt"] for line in run.history_path.read_text().splitlines()}
    assert len(attempts) > 1
    site.environment["AQR_EXP_RESULTS"] = os.fspath(site.folder / "unbroken")
    site.aqr_exp(*TYPED)
    assert_same_bits(everything(run.path), everything(site.folder / "unbroken/runs" / run.name))
