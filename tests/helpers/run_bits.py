"""Results of a run, to be compared bit by bit, and a run put back to its beginning."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

# What a clock wrote, and what it reaches: the history's times, and checksums over them.
CLOCKS = {"train_time_s", "evaluate_time_s", "peak_memory_mb", "files", "checksum"}
NOT_COMPARED = {"crc32", "attempt"}


def everything(run: Path) -> dict:
    """What a run ended with, without what a clock wrote; of repeated steps the last counts."""
    metrics = json.loads((run / "metrics.json").read_text())
    newest = max((run / "checkpoints").glob("epoch_?.pth"))
    return {
        "metrics": {name: value for name, value in metrics.items() if name not in CLOCKS},
        "curve": curve(run),
        "files": [run / "records.npz", *sorted((run / "predictions").iterdir())],
        "last checkpoint": torch.load(newest, weights_only=True),
    }


def curve(run: Path) -> dict:
    """The history's scalars by kind, epoch and step."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    found = {
        (line["kind"], line["epoch"], line.get("step")): {
            name: value
            for name, value in line.items()
            if not name.endswith("_time_s") and name not in NOT_COMPARED
        }
        for line in lines
        if line["kind"] in {"train", "arm", "val"}
    }
    assert len(found) >= 3
    return found


def assert_same_bits(ours: dict, theirs: dict) -> None:
    """Compare two runs' everything."""
    assert ours["metrics"] == theirs["metrics"]
    assert ours["curve"] == theirs["curve"]
    for one, other in zip(ours["files"], theirs["files"], strict=True):
        assert one.read_bytes() == other.read_bytes(), one
    mine, other = _flat(ours["last checkpoint"]), _flat(theirs["last checkpoint"])
    assert mine.keys() == other.keys()
    for name, value in mine.items():
        same = torch.equal(value, other[name]) if torch.is_tensor(value) else value == other[name]
        assert same, name


def _flat(state: Any, name: str = "") -> dict[str, Any]:
    """Weights, optimiser's moments, schedulers' counts: every value by its place."""
    items = enumerate(state) if isinstance(state, (list, tuple)) else None
    items = state.items() if isinstance(state, dict) else items
    if items is None:
        return {name: state}
    parts = [_flat(value, f"{name}/{key}") for key, value in items]
    return {key: value for part in parts for key, value in part.items()}


def begun_anew(unbroken: Path, run: Path) -> Path:
    """Make a run as another was before its first step."""
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(unbroken, run)
    for leftover in ("history.jsonl", "metrics.json", "progress.json", "records.npz"):
        (run / leftover).unlink()
    for folder in ("checkpoints", "predictions"):
        shutil.rmtree(run / folder)
        (run / folder).mkdir()
    return run
