"""The record of a run says which modules its training processes loaded, whatever changed between them."""

from pathlib import Path
from typing import Any

import pytest

from aqr_exp.config.load import load_run
from aqr_exp.config.sources import modules_of
from aqr_exp.config.variant_spec import variant_specs
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train.session import record_code

HEAD = "aqr_exp/cmt/head.py"


def recorded(folder: RunFolder) -> dict[str, str]:
    record_code(folder, load_run("baseline"))
    modules: dict[str, str] = folder.read_record()["code"]["modules"]
    return modules


@pytest.fixture
def now() -> dict[str, str]:
    return modules_of(variant_specs()["baseline"])


def made(path: Path, code: Any) -> RunFolder:
    folder = RunFolder(path / "run")
    folder.create("seed: 0\n", {"name": "run", "code": code})
    return folder


def test_code_that_changed_before_the_first_checkpoint_is_that_of_the_run(
    tmp_path: Path, now: dict[str, str]
) -> None:
    folder = made(tmp_path, {"revision": "a", "modules": {**now, HEAD: "0" * 12, "gone.py": "1"}})
    assert recorded(folder) == now
    assert folder.read_record()["code"]["revision"] == "a"


def test_a_run_that_continued_with_other_code_is_of_both_editions(
    tmp_path: Path, now: dict[str, str]
) -> None:
    folder = made(tmp_path, {"revision": "a", "modules": {**now, HEAD: "0" * 12}})
    (folder.checkpoints_dir / "epoch_1.pth").write_bytes(b"weights")
    both = {**now, HEAD: "+".join(sorted(("0" * 12, now[HEAD])))}
    assert recorded(folder) == both
    before = folder.record_path.read_bytes()
    assert recorded(folder) == both
    assert folder.record_path.read_bytes() == before


@pytest.mark.parametrize("code", [None, {"revision": "a"}])
def test_the_record_of_an_older_version_is_left_as_it_is(tmp_path: Path, code: Any) -> None:
    folder = made(tmp_path, code)
    before = folder.record_path.read_bytes()
    record_code(folder, load_run("baseline"))
    assert folder.record_path.read_bytes() == before
