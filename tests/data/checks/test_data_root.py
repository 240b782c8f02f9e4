"""Faults are planted one at a time into a copy of a sound data set; each gives exactly its one line."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted_faults import (
    FAULTS,
    VERSION,
    flat_box,
    missing_image,
    replaced_image,
    rewrite,
    rows,
)

from aqr_exp.cli.main import main
from aqr_exp.data.checks.data_root import check_root

EVERYTHING = None


@pytest.fixture
def copy(synth_root: Path, tmp_path: Path) -> Path:
    """A copy that shares the bytes of what is not changed: a changed file is written anew."""
    root = tmp_path / "a copy; it's"
    shutil.copytree(synth_root, root, copy_function=os.link)
    return root


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_each_planted_fault_is_one_line_that_names_file_and_cause(
    copy: Path, plant: Callable[[Path], tuple[str, str]], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    file, cause = plant(copy)
    report = check_root(copy, VERSION, EVERYTHING)
    assert [fault.file for fault in report.faults] == [file]
    found = report.faults[0].cause
    if plant is replaced_image:
        assert found.startswith("has ")
        assert found.endswith(cause)
    else:
        assert found == cause
    assert not (tmp_path / "executed").exists()


def test_a_sound_data_set_has_none_and_its_rows_are_counted(synth_root: Path) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}

    class Stage:
        def __init__(self, name: str) -> None:
            self.calls = seen.setdefault(name, [])

        def __enter__(self) -> Callable[[int, int], None]:
            return lambda done, total: self.calls.append((done, total))

        def __exit__(self, *_: object) -> None:
            pass

    report = check_root(synth_root, VERSION, EVERYTHING, Stage)
    assert report.faults == []
    assert report.skipped == []
    assert (report.counts["sample"], report.counts["CAM_BACK"], report.counts["scene"]) == (9, 9, 3)
    assert report.counts["sweeps"] == 18
    assert {name: calls[-1] for name, calls in seen.items()} == {
        "images": (54, 54),
        "clouds": (27, 27),
        "infos of synth_train": (6, 6),
        "infos of synth_val": (3, 3),
    }


def test_the_command_exits_with_1_and_prints_one_line_a_fault(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (first, second) = (missing_image(copy), flat_box(copy))
    assert main(["data", "check", "--root", str(copy)]) == 1
    printed = capsys.readouterr()
    lines = sorted(f"{file}: {cause}" for file, cause in (first, second))
    assert printed.out.splitlines() == lines
    assert printed.err.splitlines()[-1] == f"{copy}: v1.0-synth: 2 faults found"
    assert "not checked: info files" in printed.err

    assert main(["data", "check", "--root", str(copy), "--json", "--all"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert [(f["file"], f["kind"]) for f in value["faults"]] == sorted(
        [(first[0], "missing file"), (second[0], "annotation")]
    )
    assert value["counts"]["sample"] == 9


def test_many_faults_of_a_sort_are_counted_but_all_in_json(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = rows(copy, "sample_annotation")
    for row in content[:30]:
        row["size"] = [0.0, 1.0, 1.0]
    rewrite(copy / VERSION / "sample_annotation.json", json.dumps(content).encode())
    assert main(["data", "check", "--root", str(copy)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 10 more of the sort: annotation"
    assert main(["data", "check", "--root", str(copy), "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["faults"]) == 30


def test_a_folder_without_infos_is_checked_as_far_as_it_goes(copy: Path) -> None:
    shutil.rmtree(copy / "aqr_infos")
    report = check_root(copy, VERSION, EVERYTHING)
    assert report.faults == []
    (skipped,) = report.skipped
    assert skipped.startswith("info files (there are none yet")


def test_wrong_requests_are_one_line(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "--root", str(tmp_path / "nowhere")]) == 2
    expected = f"aqr-exp: --root {tmp_path / 'nowhere'}: there is no such folder\n"
    assert capsys.readouterr().err == expected
    assert main(["data", "check", "--root", str(copy), "--version", "v1.0-synt"]) == 2
    expected = (
        f"aqr-exp: --version v1.0-synt: {copy} holds no such version: did you mean 'v1.0-synth'? "
        "(there: v1.0-synth)\n"
    )
    assert capsys.readouterr().err == expected
    assert main(["data", "check", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(
        "say which version with --version (there are no nuScenes tables)\n"
    )
