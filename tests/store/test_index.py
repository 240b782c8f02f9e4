"""The index of runs is a cache: whatever happens to it or to the runs, rows are those of the folders."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from aqr_exp.files import cache
from aqr_exp.store import collect
from aqr_exp.store import collect as index
from aqr_exp.store.collect import RunRow, read_row
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store


def complete(folder: RunFolder, mean_ap: float) -> RunFolder:
    if not folder.path.exists():
        folder.create("seed: 1\n", {"variant": "baseline", "fingerprint": "aa", "seed": 1})
    folder.write_metrics({"mAP": mean_ap, "NDS": mean_ap, "split": "val"})
    folder.write_state("completed")
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Twenty completed runs that every look takes for old ones."""
    monkeypatch.setattr(cache, "SETTLED_S", -1.0)
    made = Store(tmp_path / "results; echo")
    for number in range(20):
        complete(made.folder(f"run-{number:02}"), number / 100)
    return made


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of runs whose files are read."""
    names: list[str] = []

    def counted(folder: RunFolder) -> RunRow:
        names.append(folder.name)
        return read_row(folder)

    monkeypatch.setattr(collect, "read_row", counted)
    return names


def truth(store: Store) -> list[RunRow]:
    return [read_row(folder) for folder in store]


def test_what_did_not_change_is_read_once(store: Store, reads: list[str]) -> None:
    first = collect.collect(store)
    assert first == truth(store)
    assert len(reads) == 20
    reads.clear()
    assert collect.collect(store) == first
    assert reads == []
    assert all(row.verified for row in first)


def test_only_what_changed_is_read_again(store: Store, reads: list[str]) -> None:
    collect.collect(store)
    written = store.index_path.read_bytes()
    reads.clear()
    complete(store.folder("run-03"), 0.5)
    complete(store.folder("run-99"), 0.75)
    shutil.rmtree(store.folder("run-07").path)
    rows = collect.collect(store)
    assert reads == ["run-03", "run-99"]
    assert rows == truth(store)
    assert [row.metric("mAP") for row in rows if row.name in {"run-03", "run-99"}] == [0.5, 0.75]
    # So few changes are not worth writing thousands of rows again.
    assert store.index_path.read_bytes() == written


def test_many_changes_are_written_down(store: Store, reads: list[str]) -> None:
    collect.collect(store)
    for number in range(index.WORTH_RUNS):
        complete(store.folder(f"run-{number:02}"), 0.5)
    collect.collect(store)
    reads.clear()
    assert collect.collect(store) == truth(store)
    assert reads == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:0],
        lambda content: content[: len(content) // 2],
        lambda content: content[:100] + bytes([content[100] ^ 1]) + content[101:],
        lambda content: content[:-1] + bytes([content[-1] ^ 128]),
        lambda content: content + b"junk",
    ],
)
def test_a_damaged_index_is_rebuilt(
    store: Store, reads: list[str], spoil: Callable[[bytes], bytes]
) -> None:
    rows = collect.collect(store)
    content = store.index_path.read_bytes()
    store.index_path.write_bytes(spoil(content))
    reads.clear()
    assert collect.collect(store) == rows
    assert len(reads) == 20
    assert store.index_path.read_bytes() == content


def test_a_deleted_index_is_rebuilt(store: Store) -> None:
    rows = collect.collect(store)
    shutil.rmtree(store.cache_dir)
    assert collect.collect(store) == rows
    assert store.index_path.exists()


@pytest.mark.parametrize(("name", "value"), [("__version__", "0.0.0"), ("_FORM", -1)])
def test_an_index_of_another_version_is_rebuilt(
    store: Store, reads: list[str], monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cache, name, value)
        collect.collect(store)
    reads.clear()
    collect.collect(store)
    assert len(reads) == 20


def test_modules_that_many_runs_share_are_kept_once(store: Store, reads: list[str]) -> None:
    editions = [{f"aqr_exp/{name}.py": digest * 12 for name in "abc"} for digest in "12"]
    for number, folder in enumerate(store):
        code = {"revision": f"{number}", "modules": editions[number % 2]}
        record = {"variant": "baseline", "fingerprint": "aa", "seed": number}
        folder.write_json(folder.record_path, record | ({"code": code} if number else {}))
    first = collect.collect(store)
    reads.clear()
    assert collect.collect(store) == first == truth(store)
    assert reads == []
    assert [row.modules for row in first] == [{}, *(editions[n % 2] for n in range(1, 20))]
    kept = cache.read_cache(store.index_path, collect.Index)
    assert sorted(kept.modules, key=str) == editions


@pytest.mark.parametrize("modules", [3, ["a"], {"a": 1}, {"a": ["b"]}, "text"])
def test_a_record_whose_modules_are_none_is_damaged(store: Store, modules: object) -> None:
    folder = store.folder("run-00")
    folder.write_json(folder.record_path, {"code": {"modules": modules}})
    row = collect.collect(store)[0]
    assert row.status is RunStatus.DAMAGED
    assert row.reason == f"{folder.record_path} is damaged: modules does not name modules"


def test_no_cache_among_the_results_is_read(store: Store, reads: list[str]) -> None:
    rows = collect.collect(store)
    index = cache.read_cache(store.index_path, collect.Index)
    assert index is not None
    better = collect.Index(
        [],
        [
            (stamps, msgspec.structs.replace(row, metrics={**row.metrics, "mAP": 0.99}))
            for stamps, row in index.entries
        ],
    )
    shutil.rmtree(store.cache_dir)
    # Whole and current in all they say of themselves, wherever a version has had or might have its own.
    for folder in (
        ".cache",
        f".cache/{store.cache_dir.name}",
        f".cache/aqr-exp/{store.cache_dir.name}",
    ):
        cache.write_cache(store.root / folder / store.index_path.name, better)
    assert collect.collect(store) == rows
    assert store.root not in store.index_path.parents
    # The same file in the user's own folder would be believed.
    cache.write_cache(store.index_path, better)
    assert {row.metric("mAP") for row in collect.collect(store)} == {0.99}


def test_another_content_under_the_same_checksum_is_no_index(store: Store) -> None:
    cache.write_cache(store.index_path, [{"name": 3}])
    assert cache.read_cache(store.index_path, list[collect.Entry]) is None
    assert len(collect.collect(store)) == 20


def test_a_store_that_cannot_be_written_works_without(store: Store) -> None:
    """A file where the folder of the cache would be: as with a folder that is read-only."""
    store.cache_dir.parent.mkdir(exist_ok=True)
    store.cache_dir.write_text("")
    assert collect.collect(store) == collect.collect(store) == truth(store)
    assert store.cache_dir.read_text() == ""


def test_nothing_is_made_where_there_are_no_runs(tmp_path: Path) -> None:
    assert collect.collect(Store(tmp_path / "none")) == []
    assert list(tmp_path.iterdir()) == []


def test_the_same_size_and_time_do_not_hide_a_change(store: Store) -> None:
    """A clock that was set back, or a copy that keeps times: the inode and its own time differ."""
    collect.collect(store)
    path = store.folder("run-05").metrics_path
    times = path.stat()
    other = path.read_bytes().replace(b"0.05", b"0.06")
    while path.stat().st_ctime_ns == times.st_ctime_ns:
        path.write_bytes(other)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (times.st_mtime_ns, times.st_size)
    row = collect.collect(store)[5]
    assert row.status == "damaged"
    assert str(path) in (row.reason or "")


def test_a_run_that_changed_just_now_is_read_again(
    store: Store, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a tick of the file system's clock a second change shows in no time."""
    monkeypatch.setattr(cache, "SETTLED_S", 3600.0)
    collect.collect(store)
    reads.clear()
    collect.collect(store)
    assert len(reads) == 20
    assert not store.index_path.exists()


def test_runs_in_hand_are_asked_anew(store: Store, reads: list[str]) -> None:
    folder = complete(store.folder("run-99"), 0.5)
    folder.write_state("running")
    with folder.lock():
        assert collect.collect(store)[-1].status == "running"
        assert collect.collect(store)[-1].status == "running"
    last = collect.collect(store)[-1]
    assert (last.status, last.reason) == ("interrupted", "its process ended without saying so")
    assert reads.count("run-99") == 3
    assert reads.count("run-00") == 1


def test_a_larger_file_that_shrank_is_noticed_without_the_run_being_read(store: Store) -> None:
    folder = store.folder("run-99")
    folder.create("seed: 1\n", {})
    folder.append_history({"kind": "train", "step": 1})
    folder.predictions_path("val").write_text('{"results": {}}')
    complete(folder, 0.5)
    assert collect.collect(store)[-1].status == "completed"
    # Lines that are added later are no damage.
    folder.append_history({"kind": "warning", "message": "late"})
    assert collect.collect(store)[-1].status == "completed"
    path = folder.predictions_path("val")
    path.write_text("{}")
    row = collect.collect(store)[-1]
    assert row.reason == f"{path} is damaged: 2 bytes, 15 when the run completed"
    path.write_text('{"results": {}, "more": {}}')
    row = collect.collect(store)[-1]
    assert row.reason == f"{path} is damaged: 27 bytes, 15 when the run completed"
    path.unlink()
    assert collect.collect(store)[-1].status == "completed"


LISTER = """
import sys
from pathlib import Path
from aqr_exp.files import cache as stamp
from aqr_exp.store import collect as index
from aqr_exp.store.collect import collect
from aqr_exp.store.store import Store
stamp.SETTLED_S, index.WORTH_RUNS, index.WORTH_PART = 0.02, 1, 0.0
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
for _ in range(40):
    for row in collect(store):
        metrics = row.metrics
        assert row.status == "completed", (row.name, row.status, row.reason)
        assert metrics["mAP"] == metrics["NDS"], metrics
"""


def test_several_processes_list_while_runs_change(store: Store) -> None:
    command = [sys.executable, "-c", LISTER, str(store.root)]
    listers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for lister in listers:
        assert lister.stdout is not None
        assert lister.stdout.readline() == "ready\n"
    changes = 0
    while any(lister.poll() is None for lister in listers):
        complete(store.folder(f"run-{changes % 20:02}"), changes / 1000)
        changes += 1
    for lister in listers:
        _, errors = lister.communicate()
        assert (lister.returncode, errors) == (0, "")
    assert changes > 0
    assert collect.collect(store) == truth(store)
    names = [path.name for path in store.cache_dir.iterdir()]
    assert names == ["runs.msgpack"]


def test_an_index_writer_that_is_killed_leaves_the_old_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = collect.collect(store)
    written = store.index_path.read_bytes()

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        patch.setattr(index, "WORTH_RUNS", 0)
        patch.setattr(index, "WORTH_PART", 0.0)
        with pytest.raises(KeyboardInterrupt):
            collect.collect(store)
    assert store.index_path.read_bytes() == written
    assert collect.collect(store) == rows


def test_what_killed_writers_left_is_removed(store: Store) -> None:
    store.cache_dir.mkdir(parents=True)
    old, fresh = (store.cache_dir / f".runs.msgpack.1.{name}.tmp" for name in ("aa", "bb"))
    for path in (old, fresh):
        path.write_text("half")
    os.utime(old, (0, 0))
    collect.collect(store)
    assert sorted(path.name for path in store.cache_dir.iterdir()) == [fresh.name, "runs.msgpack"]
