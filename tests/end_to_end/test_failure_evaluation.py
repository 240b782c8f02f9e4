"""Runs evaluated under sensor failures: real weights, real files, real processes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from workplace import SMOKE, Workplace

from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.config.identity import from_spec, to_yaml
from aqr_exp.config.inputs import identity_path, with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.data.corruptions.cases import read_cases
from aqr_exp.errors import RequestError, RunFailedError
from aqr_exp.files.reading import read_json
from aqr_exp.launch.measuring import evaluate_corruptions
from aqr_exp.store.lease import hold
from aqr_exp.store.run_files import EvaluationPaths
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train.checkpoint import load_newest, save_atomically
from aqr_exp.train.corruption_eval import evaluate_cases, measure
from aqr_exp.train.runner_config import register_plugins

CASES = read_cases("lidar_drop@empty,beams@4")


@pytest.fixture(scope="module")
def place(data, tmp_path_factory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("it's; failing"), data)


@pytest.fixture(scope="module")
def run(data, place, tmp_path_factory) -> RunFolder:
    """A completed run whose weights are random: what is evaluated need not be good."""
    from mmdet3d.registry import MODELS

    register_plugins()
    config = with_data_identity(
        load_run("baseline", [*SMOKE, f"data.root={str(data / 'synth')!r}"])
    )
    folder = RunFolder(place.folder / "results" / "runs" / "baseline-0123456789ab-s0")
    record = {"variant": "baseline", "fingerprint": "0123456789ab", "seed": 0}
    folder.create(to_yaml(config), record)
    torch.manual_seed(0)
    detector = MODELS.build(detector_config(config)).eval()
    state = {"run": folder.name, "epoch": 1, "step": 3, "model": detector.state_dict()}
    untrained = {"optimizer": {}, "schedulers": []}
    save_atomically({**state, **untrained}, folder.checkpoints_dir / "epoch_1.pth")
    paths = EvaluationPaths(tmp_path_factory.mktemp("clean"))
    clean = measure(detector, config, None, paths)
    facts = {"split": config.data.val_split, "predictions_sha256": "a" * 64, "synthetic": True}
    folder.write_metrics({**clean, **facts, "NDS": 0.5})
    folder.write_state("completed")
    return folder


def _stamps(run: RunFolder) -> dict[str, int]:
    return {
        str(path.relative_to(run.path)): path.stat().st_mtime_ns
        for path in sorted(run.failures_dir.rglob("*.*"))
    }


def test_an_empty_cloud_is_evaluated_and_a_killed_process_leaves_nothing_to_do_twice(run):
    shutil.rmtree(run.failures_dir, ignore_errors=True)  # what another test has evaluated
    told = []
    evaluate_cases(run, CASES, told.append)
    done = {answer["case"]: answer["metrics"] for answer in told if "metrics" in answer}
    assert list(done) == ["lidar_drop@empty", "beams@4"]
    assert 0 <= done["lidar_drop@empty"]["NDS"] <= 1
    assert [
        answer["done"] for answer in told if answer.get("case") == "beams@4" and "done" in answer
    ][-1] == 3
    first = _stamps(run)
    assert "failures/beams@4/records.npz" in first
    told.clear()
    evaluate_cases(run, CASES, told.append)
    assert told == []
    # As if killed before the last write, with half a file beside.
    paths = run.failure_paths("beams@4")
    before = read_json(paths.metrics_path)
    paths.metrics_path.unlink()
    (paths.path / ".metrics.json.1.ab.tmp").write_text("{")
    evaluate_cases(run, CASES, told.append)
    assert {answer["case"] for answer in told} == {"beams@4"}
    assert not list(paths.path.glob(".*"))
    again = read_json(paths.metrics_path)
    assert again["files"] == before["files"]  # the same bits
    kept = {name: at for name, at in _stamps(run).items() if "lidar_drop" in name}
    assert kept == {name: at for name, at in first.items() if "lidar_drop" in name}


def test_the_command_shows_what_is_there_and_the_process_is_one_at_a_time(run, place):
    evaluate_cases(run, CASES, lambda _: None)
    shown = place.aqr_exp("eval", "baseline", "--failures", "beams@4,lidar_drop@empty")
    assert "0 of 2 cases to evaluate" in shown.stderr
    assert "lidar_drop@empty" in shown.stdout
    with hold(run.failures_lease_path), pytest.raises(RunFailedError, match="is worked on by"):
        list(evaluate_corruptions(run, read_cases("dark@1"), threads=1, device="cpu"))
    assert not run.failure_paths("dark@1").path.exists()


def test_wrong_requests_leave_nothing(run, place):
    before = _stamps(run)
    wrong = place.aqr_exp("eval", "baseline", "--failures", "beam@4", code=2)
    assert "unknown failure 'beam': did you mean 'beams'?" in wrong.stderr
    wrong = place.aqr_exp("eval", "basline-0123456789ab-s0", "--failures", "beams", code=2)
    assert "unknown run 'basline-0123456789ab-s0': did you mean" in wrong.stderr
    wrong = place.aqr_exp("table", "--by", "failure", "--verify", code=2)
    assert "--verify and --by failure cannot be used together" in wrong.stderr
    assert _stamps(run) == before


def test_other_weights_than_the_final_ones_are_refused(run):
    final, earlier = (run.checkpoints_dir / f"epoch_{number}.pth" for number in (1, 0))
    content = final.read_bytes()
    state = load_newest(run)
    save_atomically({**state, "epoch": 0}, earlier)
    final.write_bytes(content[:1000])
    try:
        with pytest.raises(RunFailedError, match=r"of epoch 1, which .* intact one is of epoch 0$"):
            evaluate_cases(run, read_cases("dark@1"), lambda _: None)
    finally:
        final.write_bytes(content)
        earlier.unlink()
    assert not run.failure_paths("dark@1").path.exists()


def test_data_that_changed_since_the_run_are_refused(run, place):
    identity = identity_path(Path(from_spec(run.read_spec()).data.root))
    before = identity.read_text()
    changed = "0123456789abcdef"
    identity.write_text(json.dumps({**json.loads(before), "fingerprint": changed}))
    try:
        wrong = place.aqr_exp("eval", "baseline", "--failures", "dark@1", code=2)
        (line,) = [line for line in wrong.stderr.splitlines() if line.startswith("aqr-exp: ")]
        assert line.startswith(f"aqr-exp: {run.name}: data.root=")
        assert f"the data changed: they are {changed}, the run was made for" in line
        with pytest.raises(RequestError, match="the data changed"):
            evaluate_cases(run, read_cases("dark@1"), lambda _: None)
    finally:
        identity.write_text(before)
    assert not run.failure_paths("dark@1").path.exists()
