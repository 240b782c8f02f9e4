"""Damages to the objects that were cut out; each gives exactly its one line."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aqr_exp.data.checks.derived import made_faults

FOLDER = "aqr_infos/synth_train.objects"


@pytest.fixture
def copy(prepared_root: Path, tmp_path: Path) -> Path:
    """A copy that shares the bytes of what is not changed: a changed file is written anew."""
    root = tmp_path / "a copy; it's"
    shutil.copytree(prepared_root / "aqr_infos", root / "aqr_infos", copy_function=os.link)
    return root


def rewrite(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def interrupted(folder: Path) -> tuple[str, str]:
    (folder / "index.json").unlink()
    return "/index.json", "missing: the objects were not cut out to the end"


def other_arrays(folder: Path) -> tuple[str, str]:
    path = folder / "frames.npy"
    path.unlink()
    np.save(path, np.zeros(3))
    return "", "frames.npy is damaged: it does not fit index.json"


def cut_pack(folder: Path) -> tuple[str, str]:
    path = folder / "00001.pack"
    content = path.read_bytes()
    rewrite(path, content[:-1])
    return "/00001.pack", f"has {len(content) - 1} bytes, its objects need {len(content)}"


def lost_pack(folder: Path) -> tuple[str, str]:
    (folder / "00000.pack").unlink()
    return "/00000.pack", "missing"


def foreign_patches(folder: Path) -> tuple[str, str]:
    path = folder / "objects.npy"
    objects = np.load(path)
    objects["first_patch"][-1] = 2**30
    path.unlink()
    np.save(path, objects)
    return "/objects.npy", "names patches that there are not"


def of_other_data(folder: Path) -> tuple[str, str]:
    path = folder.with_name("synth_train.pkl")
    rewrite(path, path.read_bytes() + b" ")
    return "/index.json", "cut out of other data than synth_train.pkl names"


@pytest.mark.parametrize(
    "plant",
    [interrupted, other_arrays, of_other_data, cut_pack, lost_pack, foreign_patches],
)
def test_each_damage_is_one_line(copy: Path, plant: Callable[[Path], tuple[str, str]]) -> None:
    file, cause = plant(copy / FOLDER)
    (fault,) = made_faults(copy, "synth_train")
    assert fault.file == FOLDER + file
    assert fault.cause == f"{cause}: run `aqr-exp data prepare`"


def test_whole_objects_and_none_are_sound(copy: Path) -> None:
    assert list(made_faults(copy, "synth_train")) == []
    assert list(made_faults(copy, "synth_val")) == []
