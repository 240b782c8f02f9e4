"""What the operating system refuses: one line, exit code 2, nothing half-written, and on it goes."""

import json
import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_training import COMPLETES
from in_a_child import aqr_exp, become_nobody, fill, in_child, make_read_only, on_a_disk
from made_up_data import write_identity

from aqr_exp.config.identity import to_yaml
from aqr_exp.errors import RequestError
from aqr_exp.launch.record import build_record
from aqr_exp.report.figures.figure_file import check_target
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.plan import plan_sweep

FULL = Path("/dev/full")
NO_SPACE = "no space left on device (free some space, then type it again)"

# Every command that answers on stdout at once; the store holds a finished sweep.
ANSWERS = [
    "--help",
    "--version",
    "run --help",
    "list",
    "list --json",
    "show baseline",
    "why baseline attention_bias",
    "config baseline",
    "config baseline --json",
    "table --metrics mAP",
    "table --metrics mAP --format csv",
    "compare baseline attention_bias",
    "watch --once",
    "watch --json",
    "plot classes",
    "sweep bias_scale --dry-run",
    "analyze softmax",
    "data --help",
]


def fill_store(store: Store) -> None:
    """Put a completed baseline and a completed run of a variant into a store."""
    plan = plan_sweep(sweep_request("bias_scale", ["bias_scale=1", "seed=0"]))
    for place, run in enumerate(plan.runs):
        folder = store.folder(run.name)
        folder.create(
            to_yaml(run.config), build_record(run.config, overrides=run.overrides, argv=[])
        )
        metrics = {"mAP": 0.2 + place / 100, "AP/car": 0.5, "gt/car": 9, "split": "synth_val"}
        folder.write_metrics(metrics)
        folder.write_state("completed")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with data and a store that is filled, current while this module's tests run; read only."""
    place = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.delenv("AQR_EXP_DATA", raising=False)
        patch.delenv("AQR_EXP_RESULTS", raising=False)
        write_identity(place / "data" / "synth")
        fill_store(Store(place / "results"))
        yield place


@pytest.fixture
def here(filled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(filled)
    monkeypatch.delenv("AQR_EXP_RESULTS", raising=False)
    return filled


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("typed", ANSWERS)
def test_an_answer_that_cannot_be_written_is_no_success(typed: str) -> None:
    full = aqr_exp(*typed.split(), stdout=FULL)
    assert full.code == 2
    assert full.err.decode().splitlines()[-1] == f"aqr-exp: stdout: {NO_SPACE}"
    assert full.err.count(b"aqr-exp: ") == 1


@pytest.mark.usefixtures("here")
def test_a_closed_stdout_is_named_and_no_file_takes_its_place() -> None:
    before = contents()
    for closed in ([1], [0, 1]):
        ended = aqr_exp("list", closed=closed)
        assert (ended.code, ended.out) == (2, b"")
        assert ended.line == "aqr-exp: stdout: bad file descriptor (it is closed)"
    assert contents() == before


def contents() -> dict[Path, bytes]:
    """What the files below the current folder hold, caches left out."""
    found = (path for path in Path.cwd().rglob("*") if ".cache" not in path.parts)
    return {path: path.read_bytes() for path in found if path.is_file()}


@pytest.mark.usefixtures("here")
def test_messages_that_cannot_be_written_stop_nothing() -> None:
    plain = aqr_exp("list")
    assert plain.code == 0
    assert plain.out.count(b"completed") == 2
    for silent in (aqr_exp("list", closed=[2]), aqr_exp("list", closed=[0, 2])):
        assert (silent.code, silent.out, silent.err) == (0, plain.out, b"")
    assert aqr_exp("lst", closed=[2]).code == 2


@pytest.mark.usefixtures("here")
def test_a_pipe_without_a_reader_is_said() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = aqr_exp("list", stdout=Path(f"/proc/self/fd/{writer}"))
    os.close(writer)
    assert ended.code == 2
    assert ended.line == "aqr-exp: stdout: broken pipe (its reader has closed it)"


@pytest.mark.usefixtures("here")
def test_a_stream_that_knows_ascii_alone_gets_ascii() -> None:
    ended = aqr_exp("table", "--format", "md", "--metrics", "mAP", encoding="ascii")
    assert (ended.code, ended.err) == (0, b"")
    assert ended.out.isascii()
    wide = aqr_exp("config", "baseline", "data.root='/caf\u00e9'", "--json", encoding="ascii")
    assert json.loads(wide.out)["config"]["data"]["root"] == "/caf\u00e9"
    said = aqr_exp("show", "b\u00b1se\u2192", encoding="ascii")
    assert said.code == 2
    assert said.line.startswith("aqr-exp: unknown run 'b+/-se\\u2192'")


def test_a_name_that_is_no_text_is_spelled(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQR_EXP_RESULTS", os.fsdecode(b"r\xff"))
    ended = aqr_exp("list")
    assert ended.code == 0
    assert ended.line == (
        f"aqr-exp: no runs in {here}/r\\udcff/runs: `aqr-exp run baseline` makes one"
    ).removeprefix("aqr-exp: ")


COMMANDS_ON_RESULTS = [
    "list",
    "show baseline",
    "table",
    "compare baseline attention_bias",
    "watch --once",
    "plot classes",
    "run baseline",
    "run baseline --dry-run",
    "sweep smoke",
    "sweep smoke --dry-run",
    "cancel baseline",
    "retry --failed",
    "resume",
    "eval baseline --failures all",
    "cost baseline",
    "confirm smoke --seeds 1",
    "analyze bias baseline",
    "doctor",
]


@pytest.mark.parametrize("typed", COMMANDS_ON_RESULTS)
def test_results_that_are_no_folder_are_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    file = here / "file"
    file.touch()
    for results in ("file", "file/below/it"):
        monkeypatch.setenv("AQR_EXP_RESULTS", results)
        ended = aqr_exp(*typed.split())
        assert ended.code == 2
        assert ended.line == f"aqr-exp: AQR_EXP_RESULTS={results}: {file} is not a folder"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for results, on which a disk may be mounted; with data and a fake training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AQR_EXP_DATA", raising=False)
    write_identity(tmp_path / "data" / "synth")
    folder = tmp_path / "disk"
    folder.mkdir()
    monkeypatch.setenv("AQR_EXP_RESULTS", str(folder))
    return folder


def names(folder: Path) -> list[str]:
    """What lies below a folder, caches left out."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(name for name in found if not name.startswith(".cache"))


def test_a_full_disk_starts_no_run_and_leaves_nothing(disk: Path) -> None:
    def full() -> Any:
        filler = fill(disk)
        ended = [aqr_exp("run", "baseline"), aqr_exp("sweep", "smoke", "--no-preflight")]
        left = names(disk)
        filler.unlink()
        return ended, left

    ended, left = on_a_disk(disk, "64k", full)
    assert left == ["filler"]
    for one in ended:
        assert one.code == 2
        assert one.fault == (
            f"aqr-exp: the disk of {disk} has 0 MB left: a run needs 200 MB "
            "(AQR_EXP_RESULTS names another folder)"
        )


def test_a_figure_on_a_full_disk_is_one_line_and_is_drawn_when_there_is_room(disk: Path) -> None:
    def full() -> Any:
        fill_store(Store(disk))
        filler = fill(disk)
        before = names(disk)
        first = aqr_exp("plot", "classes", "--output", str(disk / "c"))
        table = aqr_exp("table", "--metrics", "mAP")
        after = names(disk)
        filler.unlink()
        return first, table, before, after, aqr_exp("plot", "classes", "--output", str(disk / "c"))

    first, table, before, after, second = on_a_disk(disk, "512k", full)
    assert first.code == 2
    assert first.line == f"aqr-exp: {disk / 'c.pdf'}: {NO_SPACE}"
    assert (table.code, after) == (0, before)
    assert second.code == 0


def test_a_file_that_may_not_grow_is_one_line(here: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))

    path = tmp_path / "c"
    ended = aqr_exp("plot", "classes", "--output", str(path), before=limit)
    assert ended.code == 2
    assert (
        ended.line == f"aqr-exp: {path}.pdf: file too large (`ulimit -f` limits the size of files)"
    )
    assert names(tmp_path) == []


def test_a_disk_that_may_only_be_read_shows_its_runs_and_starts_none(disk: Path) -> None:
    def read_only() -> Any:
        fill_store(Store(disk))
        make_read_only(disk)
        shown = [aqr_exp("list"), aqr_exp("table", "--metrics", "mAP"), aqr_exp("show", "baseline")]
        typed = (
            "run baseline seed=5",
            "sweep smoke --no-preflight",
            "plot classes --output disk/c",
        )
        return shown, [aqr_exp(*words.split()) for words in typed]

    shown, refused = on_a_disk(disk, "300m", read_only)
    assert [one.code for one in shown] == [0, 0, 0]
    assert [one.code for one in refused] == [2, 2, 2]
    assert all(one.fault for one in refused)
    assert "read-only file system (name a folder that can be written)" in refused[0].fault


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that every user may enter and read, and this one alone may write; it is current."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("AQR_EXP_RESULTS", str(folder / "results"))
        monkeypatch.delenv("AQR_EXP_DATA", raising=False)
        write_identity(folder / "data" / "synth")
        yield folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_rights_name_or_home_is_told_what_is_refused(public: Path) -> None:
    fill_store(Store(public / "results"))

    def nobody() -> None:
        become_nobody(number=54321)

    shown = aqr_exp("table", "--metrics", "mAP", before=nobody)
    assert (shown.code, shown.err) == (0, b"")
    for typed in ("run baseline seed=1", "sweep smoke --no-preflight"):
        ended = aqr_exp(*typed.split(), before=nobody)
        assert ended.code == 2
        assert ended.fault.endswith("permission denied (name a folder that this user may use)")
        assert ended.fault.startswith(f"aqr-exp: {public}/results")

    def target() -> str:
        nobody()
        with pytest.raises(RequestError) as caught:
            check_target(Path("c.pdf"))
        return str(caught.value)

    assert in_child(target) == f"c.pdf: nothing may be written to {public}"
    ended = aqr_exp("cancel", "baseline", before=nobody)
    assert ended.code == 2
    assert "internal error" not in ended.line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_run_is_cancelled_by_a_user_without_a_name(public: Path) -> None:
    store = Store(public / "results")
    fill_store(store)
    folder: RunFolder = next(iter(store))
    folder.metrics_path.unlink()
    folder.write_state("planned")
    for path in (public, *public.rglob("*")):
        os.chown(path, 54321, 54321)
    ended = aqr_exp("cancel", folder.name, before=lambda: become_nobody(number=54321))
    assert (ended.code, ended.err.decode()) == (0, f"{folder.name}: cancelled\n")
    assert str(folder.read_state().reason).startswith("cancelled by user 54321 on ")


@pytest.mark.parametrize("results", ["~nosuchuser", "~nosuchuser/below", "~"])
def test_a_tilde_that_stands_for_no_folder_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, results: str
) -> None:
    monkeypatch.setenv("AQR_EXP_RESULTS", results)
    monkeypatch.delenv("HOME")
    if results == "~" and os.geteuid() != 0:
        pytest.skip("only root can become a user without a name")
    ended = aqr_exp("list", before=(lambda: become_nobody(54321)) if results == "~" else int)
    assert ended.code == 2
    rule = "there is no such home folder: write the whole path"
    assert ended.line == f"aqr-exp: AQR_EXP_RESULTS={results}: {rule}"


def test_a_current_folder_that_is_gone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AQR_EXP_RESULTS", raising=False)
    monkeypatch.delenv("AQR_EXP_DATA", raising=False)

    def leave() -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()

    for typed in ("list", "run baseline", "sweep smoke", "config baseline", "data synth"):
        ended = aqr_exp(*typed.split(), before=leave)
        assert ended.code == 2
        assert "the current folder " in ended.line


def test_too_many_open_files_are_one_line(here: Path) -> None:
    def limit(room: int) -> Callable[[], None]:
        return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (room, room))

    # Two more than the streams are enough for most; one is not.
    ended = aqr_exp("list", before=limit(4))
    assert ended.code == 2
    assert ended.line.endswith("too many open files (`ulimit -n` limits them)")
    # With any number of them a command says that, or answers as ever: no run looks damaged.
    for typed in ("list --json", "table --metrics mAP --format json", "show baseline --json"):
        whole = aqr_exp(*typed.split())
        assert whole.code == 0
        codes = []
        for room in range(3, 24):
            ended = aqr_exp(*typed.split(), before=limit(room))
            codes.append(ended.code)
            if ended.code == 0:
                assert ended.out == whole.out, (typed, room)
            else:
                assert b"damaged" not in ended.out + ended.err, (typed, room)
                assert ended.code == 2, (typed, room)
                assert b"oo many open files" in ended.err, (typed, room)
        assert codes == sorted(codes, reverse=True), "what is enough once is enough"
        assert codes[-1] == 0


@pytest.mark.usefixtures("here")
def test_a_run_that_was_refused_goes_on_when_there_is_room(
    disk: Path, fake: Callable[[str], None]
) -> None:
    fake(COMPLETES)

    def full() -> Any:
        filler = fill(disk)
        first = aqr_exp("run", "baseline")
        filler.unlink()
        return first, aqr_exp("run", "baseline"), names(disk)

    first, second, left = on_a_disk(disk, "300m", full)
    assert first.code == 2
    assert second.code == 0
    assert not [name for name in left if name.endswith(".tmp")]
