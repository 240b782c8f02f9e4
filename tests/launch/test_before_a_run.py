import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest
from in_a_child import make_read_only, on_a_disk

from aqr_exp.config.identity import fingerprint
from aqr_exp.config.load import load_run
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.launch import preflight
from aqr_exp.launch import preflight as requirements
from aqr_exp.launch.record import build_record, code_revision
from aqr_exp.launch.single_run import plan_run
from aqr_exp.store.lease import LockHeldError
from aqr_exp.store.store import Store

NAME = "baseline-aa-s0"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def make(store: Store, name: str, status: str) -> None:
    store.folder(name).create("", {})
    if status == "completed":
        store.folder(name).write_metrics({"mAP": 0.5})
    store.folder(name).write_state(status)


def test_a_new_run_starts(store: Store) -> None:
    plan = plan_run(store, NAME, force=False)
    assert (plan.previous, plan.folder.name, plan.attempt) == (None, NAME, 1)
    assert plan_run(store, NAME, force=True).folder.name == NAME
    assert not store.root.exists()


def test_a_completed_run_is_shown(store: Store) -> None:
    make(store, NAME, "completed")
    assert plan_run(store, NAME, force=False).previous == "completed"


@pytest.mark.parametrize(
    ("status", "previous"),
    [("failed", "failed"), ("cancelled", "cancelled"), ("running", "interrupted")],
)
def test_a_run_that_did_not_complete_starts_again(store: Store, status: str, previous: str) -> None:
    make(store, NAME, status)
    plan = plan_run(store, NAME, force=False)
    assert (plan.attempt, plan.previous) == (2, previous)


def test_force_starts_beside(store: Store) -> None:
    make(store, NAME, "completed")
    plan = plan_run(store, NAME, force=True)
    assert (plan.previous, plan.folder.name) == (None, f"{NAME}-a2")
    make(store, f"{NAME}-a2", "failed")
    # The first is complete: nothing has to run again.
    assert plan_run(store, NAME, force=False).folder.name == NAME


def test_the_newest_unfinished_attempt_starts_again(store: Store) -> None:
    make(store, NAME, "failed")
    make(store, f"{NAME}-a2", "failed")
    assert plan_run(store, NAME, force=False).folder.name == f"{NAME}-a2"


def test_a_run_somebody_works_on_is_left_alone(store: Store) -> None:
    make(store, NAME, "running")
    with (
        store.folder(NAME).lock(),
        pytest.raises(LockHeldError, match=f"{NAME} is worked on by process "),
    ):
        plan_run(store, NAME, force=False)


def test_a_run_nobody_can_tell_about_says_how_to_take_it(store: Store) -> None:
    make(store, NAME, "running")
    with store.folder(NAME).lock() as lease:
        lease.file.write_text("{")
        with pytest.raises(LockHeldError, match=f"once you know it is dead: .* {NAME} --steal"):
            plan_run(store, NAME, force=False)


def test_a_damaged_state_says_what_to_do(store: Store) -> None:
    make(store, NAME, "completed")
    store.folder(NAME).state_path.write_text("{")
    with pytest.raises(AqrExpError, match=r"state\.json is damaged: .*\(--force starts the run"):
        plan_run(store, NAME, force=False)


def test_missing_packages_are_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = [item for item in requirements.REQUIREMENTS if item.module in {"torch", "mmdet3d"}]
    monkeypatch.setattr(requirements, "missing_for_training", lambda: missing)
    with pytest.raises(RequestError) as caught:
        preflight.check_ready(load_run("baseline"), tmp_path)
    assert str(caught.value) == (
        "training needs torch, mmdet3d: make setup (or pip install 'aqr-exp[train]') "
        "(see `aqr-exp doctor`)"
    )


def test_a_full_disk_is_named_with_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(requirements, "missing_for_training", list)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 199_999_999))
    results = tmp_path / "not yet" / "there"
    with pytest.raises(RequestError) as caught:
        preflight.check_ready(load_run("baseline"), results)
    assert str(caught.value) == (
        f"the disk of {results} has 199 MB left: a run needs 200 MB "
        "(AQR_EXP_RESULTS names another folder)"
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 200_000_000))
    preflight.check_ready(load_run("baseline"), results)


def test_a_disk_that_may_only_be_read_is_named_before_a_run_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "missing_for_training", list)

    def refused() -> list[str]:
        assert preflight.system_faults(tmp_path / "results") == []
        make_read_only(tmp_path)
        with pytest.raises(RequestError) as caught:
            preflight.check_ready(load_run("baseline"), tmp_path / "results")
        return str(caught.value).splitlines()

    (line,) = on_a_disk(tmp_path, "300m", refused)
    assert line == f"{tmp_path}: read-only file system (name a folder that can be written)"


def test_no_folder_for_temporary_files_is_named_before_a_run_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "absent")])
    (fault,) = preflight.system_faults(tmp_path)
    assert str(fault) == (
        f"No usable temporary directory found in ['{tmp_path}/absent'] (TMPDIR names another)"
    )


def test_a_module_that_is_not_there_is_missing() -> None:
    absent = requirements.Requirement(
        distribution="aqr-no-such", module="aqr_no_such.part", purpose=""
    )
    assert not absent.installed
    assert absent.version is None
    assert requirements.installed_versions()["numpy"].count(".") == 2


def test_the_record_says_what_ran() -> None:
    config = load_run("baseline", ["seed=4"])
    record = build_record(config, overrides=["seed=4"], argv=["aqr-exp", "run"])
    assert record["fingerprint"] == fingerprint(config)
    assert record["name"] == f"baseline-{fingerprint(config)}-s4"
    assert (record["variant"], record["seed"], record["preset"]) == ("baseline", 4, "quick")
    assert record["overrides"] == ["seed=4"]
    assert record["versions"]["numpy"]
    assert record["created"].endswith("+00:00")
    json.dumps(record, allow_nan=False)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def test_the_code_is_known_by_revision_and_difference(tmp_path: Path) -> None:
    assert code_revision(tmp_path) == {}
    git(tmp_path, "init")
    (tmp_path / "a.py").write_text("1\n")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "first")
    clean = code_revision(tmp_path)
    assert len(clean["revision"]) == 40
    assert (clean["dirty"], clean["difference_sha256"]) == (False, None)
    (tmp_path / "a.py").write_text("2\n")
    dirty = code_revision(tmp_path)
    assert dirty["dirty"]
    assert dirty["revision"] == clean["revision"]
    (tmp_path / "a.py").write_text("3\n")
    other = code_revision(tmp_path)
    assert other["difference_sha256"] != dirty["difference_sha256"]


def test_a_folder_for_temporary_files_with_too_long_a_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "missing_for_training", list)
    longest = "/" + "t" * (preflight.LONGEST_TMPDIR - 1)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: longest)
    preflight.check_ready(load_run("baseline"), tmp_path)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: f"{longest}t")
    with pytest.raises(
        RequestError, match=rf"temporary files, {longest}t, has a name of more than"
    ):
        preflight.check_ready(load_run("baseline"), tmp_path)
    preflight.check_ready(load_run("baseline", ["launcher.loader_workers=0"]), tmp_path)


@pytest.mark.parametrize(("beyond", "error"), [(0, None), (1, "AF_UNIX path too long")])
def test_that_length_is_where_sockets_of_loader_workers_end(beyond: int, error: str | None) -> None:
    with tempfile.TemporaryDirectory() as short:
        name = "t" * (preflight.LONGEST_TMPDIR + beyond - len(short) - 1)
        (Path(short) / name).mkdir()
        program = "from multiprocessing.connection import Listener; Listener(family='AF_UNIX')"
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "TMPDIR": f"{short}/{name}"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode == 0) == (error is None), done.stderr
    assert error is None or error in done.stderr
