from pathlib import Path
from typing import Any

import pytest
from made_up_runs import run_row
from tables_as_lines import lines

from aqr_exp.errors import RequestError
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.cells import Table
from aqr_exp.report.tables.request import TableRequest
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry


def point(index: int, value: float, seed: int = 0, **changes: Any) -> RunRow:
    bias = {"variant": "attention_bias", "fingerprint": str(index) * 12}
    return run_row(seed, value, **bias, overrides=[f"bias_scale={index}"], **changes)


def planned(store: Store, names: list[str]) -> None:
    entries = [
        SweepEntry(name=name, variant="attention_bias", overrides=(), seed=0) for name in names
    ]
    store.sweep("it's a; sweep").write_plan(entries)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def sweep_table(store: Store, rows: list[RunRow], **request: Any) -> Table:
    return build_table(store, rows, TableRequest(sweep="it's a; sweep", **request)).table


def test_the_best_point_of_a_sweep_is_marked_and_the_baseline_never(store: Store) -> None:
    rows = [run_row(0, 0.9), point(1, 0.3), point(2, 0.4), point(3, 0.2)]
    planned(store, [row.name for row in rows])
    table = sweep_table(store, rows)
    assert [line["selection"] for line in lines(table)] == ["", "", "selected on val", ""]
    (note,) = [note for note in table.notes if note.startswith("selected on val")]
    assert note == (
        "selected on val: attention_bias 222222222222 is the best of 3 points by mAP on the data it is "
        "scored on, so its lead is too large; `aqr-exp confirm` measures it on fresh seeds"
    )


def test_of_an_error_the_smallest_is_the_best(store: Store) -> None:
    rows = [point(1, 0.3, mATE=0.5), point(2, 0.4, mATE=0.6)]
    planned(store, [row.name for row in rows])
    shown = lines(sweep_table(store, rows, metrics=["mATE"]))
    assert [line["selection"] for line in shown] == ["selected on val", ""]


def test_points_are_picked_by_the_metric_that_the_sweep_declared(store: Store) -> None:
    rows = [point(1, 0.4, NDS=0.2), point(2, 0.3, NDS=0.3)]
    entries = [
        SweepEntry(name=row.name, variant="attention_bias", overrides=(), seed=0) for row in rows
    ]
    store.sweep("it's a; sweep").write_plan(entries, None, "NDS")
    table = sweep_table(store, rows)
    assert [line["selection"] for line in lines(table)] == ["", "selected on val"]
    assert any("222222222222 is the best of 2 points by NDS" in note for note in table.notes)
    # Where it is not in the table, the first metric that is.
    shown = lines(sweep_table(store, rows, metrics=["mAP"]))
    assert [line["selection"] for line in shown] == ["selected on val", ""]


def test_of_equal_points_the_first_is_marked_as_the_figure_does(store: Store) -> None:
    rows = [run_row(0, 0.4), point(1, 0.2), point(2, 0.4), point(3, 0.4)]
    planned(store, [row.name for row in rows])
    shown = lines(sweep_table(store, rows))
    assert [line["selection"] for line in shown] == ["", "", "selected on val", ""]


def test_a_point_that_lacks_a_seed_is_not_the_best(store: Store) -> None:
    rows = [
        point(1, 0.9),
        point(2, 0.3),
        point(2, 0.4, seed=1),
        point(3, 0.2),
        point(3, 0.3, seed=1),
    ]
    planned(store, [*[row.name for row in rows], point(1, 0.0, seed=1).name])
    shown = lines(sweep_table(store, rows))
    assert [line["selection"] for line in shown] == ["", "selected on val", ""]


def test_one_point_is_no_selection(store: Store) -> None:
    rows = [run_row(0, 0.1), point(1, 0.3)]
    planned(store, [row.name for row in rows])
    table = sweep_table(store, rows)
    assert {line["selection"] for line in lines(table)} == {""}
    assert not any("selected" in note for note in table.notes)


def test_without_a_sweep_nothing_is_called_selected(store: Store) -> None:
    table = build_table(store, [point(1, 0.3), point(2, 0.4)], TableRequest()).table
    assert "selection" not in table.names


def test_a_sweep_shows_its_runs_those_forced_beside_them_and_what_is_missing(store: Store) -> None:
    inside, outside = point(1, 0.3), point(2, 0.4)
    again = point(1, 0.5, name=f"{inside.name}-a2", updated="2026-03-01")
    alike = point(3, 0.5, name=f"{inside.name}-b2")
    planned(store, [inside.name, "never-started-s0"])
    table = sweep_table(store, [inside, outside, again, alike])
    assert [line["mAP"] for line in lines(table)] == ["50.00"]
    assert "not in the table: never-started-s0: missing: not started" in table.notes
    assert not any(outside.name in note or alike.name in note for note in table.notes)


def test_an_unknown_sweep_is_named_with_the_nearest(store: Store) -> None:
    planned(store, [])
    with pytest.raises(RequestError) as caught:
        build_table(store, [], TableRequest(sweep="its a sweep"))
    assert str(caught.value) == (
        "--sweep 'its a sweep': no such sweep was started: did you mean 'it's a; sweep'? "
        "(there: it's a; sweep)"
    )
