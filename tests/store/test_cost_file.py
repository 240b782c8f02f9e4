"""`cost.json`: what is in it, and how damage is named."""

import json
from pathlib import Path

import pytest

from aqr_exp.errors import AqrExpError
from aqr_exp.store.cost import Cost, median_and_p95, read_cost
from aqr_exp.store.run_folder import RunFolder

COST = Cost(
    call="c0ffee",
    measured="2026-01-02T03:04:05+00:00",
    hardware={"host": "one", "processor": "AMD EPYC", "device": "cpu", "threads": 2},
    parameters=1_667_634,
    flops=3_024_929_104,
    latencies_ms=tuple(float(value) for value in range(1, 22)),
    memory_mb=21.5,
    about={"samples": 5, "checkpoint": {"epoch": 4, "step": 960}, "flops_not_counted": []},
)


def test_median_and_p95_of_known_times() -> None:
    # 1 .. 21: the 95th percentile lies 95 % of the way from the first to the last.
    assert median_and_p95(COST.latencies_ms) == (11.0, 20.0)
    assert median_and_p95([3.0, 1.0, 2.0, 4.0]) == (2.5, pytest.approx(3.85))
    assert median_and_p95([7.0]) == (7.0, 7.0)


def test_the_file_holds_what_was_measured_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    assert read_cost(RunFolder(tmp_path)) is None
    RunFolder(tmp_path).write_json(path, COST.as_json())
    assert read_cost(RunFolder(tmp_path)) == COST
    held = json.loads(path.read_text())
    assert held["latency_ms"] == {"median": 11.0, "p95": 20.0}
    assert held["hardware"]["threads"] == 2
    assert held["checkpoint"] == {"epoch": 4, "step": 960}
    assert held["checksum"].startswith("sha256:")


def test_a_changed_digit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    RunFolder(tmp_path).write_json(path, COST.as_json())
    path.write_text(path.read_text().replace("1667634", "1667635"))
    with pytest.raises(AqrExpError, match=r"cost\.json is damaged: its content does not fit"):
        read_cost(RunFolder(tmp_path))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"flops": -1}, "flops: Expected `int` >= 0"),
        ({"flops": True}, "flops: Expected `int`, got `bool`"),
        ({"parameters": "many"}, "parameters: Expected `int`, got `str`"),
        ({"latencies_ms": []}, "latencies_ms: Expected `array` of length >= 1"),
        ({"latencies_ms": [1.0, None]}, r"latencies_ms\[1\]: Expected `float`, got `null`"),
        ({"latencies_ms": 3}, "latencies_ms: Expected `array`, got `int`"),
        ({"memory_mb": -2.0}, "memory_mb: Expected `float` >= 0.0"),
        ({"hardware": None}, "hardware: Expected `object`, got `null`"),
        ({"call": 7}, "call: Expected `str`, got `int`"),
    ],
)
def test_impossible_content_is_damage(tmp_path: Path, change: dict, fault: str) -> None:
    path = tmp_path / "cost.json"
    RunFolder(tmp_path).write_json(path, COST.as_json() | change)
    with pytest.raises(AqrExpError, match=rf"cost\.json is damaged: .*{fault}"):
        read_cost(RunFolder(tmp_path))


@pytest.mark.parametrize("name", ["call", "measured", "hardware", "flops", "latencies_ms"])
def test_missing_content_is_damage(tmp_path: Path, name: str) -> None:
    path = tmp_path / "cost.json"
    value = COST.as_json()
    del value[name]
    RunFolder(tmp_path).write_json(path, value)
    with pytest.raises(AqrExpError, match=f"damaged: Object missing required field `{name}`"):
        read_cost(RunFolder(tmp_path))
