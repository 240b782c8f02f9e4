"""Completed runs that other code made: every command that takes them as done says so in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_training import COMPLETES, FAILS

from aqr_exp.cli.main import main
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store

HEAD, ERRORS = "aqr_exp/cmt/head.py", "aqr_exp/errors.py"


def change(folder: RunFolder, **code: Any) -> None:
    """Let a run have been made by other code."""
    record = folder.read_record()
    folder.write_json(folder.record_path, record | {"code": record["code"] | code})


def change_modules(folder: RunFolder, *names: str) -> None:
    modules = folder.read_record()["code"]["modules"]
    assert set(names) <= modules.keys()
    change(folder, modules=modules | dict.fromkeys(names, "0" * 12))


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The lines on stderr that speak of code."""
    capsys.readouterr()
    assert main(list(arguments)) == 0
    marks = (".py", "code", "revision")
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if any(mark in line for mark in marks)]


def test_run_names_what_changed_since(
    data: Path, store: Store, fake: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fake(COMPLETES)
    assert main(["run", "baseline"]) == 0
    (folder,) = store
    change(folder, revision="b" * 40)
    assert said(capsys, "run", "baseline") == []
    change_modules(folder, HEAD)
    (line,) = said(capsys, "run", "baseline")
    anew = "--force trains it anew beside this one"
    assert line == f"{folder.name} is complete already; cmt/head.py changed since: {anew}"
    assert main(["run", "baseline", "--force"]) == 0
    assert said(capsys, "run", "baseline") == []


def test_a_run_of_an_older_version_is_known_by_its_revision(
    data: Path, store: Store, fake: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fake(COMPLETES)
    assert main(["run", "baseline"]) == 0
    (folder,) = store
    code = folder.read_record()["code"]
    change(folder, modules={})
    assert said(capsys, "run", "baseline") == []
    change(folder, revision="b" * 40, dirty=False)
    now = code["revision"][:12]
    (line,) = said(capsys, "run", "baseline")
    assert f"; the revision ({'b' * 12}, now {now}" in line


def test_a_sweep_says_it_in_one_line(
    data: Path, store: Store, fake: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fake(COMPLETES)
    sweep = ["sweep", "baseline", "seed=0,1,2", "--name", "mine", "--no-preflight"]
    assert main(sweep) == 0
    assert said(capsys, *sweep) == []
    first, second, _ = store
    change_modules(first, HEAD)
    change_modules(second, HEAD, ERRORS)
    line = (
        "mine: 2 of 3 complete runs were made by other code (cmt/head.py, errors.py): "
        "`aqr-exp run VARIANT ... --force` trains one anew"
    )
    assert said(capsys, *sweep) == [line]
    assert said(capsys, *sweep, "--dry-run") == [line]


def test_retry_says_which_runs_go_on_with_other_code(
    data: Path, store: Store, fake: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fake(FAILS)
    assert main(["run", "baseline"]) == 1
    (folder,) = store
    change_modules(folder, HEAD)
    fake(COMPLETES)
    (folder.checkpoints_dir / "epoch_1.pth").write_bytes(b"weights")
    (line,) = said(capsys, "retry", folder.name)
    assert line.startswith(
        "retry: 1 of 1 runs began with other code (cmt/head.py): they go on with this"
    )
