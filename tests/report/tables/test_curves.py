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
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store

BIAS: dict[str, Any] = {"variant": "attention_bias", "fingerprint": "b" * 12}


def with_curve(store: Store, row: RunRow, *points: tuple[int, float]) -> RunRow:
    folder = store.folder(row.name)
    spec = f"variant: {{name: {row.variant}}}\ndata: {{name: synth, val_split: synth_val}}\n"
    folder.create(spec, row.record)
    for epoch, value in points:
        folder.append_history({"kind": "train", "epoch": epoch, "step": epoch, "loss": 1.0})
        folder.append_history({"kind": "val", "epoch": epoch, "mAP": value, "NDS": value / 2})
    return row


def unfinished(seed: int, **changes: Any) -> RunRow:
    row = run_row(seed, None, status=RunStatus.RUNNING, **changes)
    return RunRow(name=row.name, status=RunStatus.RUNNING, updated=row.updated, record=row.record)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def table_at(store: Store, rows: list[RunRow], epoch: str, **request: Any) -> Table:
    return build_table(store, rows, TableRequest(at_epoch=epoch, **request)).table


def test_unfinished_runs_are_compared_after_the_same_epoch(store: Store) -> None:
    rows = [
        with_curve(store, run_row(0, 0.9), (1, 0.1), (2, 0.2), (3, 0.9)),
        with_curve(store, run_row(1, 0.9), (1, 0.1), (2, 0.22), (3, 0.9)),
        with_curve(store, unfinished(0, **BIAS), (1, 0.1), (2, 0.3)),
        with_curve(store, unfinished(1, **BIAS), (1, 0.1), (2, 0.33)),
    ]
    table = table_at(store, rows, "last-common")
    assert table.title.startswith("After epoch 2 (curve, not the metric of record): ")
    assert "SYNTHETIC" in table.title
    baseline, bias = lines(table)
    assert (baseline["mAP"], bias["mAP"], bias["NDS"]) == ("21.00", "31.50", "15.75")
    assert bias["mAP difference"] == "+10.50"
    assert "time / baseline" not in table.names
    # What the finished run's records say is of another epoch.
    assert any("b" * 12 in note and "no match records" in note for note in table.notes)
    assert [line["mAP"] for line in lines(table_at(store, rows, "1"))] == ["10.00", "10.00"]


def test_a_run_that_was_not_evaluated_then_is_named(store: Store) -> None:
    rows = [
        with_curve(store, run_row(0, 0.9), (2, 0.2), (4, 0.4)),
        with_curve(store, run_row(1, 0.9)),
        with_curve(store, unfinished(2), (2, 0.2)),
    ]
    table = table_at(store, rows, "4")
    assert [line["n"] for line in lines(table)] == ["1"]
    name = "baseline-0123456789ab"
    left_out = [note for note in table.notes if note.startswith("not in the table")]
    never = "not evaluated during training (schedule.validate_every_epochs)"
    assert left_out == [
        f"not in the table: {name}-s1: left out: {never}",
        f"not in the table: {name}-s2: running: not evaluated after epoch 4",
    ]


def test_of_an_epoch_that_was_repeated_after_a_resume_the_last_counts(store: Store) -> None:
    row = with_curve(store, run_row(0, 0.9), (1, 0.1), (1, 0.15))
    assert lines(table_at(store, [row], "1"))[0]["mAP"] == "15.00"


def test_metrics_that_the_curve_does_not_hold_are_not_taken_from_the_finished_run(
    store: Store,
) -> None:
    row = with_curve(store, run_row(0, 0.9, mATE=0.5), (1, 0.1))
    assert lines(table_at(store, [row], "1", metrics=["mATE"]))[0]["mATE"] == "-"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("7", "no run was evaluated after epoch 7 (there: 1, 2, 3)"),
        ("last-common", "there is no epoch that all runs were evaluated after (there: 1, 2, 3)"),
        ("0", "--at-epoch '0': write an epoch, 1 or more, or last-common"),
        ("last", "--at-epoch 'last': write an epoch, 1 or more, or last-common"),
        ("-1", "--at-epoch '-1': write an epoch, 1 or more, or last-common"),
    ],
)
def test_an_epoch_nobody_has_is_refused(store: Store, asked: str, words: str) -> None:
    rows = [
        with_curve(store, run_row(0, 0.9), (1, 0.1), (2, 0.2)),
        with_curve(store, run_row(1, 0.9), (3, 0.2)),
    ]
    with pytest.raises(RequestError) as caught:
        table_at(store, rows, asked)
    assert str(caught.value) == words


def test_a_damaged_history_leaves_its_run_out_by_name(store: Store) -> None:
    rows = [with_curve(store, run_row(seed, 0.9), (1, 0.1 * seed)) for seed in (1, 2)]
    store.folder(rows[0].name).history_path.write_text('{"kind": }\n{"kind": "val"}\n')
    table = table_at(store, rows, "1")
    assert lines(table)[0]["mAP"] == "20.00"
    assert any(f"{rows[0].name}: damaged: " in note for note in table.notes)
