"""The launcher's side of measuring costs: what ends the measuring process, and what is written."""

import sys
from pathlib import Path

import pytest

from aqr_exp.launch import measuring
from aqr_exp.launch.measuring import Outcome, measure_together
from aqr_exp.store.cost import read_cost
from aqr_exp.store.run_folder import RunFolder

# Answers as the real module does; ends as a process that is out of memory would at the run `dies`.
PROGRAM = """
import json, os, signal, sys
from pathlib import Path
names = [Path(word).name for word in sys.argv[1:sys.argv.index("--threads")]]
assert sys.argv[sys.argv.index("--passes") + 1:] == ["7", "--samples", "2"]
print(json.dumps({"done": 1, "total": 9}), flush=True)
for name in names:
    if name == "dies":
        print("allocating much", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "unfit":
        print(json.dumps({"name": name, "fault": "no checkpoint"}), flush=True)
        continue
    found = {"parameters": 3, "flops": 4, "latencies_ms": [1.5, 2.5], "memory_mb": None}
    print(json.dumps({"name": name, "device": "cpu", "threads": 1, **found}), flush=True)
"""


@pytest.fixture(autouse=True)
def _program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stub_measure_cost.py").write_text(PROGRAM)
    paths = [str(tmp_path), *(path for path in sys.path if path)]
    monkeypatch.setenv("PYTHONPATH", ":".join(paths))
    monkeypatch.setattr(measuring, "COST_MODULE", "stub_measure_cost")


def measured(tmp_path: Path, *names: str) -> tuple[dict[str, Outcome], list[tuple[int, int]]]:
    folders = [RunFolder(tmp_path / name) for name in names]
    for folder in folders:
        folder.path.mkdir()
    steps: list[tuple[int, int]] = []
    outcomes = measure_together(
        folders, passes=7, samples=2, progress=lambda done, total: steps.append((done, total))
    )
    return {outcome.name: outcome for outcome in outcomes}, steps


def test_runs_of_one_call_share_its_mark_and_the_machine(tmp_path: Path) -> None:
    outcomes, steps = measured(tmp_path, "a", "b")
    read = [read_cost(RunFolder(tmp_path / name)) for name in ("a", "b")]
    assert read == [outcomes["a"].cost, outcomes["b"].cost]
    assert read[0].call == read[1].call
    assert read[0].hardware["threads"] == 1
    assert {"host", "cpus", "device"} <= set(read[0].hardware)
    assert steps == [(1, 9)]
    again, _ = measured(tmp_path, "c")
    assert again["c"].cost.call != read[0].call


def test_faults_are_told_and_the_others_kept(tmp_path: Path) -> None:
    outcomes, _ = measured(tmp_path, "a", "unfit", "dies", "b")
    assert outcomes["unfit"].fault == "no checkpoint"
    assert outcomes["a"].cost is not None
    for name in ("dies", "b"):
        assert "SIGKILL" in outcomes[name].fault
        assert "allocating much" in outcomes[name].fault
    assert not (tmp_path / "unfit" / "cost.json").exists()
