"""Editions of an idea: an edit makes another run, and old numbers keep the code that made them."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_training import COMPLETES
from ideas_at_hand import GAIN, forget_ideas, write_idea

from aqr_exp.cli.main import main
from aqr_exp.config.identity import from_spec, run_name
from aqr_exp.config.inputs import with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store

Out = pytest.CaptureFixture[str]
HELPER = "import torch\nimport norm\n\nFLOOR = 0.5\n"


@pytest.fixture(autouse=True)
def known(data: Path, fake: Callable[[str], None]) -> Iterator[Path]:
    """The idea `my_gain` with a helper that imports another, and trainings that need no torch."""
    fake(COMPLETES)
    forget_ideas()
    write_idea("_floor", HELPER)
    write_idea("norm", "EPSILON = 1e-6\n")
    yield write_idea("my_gain", GAIN.replace("import torch\n", "import torch\nimport _floor\n"))
    forget_ideas()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    forget_ideas()
    for name in ("_floor", "norm"):
        sys.modules.pop(name, None)


def name_of(*typed: str) -> str:
    return run_name(with_data_identity(load_run("my_gain", typed)))


def said(capsys: Out, *arguments: str, code: int = 0) -> list[str]:
    capsys.readouterr()
    assert main(list(arguments)) == code
    return capsys.readouterr().err.splitlines()


def test_comments_keep_the_identity_and_every_number_changes_it(known: Path) -> None:
    first = name_of()
    baseline = run_name(with_data_identity(load_run("baseline")))
    edit(known, "self.gain =", "# one number a sensor\n        self.gain =")
    edit(known, '"""Settings.\n', '"""What is learned.\n')
    edit(known.with_name("_floor.py"), "0.5", "0.50  # half")
    assert name_of() == first
    edit(known, "(2,)", "(3,)")
    second = name_of()
    edit(known.with_name("_floor.py"), "0.50", "0.51")
    third = name_of()
    edit(known.with_name("norm.py"), "1e-6", "1e-7")
    assert len({first, second, third, name_of()}) == 4
    assert run_name(with_data_identity(load_run("baseline"))) == baseline
    config = load_run("my_gain")
    assert config.sources is not None
    assert load_run("baseline").sources is None


def test_the_same_idea_in_another_folder_is_the_same(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = name_of()
    shutil.move(known.parent, tmp_path / "shared ideas")
    monkeypatch.setenv("AQR_EXP_PATH", str(tmp_path / "shared ideas"))
    forget_ideas()
    assert name_of() == first


def test_an_edit_trains_anew_and_says_what_changed(
    known: Path, store: Store, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(configs: object, *, memory: bool) -> None:
        raise AqrExpError("not estimated")

    monkeypatch.setattr("aqr_exp.cli.run.outline_of", unknown)
    assert not [line for line in said(capsys, "run", "my_gain") if "changed" in line]
    edit(known, "(2,), settings.start", "(2,), 2 * settings.start")
    edit(known.with_name("_floor.py"), "FLOOR = 0.5\n", "FLOOR = 0.5\nCEILING = 2.0\n")
    line = (
        "_floor.py, my_gain.py changed since s0 (+2 -1 lines): my_gain trains anew; "
        "the old run is kept"
    )
    assert line in said(capsys, "run", "my_gain", "--dry-run")
    assert line in said(capsys, "run", "my_gain")
    first, second = store
    assert first.read_state().status == second.read_state().status == "completed"
    assert not [line for line in said(capsys, "run", "my_gain") if "anew;" in line]
    assert not [
        line for line in said(capsys, "run", "my_gain", "variant.start=2") if "anew;" in line
    ]


def test_a_sweep_says_it_once_for_each_arm(known: Path, capsys: Out) -> None:
    sweep = ["sweep", "my_gain", "variant.start=1,2", "seed=0,1", "--no-preflight"]
    said(capsys, *sweep)
    edit(known, "(2,)", "(3,)")
    changed = [line for line in said(capsys, *sweep, "--dry-run") if "changed since" in line]
    assert len(changed) == 2
    assert {line.split(":")[0] for line in changed} == {"my_gain.py changed since s1 (+1 -1 lines)"}


def test_tables_and_lists_tell_two_editions_apart(known: Path, store: Store, capsys: Out) -> None:
    said(capsys, "run", "my_gain")
    capsys.readouterr()
    assert main(["list"]) == 0
    assert "edition" not in capsys.readouterr().out
    edit(known, "(2,)", "(3,)")
    said(capsys, "run", "my_gain")
    marks = [folder.read_record()["sources"]["digest"][:4] for folder in store]
    assert len(set(marks)) == 2
    capsys.readouterr()
    for arguments in (["list"], ["table"]):
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert all(f"edition {mark}" in shown for mark in marks)
    one, other = (folder.name for folder in store)
    assert main(["why", one, other]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("different runs, by 1 key: ")
    before = "        self.gain = nn.Parameter(torch.full((2,), settings.start))"
    both = {before, before.replace("(2,)", "(3,)")}
    assert {line[1:] for line in shown if line[:1] in "+-" and line[1:2] == " "} == both


def test_sources_lie_with_the_run_and_are_written_out_again(
    known: Path, store: Store, capsys: Out, tmp_path: Path
) -> None:
    said(capsys, "run", "my_gain")
    (folder,) = store
    kept = {path.name: path.read_bytes() for path in known.parent.iterdir() if path.is_file()}
    assert folder.read_sources() == kept
    edit(known, "(2,)", "(3,)")
    target = tmp_path / "old"
    said(capsys, "show", folder.name, "--sources", str(target))
    assert {path.name: path.read_bytes() for path in target.iterdir()} == kept
    (line,) = said(capsys, "show", folder.name, "--sources", str(target), code=2)
    assert line == f"aqr-exp: --sources={target}: is there already: name a new folder"
    said(capsys, "run", "baseline")
    baseline = next(each for each in store if each.name.startswith("baseline"))
    (line,) = said(capsys, "show", baseline.name, "--sources", str(tmp_path / "none"), code=2)
    assert line == f"aqr-exp: {baseline.name} is of no idea: it has no sources of its own"
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("damage", ["changed", "missing", "linked", "outside", "linked folder"])
def test_damaged_sources_are_named_by_verify_and_not_written_out(
    known: Path, store: Store, capsys: Out, tmp_path: Path, damage: str
) -> None:
    said(capsys, "run", "my_gain")
    (folder,) = store
    path = folder.sources_dir / "norm.py"
    if damage == "changed":
        path.write_text("EPSILON = 1e-5\n")
    elif damage == "outside":
        record = folder.read_record()
        record["sources"]["files"]["../spec.yaml"] = "0" * 64
        folder.write_json(folder.record_path, record)
    elif damage == "linked folder":
        folder.sources_dir.rename(tmp_path / "elsewhere")
        folder.sources_dir.symlink_to(tmp_path / "elsewhere")
    else:
        path.unlink()
        if damage == "linked":
            path.symlink_to(known)
    (line,) = said(capsys, "show", folder.name, "--sources", str(tmp_path / "old"), code=1)
    where = {"outside": folder.record_path, "linked folder": folder.sources_dir}.get(damage, path)
    assert line.startswith(f"aqr-exp: {where} is ")
    assert not (tmp_path / "old").exists()
    capsys.readouterr()
    assert main(["show", folder.name, "--json"]) == 0
    (fault,) = json.loads(capsys.readouterr().out)["integrity"]["faults"]
    assert fault == line.removeprefix("aqr-exp: ")


def test_too_large_sources_are_refused_before_anything_is_made(
    known: Path, store: Store, capsys: Out
) -> None:
    for name in ("_floor", "norm"):
        with known.with_name(f"{name}.py").open("a") as file:
            file.write("#" * 600_000)
    (line,) = said(capsys, "run", "my_gain", code=2)
    assert line.startswith("aqr-exp: ideas/my_gain.py: it and what it imports have 1,2")
    assert line.endswith(" bytes: at most 1,048,576 are stored with a run")
    assert not store.runs_dir.exists()


def test_a_run_goes_on_only_with_the_sources_it_was_made_of(
    known: Path, store: Store, capsys: Out
) -> None:
    said(capsys, "run", "my_gain")
    (folder,) = store
    folder.write_state("cancelled")
    edit(known, "(2,)", "(3,)")
    (line,) = said(capsys, "resume", folder.name, code=2)
    hint = "(`aqr-exp show RUN --sources FOLDER` writes that out)"
    assert line == f"aqr-exp: ideas/my_gain.py: is not what the run was made of {hint}"
    load_run("my_gain")
    with pytest.raises(RequestError, match="is not what the run was made of"):
        with_data_identity(from_spec(folder.read_spec()))
    assert "not what the run was made of" not in " ".join(said(capsys, "list"))


def test_sources_cannot_be_typed(known: Path, capsys: Out) -> None:
    (line,) = said(capsys, "config", "my_gain", "sources=abc", code=2)
    assert line == "aqr-exp: 'sources' cannot be set: it is computed from the idea's files"


def test_nothing_of_a_run_is_imported(known: Path, store: Store, capsys: Out) -> None:
    said(capsys, "run", "my_gain")
    (folder,) = store
    shutil.rmtree(known.parent)
    forget_ideas()
    for arguments in (["list"], ["table"], ["show", folder.name]):
        said(capsys, *arguments)
    assert isinstance(folder, RunFolder)
    assert folder.read_sources().keys() == {"my_gain.py", "_floor.py", "norm.py"}
