import dataclasses
from pathlib import Path

import pytest
from made_up_runs import run_row
from tables_as_lines import lines, table_of

from aqr_exp.errors import RequestError
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.cells import Table
from aqr_exp.report.tables.request import By, TableRequest
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store


def rows() -> list[RunRow]:
    found = [run_row(0, 0.2, mATE=0.5, train_time_s=100.0)]
    for index, (value, error) in enumerate(((0.3, None), (0.1, 0.4)), start=1):
        name = {"variant": "attention_bias", "fingerprint": str(index) * 12}
        found.append(run_row(0, value, mATE=error, **name, overrides=[f"bias_scale={index}"]))
    return found


def order(table: Table) -> list[str]:
    return [line["identity"][0] for line in lines(table)]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("mAP", ["1", "0", "2"]),
        ("-mAP", ["2", "0", "1"]),
        ("mATE", ["2", "0", "1"]),  # of errors the least comes first, and none comes last
        ("-mATE", ["0", "2", "1"]),
        ("mAP difference", ["1", "2", "0"]),
        ("identity", ["0", "1", "2"]),
        ("-changes", ["2", "1", "0"]),
        ("time / baseline", ["0", "1", "2"]),
    ],
)
def test_the_best_comes_first_and_what_has_no_value_last(asked: str, expected: list[str]) -> None:
    assert order(table_of(rows(), ["mAP", "mATE"], sort=asked)) == expected


def test_blocks_stay_where_they_are() -> None:
    table = table_of(rows(), ["mATE", "mAP"], by=By.METRIC, sort="mean")
    assert [(line["metric"], line["identity"][0]) for line in lines(table)] == [
        ("mATE", "2"),
        ("mATE", "0"),
        ("mATE", "1"),
        ("mAP", "1"),
        ("mAP", "0"),
        ("mAP", "2"),
    ]


def test_in_a_block_of_several_metrics_each_has_its_own_order() -> None:
    values = {"mAP@night": 0.1, "mATE@night": 0.5}
    first = run_row(0, 0.2, **values)
    better = {"mAP@night": 0.2, "mATE@night": 0.4}
    second = run_row(0, 0.2, variant="attention_bias", fingerprint="1" * 12, **better)
    table = table_of([first, second], ["mAP", "mATE"], by=By.CONDITION, sort="mean")
    shown = [(line["condition"], line["metric"], line["identity"][0]) for line in lines(table)]
    assert shown[:4] == [
        ("night", "mAP", "1"),
        ("night", "mAP", "0"),
        ("night", "mATE", "1"),
        ("night", "mATE", "0"),
    ]


@pytest.mark.parametrize("by", [By.ARM, By.METRIC, By.CONDITION])
def test_an_unknown_column_is_refused_before_anything_is_computed(tmp_path: Path, by: By) -> None:
    done: list[tuple[int, int]] = []
    request = TableRequest(by=by, metrics=["mAP", "mATE"], sort="mAPP")

    def progress(*counts: int) -> None:
        done.append((counts[0], counts[1]))

    with pytest.raises(RequestError, match="--sort 'mAPP': no such column"):
        build_table(Store(tmp_path), rows(), request, progress=progress)
    assert done == []
    sorted_by = "mAP" if by is By.ARM else "mean"
    known = dataclasses.replace(request, sort=sorted_by)
    build_table(Store(tmp_path), rows(), known, progress=progress)
    assert done[-1] == (3, 3)


def test_an_unknown_column_is_named_with_the_nearest() -> None:
    with pytest.raises(RequestError) as caught:
        table_of(rows(), sort="-map")
    assert str(caught.value).startswith(
        "--sort '-map': no such column: did you mean 'mAP'? (there: variant, changes, identity, "
    )
