"""Anything in place of a stored file: every command ends, names it, and shows the others as they are."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from made_up_data import write_identity
from made_up_runs import MadeUpStore

from aqr_exp.cli.main import main
from aqr_exp.store.lease import hold
from aqr_exp.store.sweep_folder import SweepEntry

KINDS: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "elsewhere": lambda path: path.symlink_to("/etc/passwd"),
    "huge": lambda path: os.truncate(path, 10 << 30) if path.write_bytes(b"{") else None,
}
# A row of a table is read from these.
NEEDED = ("state.json", "record.json", "spec.yaml", "metrics.json")
OF_A_RUN = (
    *NEEDED,
    "history.jsonl",
    "records.npz",
    "progress.json",
    ".cancel.json",
    "cost.json",
    "logs/train.log",
    ".lease",
    ".launch",
    "predictions",
    "failures",
    "checkpoints/epoch_1.pth",
)
OF_THE_STORE = (
    "CACHE/runs.msgpack",
    "CACHE/hashes.msgpack",
    "sweeps/mine/plan.json",
    "sweeps/mine/cancel.json",
    "sweeps/mine/schedulers",
    "reference/mine.csv",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeUpStore:
    place = tmp_path_factory.mktemp("place")
    write_identity(place / "data" / "synth")
    store = MadeUpStore(place / "results")
    folders = [store.add("baseline", [], seed, mAP=0.3, NDS=0.2) for seed in range(3)]
    (folders[0].checkpoints_dir / "epoch_1.pth").write_bytes(b"weights")
    entries = [
        SweepEntry(name=folder.name, variant="baseline", overrides=(), seed=seed)
        for seed, folder in enumerate(folders)
    ]
    store.sweep("mine").write_plan(entries)
    return store


@pytest.fixture
def store(made: MadeUpStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[MadeUpStore]:
    """The store, with an end to whatever hangs."""
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made.root))
    monkeypatch.chdir(made.root.parent)

    def hangs(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise TimeoutError("a command hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(60)
    yield made
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def planted(store: MadeUpStore) -> Iterator[Callable[[str, str], Path]]:
    """Put something in the place of a file; the file comes back afterwards."""
    moved: list[tuple[Path, Path]] = []

    def put(name: str, kind: str) -> Path:
        path = store.root / name.replace("CACHE", str(store.cache_dir))
        kept = store.root.parent / "kept"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.rename(kept)
        moved.append((path, kept))
        KINDS[kind](path)
        return path

    yield put
    for path, kept in moved:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if kept.exists():
            kept.rename(path)


def answers(capsys: pytest.CaptureFixture[str], run: str) -> dict[str, Any]:
    """What the reading commands say, each of which ends in a known way."""
    found: dict[str, Any] = {}
    for arguments in (
        ("list", "--json"),
        ("table", "--format", "json"),
        ("show", run),
        ("watch", "mine", "--json"),
    ):
        code = main([*arguments])
        out, err = capsys.readouterr()
        assert code in {0, 1, 2}, (arguments, err)
        assert "internal error" not in err, (arguments, err)
        assert "Traceback" not in err, (arguments, err)
        found[" ".join(arguments[:2])] = (code, out, err)
    return found


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (file, kind)
        for file in OF_A_RUN
        for kind in (KINDS if file in NEEDED[:2] else ("FIFO", "loop"))
    ],
)
def test_one_bad_run_takes_nobody_else_s_place(
    store: MadeUpStore,
    planted: Callable[[str, str], Path],
    capsys: pytest.CaptureFixture[str],
    file: str,
    kind: str,
) -> None:
    run = store.folder_names()[0]
    path = planted(f"runs/{run}/{file}", kind)
    found = answers(capsys, run)
    code, out, _ = found["list --json"]
    rows = json.loads(out)
    assert code == 0
    assert len(rows) == 3
    assert [row["mAP"] for row in rows[1:]] == [0.3, 0.3]
    if file in NEEDED:
        assert rows[0]["status"] == "damaged"
        assert str(path) in rows[0]["reason"]
    code, out, _ = found["table --format"]
    assert code == 0
    assert json.loads(out)["rows"]
    assert os.path.lexists(path), "reading changes nothing"


@pytest.mark.parametrize("kind", ["FIFO", "loop"])
@pytest.mark.parametrize("file", OF_THE_STORE)
def test_what_the_store_has_besides_its_runs_is_named_or_passed_over(
    store: MadeUpStore,
    planted: Callable[[str, str], Path],
    capsys: pytest.CaptureFixture[str],
    file: str,
    kind: str,
) -> None:
    planted(file, kind)
    found = answers(capsys, store.folder_names()[0])
    assert [row["mAP"] for row in json.loads(found["list --json"][1])] == [0.3, 0.3, 0.3]
    assert json.loads(found["table --format"][1])["rows"]


@pytest.mark.parametrize("target", ["a loop", "nothing", "a run", "a folder", "a file"])
def test_a_link_among_the_runs_is_named_and_not_followed(
    store: MadeUpStore, capsys: pytest.CaptureFixture[str], target: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    targets = {
        "a loop": "linked",
        "nothing": tmp_path / "nothing",
        "a run": store.runs_dir / store.folder_names()[0],
        "a folder": tmp_path,
        "a file": tmp_path / "file",
    }
    link = store.runs_dir / "linked"
    link.symlink_to(targets[target])
    try:
        found = answers(capsys, "linked")
    finally:
        link.unlink()
    rows = {row["name"]: row for row in json.loads(found["list --json"][1])}
    assert len(rows) == 4
    told = f"{link} is damaged: it is a symbolic link, not a folder"
    assert (rows["linked"]["status"], rows["linked"]["reason"]) == ("damaged", told)
    assert [row["mAP"] for name, row in rows.items() if name != "linked"] == [0.3] * 3
    assert told in "".join(json.loads(found["table --format"][1])["notes"])


def test_strays_are_passed_over(store: MadeUpStore, capsys: pytest.CaptureFixture[str]) -> None:
    strays = [
        store.root / folder / name
        for folder in ("runs", "sweeps", f"runs/{store.folder_names()[0]}", store.cache_dir)
        for name in (".nfs0001", ".DS_Store", "Thumbs.db", "plan.json~", "lost+found")
    ]
    for path in strays:
        path.parent.mkdir(exist_ok=True)
        path.mkdir() if path.name == "lost+found" else path.touch()
    try:
        found = answers(capsys, store.folder_names()[0])
    finally:
        for path in strays:
            path.rmdir() if path.is_dir() else path.unlink()
    assert {row["mAP"] for row in json.loads(found["list --json"][1])} == {0.3}
    assert store.sweep_names() == ["mine"]


# What these start is refused, or done, before a process is started: they read all that is theirs first.
OTHERS = (
    "retry --failed",
    "retry RUN",
    "retry mine",
    "resume",
    "resume mine",
    "resume RUN --steal",
    "sweep mine.yaml --dry-run",
    "confirm mine --dry-run",
    "eval RUN --failures beams@4",
    "cost RUN",
    "plot curves --loss nothing",
    "plot classes",
    "plot sweep bias_scale",
    "plot scale",
    "compare RUN OTHER --metrics nothing",
    "why RUN OTHER",
    "cancel RUN",
    "table --by failure",
    "table --by cost",
)


def others_end(capsys: pytest.CaptureFixture[str], store: MadeUpStore, run: str) -> None:
    """Every other command that reads a store ends in a known way."""
    other = next(name for name in store.folder_names() if name != run)
    (store.root.parent / "mine.yaml").write_text("variant: baseline\nseeds: [0, 1, 2]\n")
    for typed in OTHERS:
        words = typed.replace("RUN", run).replace("OTHER", other).split()
        code = main(words)
        out, err = capsys.readouterr()
        assert code in {0, 1, 2}, (typed, err)
        for told in ("internal error", "Traceback"):
            assert told not in out + err, (typed, err)
        faults = [line for line in err.splitlines() if line.startswith("aqr-exp: ")]
        assert all(len(line) <= 200 for line in faults), (typed, faults)
        assert code != 2 or faults, (typed, err)


@pytest.mark.parametrize(
    ("file", "kind"), [(file, "FIFO" if at % 2 else "loop") for at, file in enumerate(OF_A_RUN)]
)
def test_whatever_lies_in_a_run_every_other_command_ends(
    store: MadeUpStore,
    planted: Callable[[str, str], Path],
    capsys: pytest.CaptureFixture[str],
    file: str,
    kind: str,
) -> None:
    run = store.folder_names()[1]  # it has no checkpoint, so nothing is started
    with hold(store.folder(run).failures_lease_path):
        path = planted(f"runs/{run}/{file}", kind)
        others_end(capsys, store, run)
        assert os.path.lexists(path), "reading changes nothing"


@pytest.mark.parametrize("file", [*OF_THE_STORE, ".slots", "figures", "sweeps/mine/detached.log"])
def test_whatever_lies_in_a_store_every_other_command_ends(
    store: MadeUpStore,
    planted: Callable[[str, str], Path],
    capsys: pytest.CaptureFixture[str],
    file: str,
) -> None:
    run = store.folder_names()[1]
    with hold(store.folder(run).failures_lease_path):
        planted(file, "FIFO")
        others_end(capsys, store, run)


def test_a_run_that_is_evaluated_is_not_evaluated_at_once_again(
    store: MadeUpStore, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = store.folder(store.folder_names()[1])
    with hold(folder.failures_lease_path):
        assert main(["eval", folder.name, "--failures", "beams@4"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"aqr-exp: {folder.name}: its evaluation is worked on by process ")
    assert err.count("\n") == 1
    assert not folder.failures_dir.exists()


def test_a_run_writes_into_no_folder_that_is_a_link(
    store: MadeUpStore, planted: Callable[[str, str], Path], tmp_path: Path
) -> None:
    from aqr_exp.errors import AqrExpError
    from aqr_exp.launch.attempt import queue

    run = store.folder(store.folder_names()[0])
    for name in ("predictions", "checkpoints", "logs", "figures", "failures"):
        path = run.path / name
        kept = tmp_path / name
        if path.exists():
            path.rename(kept)
        path.symlink_to(tmp_path)
        with pytest.raises(AqrExpError, match=f"{name} is damaged: it is a symbolic link"):
            queue(run, 2)
        path.unlink()
        if kept.exists():
            kept.rename(path)
    assert run.read_state().attempt == 1
