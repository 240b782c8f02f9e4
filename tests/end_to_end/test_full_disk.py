"""A disk that fills while a real training writes to it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from in_a_child import fill, on_a_disk
from run_bits import assert_same_bits, everything
from workplace import LASTS, SMOKE, Workplace


@pytest.mark.slow
def test_a_training_on_a_disk_that_fills_fails_and_ends_later_with_the_same_bits(
    trained, data, tmp_path
):
    reference = trained("baseline", *LASTS)
    disk = tmp_path / "disk"
    disk.mkdir()

    def full() -> tuple[int, str, dict, list[str]]:
        place = Workplace(disk, data)
        typed = ["run", "baseline", *SMOKE, *LASTS]
        command = subprocess.Popen(
            [sys.executable, "-m", "aqr_exp.cli.main", *typed],
            env=place.environment,
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        saved: list[Path] = []
        while not saved and command.poll() is None:
            saved = [path for run in place.runs() for path in run.glob("checkpoints/epoch_1.pth")]
            time.sleep(0.01)
        filler = fill(disk)
        _, err = command.communicate()
        run = place.only_run()
        state = json.loads((run / "state.json").read_text())
        names = [path.name for path in run.rglob("*") if path.name.endswith(".tmp")]
        assert saved[0].exists()
        filler.unlink()
        place.aqr_exp("retry", "--failed")
        assert_same_bits(everything(run), everything(reference))
        return command.returncode, err, state, names

    code, err, state, names = on_a_disk(disk, "400m", full)
    assert code == 1
    assert state["status"] == "failed"
    assert state["reason"].endswith("no space left on device (free some space, then type it again)")
    assert err.splitlines()[-1].endswith(f" failed: {state['reason']}")
    assert names == []
