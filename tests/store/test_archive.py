"""Runs in an archive: the same rows elsewhere, whole or not at all, whatever the archive holds."""

import hashlib
import json
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_runs import MadeUpStore, make_data_set, make_run

from aqr_exp.cli.main import main
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.store.archive import MANIFEST, is_archive, read_archive, write_archive
from aqr_exp.store.collect import collect
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry
from aqr_exp.store.verify import verify_run

RUN = "baseline-0123456789ab-s0"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a run that was trained, killed, resumed and scored, and its sweep."""
    place = tmp_path_factory.mktemp("it's; here")
    store = Store(place / "results")
    make_run(store, make_data_set(place / "data"), 0)
    store.sweep("it").write_plan(
        [SweepEntry(name=RUN, variant="baseline", overrides=(), seed=0)], "it"
    )
    return store


@pytest.fixture
def archive(first: Store, tmp_path: Path) -> Path:
    path = tmp_path / "runs.zip"
    write_archive(first, [RUN], ["it"], path, weights=True)
    return path


def test_elsewhere_the_row_is_the_same_and_verifies(
    first: Store, archive: Path, tmp_path: Path
) -> None:
    second = Store(tmp_path / "second")
    assert read_archive(archive, second) == {RUN: True}
    assert collect(second) == collect(first)
    assert second.sweep("it").read_plan() == first.sweep("it").read_plan()
    assert verify_run(first.folder(RUN)) == verify_run(second.folder(RUN)) == []
    for path in sorted(first.folder(RUN).path.rglob("*")):
        copy = second.folder(RUN).path / path.relative_to(first.folder(RUN).path)
        assert path.is_dir() or copy.read_bytes() == path.read_bytes()
    # What is there stays, and so it does when the archive is read again.
    (second.folder(RUN).train_log_path).write_text("mine")
    assert read_archive(archive, second) == {RUN: False}
    assert second.folder(RUN).train_log_path.read_text() == "mine"


def test_equal_runs_give_equal_archives_without_weights_and_leases(
    first: Store, tmp_path: Path
) -> None:
    (first.folder(RUN).path / ".note").write_text("hidden")
    for name in ("one.zip", "two.zip"):
        write_archive(first, [RUN], [], tmp_path / name)
    (first.folder(RUN).path / ".note").unlink()
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    names = zipfile.ZipFile(tmp_path / "one.zip").namelist()
    assert not [name for name in names if "checkpoints" in name or "/." in name]
    assert not [name for name in names if name.startswith("sweeps/")]


def test_a_run_at_work_is_not_exported(tmp_path: Path) -> None:
    store = MadeUpStore(tmp_path)
    folder = store.add("baseline", [], 0)
    folder.write_state("running")
    with folder.lock(), pytest.raises(RequestError, match="works on it: export it when it has"):
        write_archive(store, [folder.name], [], tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def changed(archive: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The archive with other members; the manifest is as it was unless it is changed itself."""
    with zipfile.ZipFile(archive) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    change(members)
    path = archive.with_name("changed.zip")
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


def relisted(members: dict[str, bytes], name: str, content: bytes) -> None:
    """Add a file to the run, with its hash in the manifest."""
    manifest = json.loads(members[MANIFEST])
    manifest["runs"][RUN][name] = hashlib.sha256(content).hexdigest()
    members[MANIFEST] = json.dumps(manifest).encode()
    members[f"runs/{RUN}/{name}"] = content


def unlisted(members: dict[str, bytes], name: str) -> None:
    """Leave a file of the run out, and out of the manifest."""
    manifest = json.loads(members[MANIFEST])
    del manifest["runs"][RUN][name]
    members[MANIFEST] = json.dumps(manifest).encode()
    del members[f"runs/{RUN}/{name}"]


def renamed(members: dict[str, bytes], name: str) -> None:
    manifest = json.loads(members[MANIFEST])
    manifest["runs"] = {name: manifest["runs"][RUN]}
    members[MANIFEST] = json.dumps(manifest).encode()
    for member in [one for one in members if one.startswith("runs/")]:
        members[member.replace(RUN, name)] = members[member]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.pop(MANIFEST), "is no archive of runs: it has no aqr-exp-runs.json"),
        (lambda m: m.update({MANIFEST: b"{"}), "is damaged: aqr-exp-runs.json: "),
        (lambda m: m.update({MANIFEST: b'{"version": 2, "runs": {}}'}), "`int` <= 1"),
        (lambda m: m.pop(f"runs/{RUN}/metrics.json"), "metrics.json' is missing"),
        (
            lambda m: m.update({f"runs/{RUN}/metrics.json": b"{}"}),
            "metrics.json' is not what it was",
        ),
        (lambda m: relisted(m, "../outside", b"x"), "is no path in a run's folder"),
        (lambda m: relisted(m, "/outside", b"x"), "is no path in a run's folder"),
        (lambda m: relisted(m, ".lease", b"x"), "is no path in a run's folder"),
        (lambda m: relisted(m, "logs\\x", b"x"), "is no path in a run's folder"),
        (lambda m: relisted(m, "logs//x", b"x"), "is no path in a run's folder"),
        (lambda m: relisted(m, "metrics.json/x", b"x"), "'metrics.json' is a file and a folder"),
        (lambda m: unlisted(m, "state.json"), f"{RUN}: state.json is missing"),
        (lambda m: renamed(m, "../../outside-0123456789ab-s0"), "Expected `str` matching regex"),
        (lambda m: renamed(m, ".hidden-0123456789ab-s0"), "Expected `str` matching regex"),
    ],
)
def test_a_foreign_archive_is_refused_in_one_line_and_leaves_nothing(
    archive: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], None], words: str
) -> None:
    path = changed(archive, change)
    place = tmp_path / "a" / "results"
    place.mkdir(parents=True)
    with pytest.raises(RequestError) as caught:
        read_archive(path, Store(place))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    left = [one for one in (tmp_path / "a").rglob("*") if one.name not in {"results", "runs"}]
    assert left == []


def test_a_run_under_anothers_name_is_refused(archive: Path, tmp_path: Path) -> None:
    """Its checksums hold its own name."""
    path = changed(archive, lambda members: renamed(members, "baseline-0123456789ab-s1"))
    store = Store(tmp_path / "second")
    with pytest.raises(Exception, match="baseline-0123456789ab-s0") as caught:
        read_archive(path, store)
    assert "internal" not in str(caught.value)
    assert store.names() == []


def test_another_run_of_that_name_stays(archive: Path, tmp_path: Path, first: Store) -> None:
    second = Store(tmp_path / "second")
    read_archive(archive, second)
    folder = second.folder(RUN)
    folder.write_metrics({**folder.read_metrics(), "mAP": 0.9})
    with pytest.raises(RequestError, match=f"{RUN} is there already, with another metrics.json"):
        read_archive(archive, second)
    assert folder.read_metrics()["mAP"] == 0.9


def test_torn_archives_are_refused(archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    torn = tmp_path / "torn.zip"
    torn.write_bytes(content[: len(content) // 2])
    assert not is_archive(torn)
    with pytest.raises(RequestError, match="is no archive of runs: File is not a zip file"):
        read_archive(torn, Store(tmp_path / "second"))
    damaged = bytearray(content)
    at = content.index(b"metrics.json") + 200
    damaged[at : at + 20] = bytes(20)
    torn.write_bytes(damaged)
    with pytest.raises(RequestError, match="is damaged"):
        read_archive(torn, Store(tmp_path / "second"))
    assert Store(tmp_path / "second").names() == []


def test_a_small_archive_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "runs.zip"
    for packing, held_mb, most_mb in ((zipfile.ZIP_LZMA, 64, 90), (zipfile.ZIP_BZIP2, 8, 2)):
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(MANIFEST, bytes(held_mb << 20), packing)
        content = bytearray(path.read_bytes())
        # It says that it is small.
        for at in (22, content.rfind(b"PK\x01\x02") + 24):
            content[at : at + 4] = (1000).to_bytes(4, "little")
        path.write_bytes(content)
        tracemalloc.start()
        try:
            with pytest.raises(RequestError, match="is damaged"):
                read_archive(path, Store(tmp_path / "second"))
            assert tracemalloc.get_traced_memory()[1] < most_mb << 20
        finally:
            tracemalloc.stop()


def test_an_archive_of_an_unknown_version_of_zip_is_refused(archive: Path, tmp_path: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[content.rfind(b"PK\x01\x02") + 6] = 99
    archive.write_bytes(content)
    assert not is_archive(archive)
    with pytest.raises(RequestError, match=r"is no archive of runs: zip file version 9\.9"):
        read_archive(archive, Store(tmp_path / "second"))


def test_a_plan_that_is_none_is_not_kept(archive: Path, tmp_path: Path) -> None:
    def other_plan(members: dict[str, bytes]) -> None:
        manifest = json.loads(members[MANIFEST])
        manifest["sweeps"]["it"] = hashlib.sha256(b"no plan").hexdigest()
        members |= {MANIFEST: json.dumps(manifest).encode(), "sweeps/it.json": b"no plan"}

    store = Store(tmp_path / "second")
    with pytest.raises(AqrExpError, match=r"plan\.json is damaged"):
        read_archive(changed(archive, other_plan), store)
    assert store.sweep_names() == []


@pytest.mark.parametrize("name", [b"a\\b.png", b"\xff.png"])
def test_a_file_that_could_not_be_imported_is_not_exported(tmp_path: Path, name: bytes) -> None:
    store = MadeUpStore(tmp_path)
    folder = store.add("baseline", [], 0, mAP=0.3, NDS=0.2)
    (folder.figures_dir / os.fsdecode(name)).write_text("x")
    with pytest.raises(RequestError, match="is no path in a run's folder: rename or remove it"):
        write_archive(store, [folder.name], [], tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_commands(
    first: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AQR_EXP_RESULTS", str(first.root))
    assert main(["export", "it"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/it.zip\n"
    monkeypatch.setenv("AQR_EXP_RESULTS", str(tmp_path / "elsewhere"))
    assert main(["import", "it.zip"]) == 0
    assert capsys.readouterr().out.startswith(f"{RUN}: mAP 0.")
    assert main(["import", "it.zip", "--json"]) == 0
    assert [line["new"] for line in json.loads(capsys.readouterr().out)] == [False]
    assert main(["import", "nothing.json"]) == 2
    assert "is no archive of runs, and result files need --root" in capsys.readouterr().err
    other = SweepEntry(name=RUN[:-1] + "1", variant="baseline", overrides=(), seed=1)
    elsewhere = Store(tmp_path / "elsewhere")
    elsewhere.sweep("it").write_plan([other], "it")
    assert main(["import", "it.zip"]) == 0
    said = "sweep it is there already, with another plan, which stays as it is\n"
    assert capsys.readouterr().err == said
    assert elsewhere.sweep("it").read_plan() == [other]
    monkeypatch.setenv("AQR_EXP_RESULTS", str(first.root))
    os.mkfifo("fifo")
    for command, typed in (("export", ["it"]), ("report", [])):
        assert main([command, *typed, "--output", "fifo"]) == 2
        expected = "aqr-exp: --output 'fifo': that is no file: name one\n"
        assert capsys.readouterr().err == expected
    assert Path("fifo").is_fifo()
    monkeypatch.setenv("AQR_EXP_RESULTS", str(tmp_path / "third"))
    assert main(["import", "it.zip", "nothing.json"]) == 2
    assert not (tmp_path / "third").exists()
    capsys.readouterr()
    monkeypatch.setenv("AQR_EXP_RESULTS", str(tmp_path / "elsewhere"))
    assert main(["export", "ut"]) == 2
    assert capsys.readouterr().err == (
        "aqr-exp: no sweep and no run begins with 'ut' (see `aqr-exp list`)\n"
    )
