import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aqr_exp.errors import RequestError
from aqr_exp.store.store import Store, results_root


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "results; echo")
    for name in ("baseline-aa-s0", "baseline-aa-s1", "baseline-bb-s0"):
        made.folder(name).create("", {})
    return made


def test_lists_runs_and_nothing_else(store: Store) -> None:
    (store.runs_dir / "notes").mkdir()
    (store.runs_dir / ".baseline.tmp").mkdir()
    (store.runs_dir / "a file").write_text("junk")
    assert store.names() == ["baseline-aa-s0", "baseline-aa-s1", "baseline-bb-s0"]
    assert [folder.name for folder in store] == store.names()


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert store.names() == []
    with pytest.raises(RequestError, match="unknown run 'x': there are no runs in"):
        store.find("x")


def test_finds_by_name_and_by_unambiguous_beginning(store: Store) -> None:
    assert store.find("baseline-aa-s1").name == "baseline-aa-s1"
    assert store.find("baseline-b").name == "baseline-bb-s0"
    with pytest.raises(RequestError) as caught:
        store.find("baseline-a")
    assert str(caught.value) == (
        "'baseline-a' begins the names of 2 runs: baseline-aa-s0, baseline-aa-s1"
    )


@pytest.mark.parametrize("name", ["baselin-aa-s0", "basline-aa-s0"])
def test_an_unknown_run_is_named_with_the_nearest(store: Store, name: str) -> None:
    with pytest.raises(RequestError) as caught:
        store.find(name)
    assert str(caught.value) == (
        f"unknown run '{name}': did you mean 'baseline-aa-s0'? (see `aqr-exp list`)"
    )


def test_a_run_or_a_sweep_is_found_under_one_name(store: Store, tmp_path: Path) -> None:
    sweep = store.sweep("smoke")
    sweep.path.mkdir(parents=True)
    sweep.plan_path.write_text("")
    assert store.find_run_or_sweep("smoke").path == sweep.path
    assert store.find_run_or_sweep("baseline-b").path == store.folder("baseline-bb-s0").path
    with pytest.raises(RequestError) as caught:
        store.find_run_or_sweep("smok")
    assert str(caught.value) == (
        "unknown run or sweep 'smok': did you mean 'smoke'? (see `aqr-exp list` and `aqr-exp watch`)"
    )


@pytest.mark.parametrize("name", ["", "..", "/", "../runs"])
def test_nothing_outside_is_found(store: Store, name: str) -> None:
    with pytest.raises(RequestError, match="unknown run"):
        store.find(name)


def test_reruns_are_ordered_by_number(store: Store) -> None:
    assert store.next_rerun("baseline-aa-s0") == "baseline-aa-s0-a2"
    store.folder("baseline-aa-s0-a2").create("", {})
    store.folder("baseline-aa-s0-a10").create("", {})
    found = [folder.name for folder in store.reruns("baseline-aa-s0")]
    assert found == ["baseline-aa-s0", "baseline-aa-s0-a2", "baseline-aa-s0-a10"]
    assert store.next_rerun("baseline-aa-s0") == "baseline-aa-s0-a11"


def test_the_results_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AQR_EXP_RESULTS", raising=False)
    assert results_root() == tmp_path / "results"
    monkeypatch.setenv("AQR_EXP_RESULTS", "else where")
    assert results_root() == tmp_path / "else where"


def test_the_draft_of_a_run_whose_maker_was_killed_goes_with_the_next_run(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from aqr_exp.store.store import Store

folder = Store(Path({os.fspath(tmp_path)!r})).folder("baseline-0123456789ab-s0")
Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
folder.create("seed: 0", {{}})
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    store = Store(tmp_path)
    (draft,) = store.runs_dir.iterdir()
    assert draft.name.startswith(".baseline-0123456789ab-s0.")
    assert store.names() == []
    store.folder("baseline-0123456789ab-s1").create("seed: 1", {})
    assert [path.name for path in store.runs_dir.iterdir()] == ["baseline-0123456789ab-s1"]
