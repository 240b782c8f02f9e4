import hashlib
import os
from pathlib import Path

import pytest
from made_up_runs import make_data_set, make_run

from aqr_exp.files import cache, reading
from aqr_exp.store.collect import collect
from aqr_exp.store.store import Store, file_hashes
from aqr_exp.store.verify import trace_rows


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "results; echo")
    data = make_data_set(tmp_path / "data")
    for seed in (0, 1):
        make_run(made, data, seed)
    return made


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read to be hashed."""
    paths: list[Path] = []
    original = reading.file_sha256

    def counted(path: Path) -> str:
        paths.append(path)
        return original(path)

    monkeypatch.setattr("aqr_exp.store.store.file_sha256", counted)
    monkeypatch.setattr(cache, "SETTLED_S", -1.0)
    return paths


def test_every_file_a_number_comes_from_is_named_with_its_hash(store: Store) -> None:
    rows = collect(store)
    first, second = trace_rows(rows, store, ["mAP", "NDS", "mAP@night"])
    assert (first.name, second.name) == (rows[0].name, rows[1].name)
    assert (first.attempt, first.commit, first.modified) == (2, "c0ffee" * 6 + "abcd", False)
    assert first.metrics == ("mAP", "NDS")
    names = ["spec.yaml", "record.json", "state.json", "metrics.json", "history.jsonl"]
    assert [file.path for file in first.files] == [
        *names,
        "records.npz",
        "predictions/mini_val.json",
    ]
    for trace in (first, second):
        for file in trace.files:
            content = (Path(trace.folder) / file.path).read_bytes()
            assert file.sha256 == hashlib.sha256(content).hexdigest()
            assert file.size_bytes == len(content)
    assert first.as_json()["files"][0]["path"] == "spec.yaml"


def test_a_file_is_hashed_again_only_when_it_changed(store: Store, hashed: list[Path]) -> None:
    before = trace_rows(collect(store), store)
    assert len(hashed) == 14
    hashed.clear()
    assert trace_rows(collect(store), store) == before
    assert hashed == []
    changed = store.folder(before[0].name).predictions_path("mini_val")
    times = changed.stat()
    while changed.stat().st_ctime_ns == times.st_ctime_ns:
        changed.write_bytes(changed.read_bytes()[:-1] + b" ")
        os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = trace_rows(collect(store), store)
    assert hashed == [changed]
    assert [after[0] == before[0], after[1] == before[1]] == [False, True]


def test_hashes_of_files_that_are_gone_are_forgotten(store: Store, hashed: list[Path]) -> None:
    rows = collect(store)
    trace_rows(rows, store)
    store.folder(rows[0].name).path.rename(store.runs_dir / "renamed")
    with file_hashes(store) as sha256_of:
        sha256_of(store.folder("renamed").metrics_path)
    assert rows[0].name.encode() not in store.hashes_path.read_bytes()
    assert rows[1].name.encode() in store.hashes_path.read_bytes()


def test_what_a_record_does_not_say_is_unknown(store: Store) -> None:
    row = collect(store)[0]
    row.record["code"] = "?"
    (trace,) = trace_rows([row], store)
    assert (trace.commit, trace.modified) == (None, False)
