"""`--by cost`: cells, what is compared, and what is said to be missing."""

from pathlib import Path

import pytest
from made_up_runs import run_row
from msgspec.structs import replace
from tables_as_lines import lines

from aqr_exp.errors import RequestError
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.cells import Table
from aqr_exp.report.tables.request import By, TableRequest
from aqr_exp.store.collect import RunRow
from aqr_exp.store.cost import Cost
from aqr_exp.store.store import Store

BASE = run_row(0, 0.2)
OTHER = run_row(0, 0.3, variant="attention_bias", fingerprint="ba9876543210")
COST = Cost(
    call="first",
    measured="2026-01-02T00:00:00+00:00",
    hardware={"processor": "AMD EPYC", "device": "cpu", "threads": 1},
    parameters=1_667_634,
    flops=3_024_929_104,
    latencies_ms=(10.0, 20.0, 30.0, 40.0, 50.0),
    memory_mb=21.54,
    about={"torch": "2.13.0", "flops_not_counted": []},
)
SLOWER = replace(COST, latencies_ms=(20.0, 33.0, 36.0, 39.0, 100.0), flops=3_224_270_816)
LATER = replace(COST, call="second", measured="2026-02-02T00:00:00+00:00", latencies_ms=(5.0, 7.0))


def table_of_costs(tmp_path: Path, costs: dict[str, Cost], *rows: RunRow, **request) -> Table:
    store = Store(tmp_path)
    for name, cost in costs.items():
        folder = store.folder(name)
        folder.path.mkdir(parents=True)
        folder.write_json(folder.cost_path, cost.as_json())
    asked = TableRequest(by=By.COST, **request)
    return build_table(store, rows or (BASE, OTHER), asked).table


def test_cells_and_the_ratio_of_runs_measured_together(tmp_path: Path) -> None:
    table = table_of_costs(tmp_path, {BASE.name: COST, OTHER.name: SLOWER})
    first, second = lines(table)
    shown = ("params (M)", "GFLOPs", "latency (ms)", "p95 (ms)", "latency / baseline", "n")
    assert [first[name] for name in shown] == ["1.668", "3.025", "30.0", "48.0", "-", "1"]
    assert [second[name] for name in shown] == ["1.668", "3.224", "36.0", "87.8", "1.20", "1"]
    assert first["memory (MB)"] == "21.5"
    assert table.synthetic
    assert "SYNTHETIC" in table.title
    how = "costs: AMD EPYC, 1 thread, torch 2.13.0: 5 passes of one sample each; memory"
    assert table.notes[0].startswith(how)


def test_other_calls_and_other_threads_are_not_compared(tmp_path: Path) -> None:
    table = table_of_costs(tmp_path / "a", {BASE.name: COST, OTHER.name: LATER})
    assert lines(table)[1]["latency / baseline"] == "-"
    assert any(
        "ba9876543210: no latency relative" in n and "another call" in n for n in table.notes
    )
    two = replace(SLOWER, hardware={**COST.hardware, "threads": 2})
    table = table_of_costs(tmp_path / "b", {BASE.name: COST, OTHER.name: two})
    assert lines(table)[1]["latency / baseline"] == "-"
    assert any("measured with other threads" in note for note in table.notes)


def test_the_call_that_both_share_is_shown_rather_than_a_newer_one(tmp_path: Path) -> None:
    second_seed = replace(OTHER, name=f"{OTHER.name[:-1]}1", record=OTHER.record | {"seed": 1})
    costs = {BASE.name: COST, OTHER.name: SLOWER, second_seed.name: LATER}
    table = table_of_costs(tmp_path, costs, BASE, OTHER, second_seed)
    line = lines(table)[1]
    assert (line["latency (ms)"], line["latency / baseline"], line["n"]) == ("36.0", "1.20", "1")


def test_passes_of_seeds_measured_together_are_pooled(tmp_path: Path) -> None:
    seed = run_row(1, 0.2)
    costs = {BASE.name: COST, seed.name: replace(COST, latencies_ms=(60.0, 70.0))}
    (line,) = lines(table_of_costs(tmp_path, costs, BASE, seed))
    assert (line["latency (ms)"], line["n"]) == ("40.0", "2")


def test_the_unmeasured_and_the_damaged_are_named(tmp_path: Path) -> None:
    unmeasured = run_row(1, 0.2)
    damaged = Store(tmp_path).folder(OTHER.name).cost_path
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    table = table_of_costs(tmp_path, {BASE.name: COST}, BASE, unmeasured, OTHER)
    assert f"not measured (`aqr-exp cost RUN...`): {unmeasured.name}" in table.notes
    assert any(OTHER.name in note and "cost.json is damaged" in note for note in table.notes)
    line = lines(table)[1]
    assert (line["latency (ms)"], line["n"]) == ("-", "0")


def test_lines_can_be_sorted_by_a_cost(tmp_path: Path) -> None:
    table = table_of_costs(tmp_path, {BASE.name: COST, OTHER.name: SLOWER}, sort="-latency (ms)")
    assert [line["variant"] for line in lines(table)] == ["attention_bias", "baseline"]


@pytest.mark.parametrize(
    ("option", "request_"),
    [
        ("--metrics", {"metrics": ["mAP"]}),
        ("--at-epoch", {"at_epoch": "1"}),
        ("--reference", {"references": True}),
        ("--trace", {"trace": True}),
    ],
)
def test_options_that_say_nothing_of_costs_are_refused(
    tmp_path: Path, option: str, request_: dict
) -> None:
    with pytest.raises(RequestError, match=f"{option} and --by cost cannot be used together"):
        table_of_costs(tmp_path, {}, **request_)
