"""The launcher's side of the first steps: what ends their process, and what stands in for them."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.launch import measuring
from aqr_exp.launch.measuring import FirstSteps, can_be_tried, try_first_steps
from aqr_exp.launch.slots import Slot

# Reads each run's real specification, and ends as a process that is out of memory would.
PROGRAM = """
import json, os, signal, sys
from pathlib import Path
import yaml
for folder in sys.argv[3:]:
    spec = yaml.safe_load((Path(folder) / "spec.yaml").read_text())
    with open(os.environ["STUB_AUDIT"], "a") as audit:
        devices = os.environ.get("CUDA_VISIBLE_DEVICES")
        threads = sys.argv[2], os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"]
        audit.write(json.dumps([os.getpid(), threads, spec["seed"], devices]) + "\\n")
    if spec["seed"] == 1:
        print("allocating much", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if spec["seed"] == 2:
        sys.exit("no such thing")
    print(json.dumps({"name": "x", "step_s": 0.5, "memory_mb": 9, "loss": spec["seed"]}), flush=True)
"""


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of the real module, and what it did."""
    (tmp_path / "stub_first_steps.py").write_text(PROGRAM)
    (tmp_path / "temporary").mkdir()
    paths = [str(tmp_path), *(path for path in sys.path if path)]
    monkeypatch.setenv("PYTHONPATH", ":".join(paths))
    monkeypatch.setenv("STUB_AUDIT", str(tmp_path / "audit"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(measuring, "FIRST_STEPS_MODULE", "stub_first_steps")
    return tmp_path / "audit"


def tried(configs: Mapping[str, RunConfig]) -> list[FirstSteps]:
    slot = Slot(name="gpu-3", threads=5, environment={"CUDA_VISIBLE_DEVICES": "3"})
    return list(try_first_steps(configs, slot))


def seeded(*seeds: int, device: str = "auto") -> dict[str, RunConfig]:
    return {
        f"run {seed}": load_run("baseline", [f"seed={seed}", f"launcher.device={device}"])
        for seed in seeds
    }


def test_one_process_tries_all_and_leaves_nothing(audit: Path, tmp_path: Path) -> None:
    found = tried(seeded(3, 4, 5))
    assert found == [
        FirstSteps(name=f"run {seed}", step_s=0.5, memory_mb=9, loss=seed) for seed in (3, 4, 5)
    ]
    did = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(threads, seed, gpu) for _, threads, seed, gpu in did] == [
        (["1", "1", "1"], 3, "3"),
        (["1", "1", "1"], 4, "3"),
        (["1", "1", "1"], 5, "3"),
    ]
    assert len({process for process, *_ in did}) == 1
    assert not list((tmp_path / "temporary").iterdir())


def test_what_ends_the_process_is_the_fault_of_one_and_the_others_are_tried(audit: Path) -> None:
    found = tried(seeded(0, 1, 2, 3))
    assert [steps.name for steps in found] == ["run 0", "run 1", "run 2", "run 3"]
    assert [steps.fault for steps in found] == [
        None,
        (
            "the training process was killed by SIGKILL (out of memory?); "
            "its last line: allocating much"
        ),
        "the training process ended with exit code 1 and no result; its last line: no such thing",
        None,
    ]
    assert len(audit.read_text().splitlines()) == 4


def test_what_trains_without_a_gpu_is_tried_without_one(audit: Path) -> None:
    found = tried(seeded(3) | seeded(4, device="cpu"))
    assert [steps.name for steps in found] == ["run 3", "run 4"]
    did = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(seed, gpu) for _, _, seed, gpu in did] == [(3, "3"), (4, "")]


def test_threads_are_those_that_the_training_would_have(audit: Path) -> None:
    configs = {
        f"run {seed}": load_run("baseline", [f"seed={seed}", f"launcher.threads={threads}"])
        for seed, threads in ((3, 0), (4, 2), (5, 0))
    }
    assert {steps.name for steps in tried(configs)} == set(configs)
    did = [json.loads(line) for line in audit.read_text().splitlines()]
    # 0 takes those of the slot, which has five.
    assert sorted((seed, threads) for _, threads, seed, _ in did) == [
        (3, ["5", "5", "1"]),
        (4, ["2", "2", "1"]),
        (5, ["5", "5", "1"]),
    ]


def test_a_wait_that_is_given_up_ends_the_process(audit: Path, tmp_path: Path) -> None:
    steps = try_first_steps(seeded(3, 4), Slot(name="cpu-0", threads=1))
    assert next(steps).name == "run 3"
    steps.close()
    assert not list((tmp_path / "temporary").iterdir())


def test_what_stands_in_for_the_training_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AQR_EXP_TRAIN_COMMAND", raising=False)
    assert can_be_tried()
    monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", '["true"]')
    assert not can_be_tried()


GPU = Slot(name="gpu-3", threads=5, environment={"CUDA_VISIBLE_DEVICES": "3"})


@pytest.mark.parametrize(
    ("load_s", "workers", "share", "enough"),
    [
        (4.0, 1, 88, "8 workers would do, not 1 (launcher.loader_workers)"),
        (4.0, 4, 50, "8 workers would do, not 4 (launcher.loader_workers)"),
        (4.1, 7, 15, "9 workers would do, not 7 (launcher.loader_workers)"),
        (4.0, 7, 12, "8 workers would do, not 7 (launcher.loader_workers)"),
        (0.1, 0, 17, "1 worker would do, not 0 (launcher.loader_workers)"),
        (99.0, 64, 68, "not even 64 workers would do"),
        (4.0, 8, None, ""),
        (0.54, 1, None, ""),  # 7 % of the time
        (0.05, 0, None, ""),
        (None, 1, None, ""),
        (0.0, 1, None, ""),
    ],
)
def test_what_a_training_would_wait_for_its_samples(
    load_s: float | None, workers: int, share: int | None, enough: str
) -> None:
    steps = FirstSteps(name="x", step_s=0.5, load_s=load_s, workers=workers)
    words = f"the GPU would wait {share} % of the time for samples: {enough}"
    assert steps.waiting(GPU) == (words if share else None)
    assert FirstSteps(name="x", load_s=load_s, workers=workers, fault="no").waiting(GPU) is None


def test_without_a_gpu_the_processor_waits() -> None:
    steps = FirstSteps(name="x", step_s=0.5, load_s=4.0, workers=1)
    words = steps.waiting(Slot(name="cpu-0", threads=1, environment={"CUDA_VISIBLE_DEVICES": ""}))
    assert str(words).startswith("the processor would wait 88 % of the time")
