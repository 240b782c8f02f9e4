import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import run_row

from aqr_exp.report.tables import comparison_data
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.formats import TableFormat, render
from aqr_exp.report.tables.request import TableRequest
from aqr_exp.store.collect import RunRow
from aqr_exp.store.looks import LOOKS
from aqr_exp.store.store import Store

BIAS = {"variant": "attention_bias", "fingerprint": "b" * 12}


def rows() -> list[RunRow]:
    found = [run_row(seed, 0.1 + seed / 50) for seed in range(3)]
    return [*found, *(run_row(seed, 0.2 + seed / 40, **BIAS) for seed in range(3))]


class Counted:
    """Measures, and counts how often it was asked to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._real = comparison_data.estimate_arms
        monkeypatch.setattr(comparison_data, "estimate_arms", self)

    def __call__(self, *given: Any) -> Any:
        self.count += 1
        return self._real(*given)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def text(store: Store, given: Sequence[RunRow], **request: Any) -> str:
    return render(build_table(store, given, TableRequest(**request)).table, TableFormat.JSON)


def test_the_same_table_is_measured_once(tmp_path: Path, counted: Counted) -> None:
    store = Store(tmp_path)
    first = text(store, rows())
    assert text(store, rows()) == first
    assert counted.count == 1
    assert text(store, rows(), metrics=["NDS"]) != first
    assert text(store, rows()) == first
    assert counted.count == 2


def test_a_changed_number_seed_run_or_opponent_is_measured_again(
    tmp_path: Path, counted: Counted
) -> None:
    store = Store(tmp_path)
    before = text(store, rows())
    changes = [
        [*rows()[:-1], run_row(2, 0.9, **BIAS)],
        rows()[:-1],
        [*rows()[:-1], run_row(7, 0.26, **BIAS)],
        [*rows()[:3], *(run_row(seed, 0.2, **BIAS, setting="another") for seed in range(3))],
    ]
    for count, changed in enumerate(changes, start=2):
        shutil.rmtree(store.root / LOOKS, ignore_errors=True)
        assert text(store, changed) != before
        assert counted.count == count
    # The number of a seed says nothing by itself.
    shutil.rmtree(store.root / LOOKS, ignore_errors=True)
    assert text(store, [*rows()[:-1], run_row(7, 0.25, **BIAS)]) == before
    assert counted.count == len(changes) + 2


def test_records_that_come_go_or_change_are_looked_at_again(
    tmp_path: Path, counted: Counted
) -> None:
    store = Store(tmp_path)
    text(store, rows())
    path = store.folder(rows()[0].name).records_path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no records")
    text(store, rows())
    assert counted.count == 2
    # Written a moment ago it may change again without showing it: nothing is kept.
    text(store, rows())
    assert counted.count == 3


def test_a_damaged_cache_is_no_cache(tmp_path: Path, counted: Counted) -> None:
    store = Store(tmp_path)
    before = text(store, rows())
    (path,) = [path for path in store.cache_dir.iterdir() if path.name.startswith("table-")]
    whole = path.read_bytes()
    for damage in (b"", whole[:-1], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        path.write_bytes(damage)
        assert text(store, rows()) == before
    assert counted.count == 4
