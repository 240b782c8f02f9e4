"""From nothing to a table, as a user would: data, training, evaluation, table, each a real process."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from workplace import SMOKE, Workplace

from aqr_exp.evaluate.records import WHOLE, read_records
from aqr_exp.evaluate.scorer import Scorer


@pytest.fixture(scope="module")
def first(place_with) -> Workplace:
    """A completed smoke run."""
    return place_with("baseline")


def _scalars(run: Path) -> list[dict]:
    """The history without what a clock wrote, and the checksums over that."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    kept = [line for line in lines if line["kind"] == "train"]
    assert len(kept) >= 3
    return [
        {k: v for k, v in line.items() if not k.endswith("_time_s") and k != "crc32"}
        for line in kept
    ]


def _numbers(run: Path) -> dict:
    metrics = json.loads((run / "metrics.json").read_text())
    clocks = {"train_time_s", "evaluate_time_s", "peak_memory_mb", "files", "checksum"}
    return {name: value for name, value in metrics.items() if name not in clocks}


def _weights(run: Path) -> dict[str, torch.Tensor]:
    newest = max((run / "checkpoints").glob("*.pth"), key=lambda path: int(path.stem[6:]))
    return torch.load(newest, weights_only=True)["model"]


def test_a_run_leaves_everything_its_folder_promises(first):
    run = first.only_run()
    metrics = _numbers(run)
    assert metrics["samples"] == 3
    assert metrics["synthetic"] is True
    assert metrics["split"] == "synth_val"
    assert 0.0 <= metrics["mAP"] <= 1.0
    assert 0.0 <= metrics["NDS"] <= 1.0
    assert sum(name.startswith("AP/") for name in metrics) == 10
    assert json.loads((run / "state.json").read_text())["status"] == "completed"
    results = json.loads((run / "predictions" / "synth_val.json").read_text())["results"]
    assert len(results) == 3
    assert sum(len(boxes) for boxes in results.values()) > 100
    records = read_records(run / "records.npz")
    assert Scorer(records.tables[WHOLE]).scores().metrics()["mAP"] == metrics["mAP"]
    for name, file in (("predictions", "predictions/synth_val.json"), ("records", "records.npz")):
        content = (run / file).read_bytes()
        assert metrics[f"{name}_sha256"] == hashlib.sha256(content).hexdigest()
    loss = [line["loss"] for line in _scalars(run)]
    assert all(0.0 < value < 1000.0 for value in loss)


def test_the_table_shows_it_and_says_that_it_is_synthetic(first):
    shown = first.aqr_exp("table", "--format", "md").stdout
    metrics = _numbers(first.only_run())
    for name in ("mAP", "NDS"):
        assert f"{100 * metrics[name]:.2f} (one seed: no interval)" in shown
    assert "synthetic" in shown


def test_asking_again_shows_the_run_and_starts_nothing(first):
    before = {path: path.stat().st_mtime_ns for path in first.only_run().rglob("*")}
    again = first.aqr_exp("run", "baseline", *SMOKE)
    assert "complete" in again.stdout + again.stderr
    assert f"{_numbers(first.only_run())['mAP']:.4f}" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in first.only_run().rglob("*")} == before


def test_the_same_seed_gives_the_same_bits_and_workers_do_not_matter(first, data, tmp_path):
    again = Workplace(tmp_path / "again", data).run("launcher.loader_workers=0")
    run = first.only_run()
    assert again.name == run.name
    assert _scalars(again) == _scalars(run)
    assert _numbers(again) == _numbers(run)
    ours, theirs = _weights(again), _weights(run)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_another_seed_gives_other_numbers_under_the_same_fingerprint(first, data, tmp_path):
    other = Workplace(tmp_path / "other", data).run("seed=1")
    run = first.only_run()
    assert other.name == run.name.removesuffix("s0") + "s1"
    assert [line["loss"] for line in _scalars(other)] != [line["loss"] for line in _scalars(run)]
    assert not torch.equal(
        _weights(other)["pts_bbox_head.reference_points.weight"],
        _weights(run)["pts_bbox_head.reference_points.weight"],
    )


def test_the_cost_of_detecting_is_measured_and_tabulated(first):
    name = first.only_run().name
    command = ["cost", "baseline", "--passes", "2", "--samples", "2", "--json"]
    (found,) = json.loads(first.aqr_exp(*command).stdout)
    held = json.loads((first.only_run() / "cost.json").read_text())
    assert found == {"run": name, "fault": None, "cost": {k: held[k] for k in found["cost"]}}
    assert held["parameters"] == _numbers(first.only_run())["parameters"]
    assert (held["samples"], len(held["latencies_ms"])) == (2, 2)
    assert held["hardware"]["device"] == "cpu"
    assert held["hardware"]["threads"] == 1
    assert held["flops"] > 100 * held["parameters"]
    (line,) = json.loads(first.aqr_exp("table", "--by", "cost", "--format", "json").stdout)["rows"]
    assert line["GFLOPs"] == round(held["flops"] / 1e9, 3)
    assert line["n"] == 1


def test_a_cost_that_cannot_be_measured_is_refused(first):
    refused = first.aqr_exp("cost", "baseline", "--passes", "0", code=2)
    assert refused.stderr == (
        "aqr-exp: Invalid value for '--passes': 0 is not in the range 1<=x<=100000.\n"
    )
    refused = first.aqr_exp("table", "--by", "cost", "--verify", code=2)
    assert "--verify and --by cost" in refused.stderr
