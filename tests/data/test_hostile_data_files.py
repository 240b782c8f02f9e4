"""Pipes and files of no end in the place of a data set's files: named, not waited for, not read whole."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from aqr_exp.data.checks.files import bad_image, cut_image
from aqr_exp.data.checks.tables import RawTables
from aqr_exp.data.geometry import read_image, read_points
from aqr_exp.data.gt_database.store import FORM, GtDatabase, arrays_of
from aqr_exp.data.info_files import read_info_file
from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import replace_json
from aqr_exp.files.reading import read_json

PLANTS: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "huge": lambda path: os.truncate(path, 10 << 30) if path.write_bytes(b"\x80\x04") else None,
}
TOLD = {
    "FIFO": "it is a FIFO, not a file",
    "folder": "it is a folder, not a file",
    "device": "it is a device, not a file",
    "huge": "10737418240 bytes, at most ",
}


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    def hangs(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", PLANTS)
@pytest.mark.parametrize("read", [read_points, read_image, read_json])
def test_a_reader_names_it(tmp_path: Path, kind: str, read: Callable[[Path], object]) -> None:
    path = tmp_path / "file"
    PLANTS[kind](path)
    with pytest.raises(AqrExpError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path} is damaged: {TOLD[kind]}")


@pytest.mark.parametrize("kind", PLANTS)
def test_so_does_that_of_info_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "train.pkl"
    PLANTS[kind](path)
    with pytest.raises(AqrExpError) as caught:
        read_info_file(path)
    assert str(caught.value).startswith(f"{path} is ")
    assert TOLD[kind].removeprefix("it is ") in str(caught.value)


@pytest.mark.parametrize("kind", PLANTS)
def test_a_table_is_a_fault(tmp_path: Path, kind: str) -> None:
    (tmp_path / "v").mkdir()
    PLANTS[kind](tmp_path / "v" / "sample.json")
    faults = {fault.file: fault for fault in RawTables(tmp_path, "v").faults}
    found = faults.pop("v/sample.json")
    assert found.kind == "damaged table"
    assert found.cause.startswith(TOLD[kind])
    assert {fault.cause for fault in faults.values()} == {"the table is missing"}


@pytest.mark.parametrize("kind", ["FIFO", "device"])
def test_an_image_is_a_fault(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image.jpg"
    PLANTS[kind](path)
    with pytest.raises(OSError, match=TOLD[kind]):
        cut_image(path)


def test_an_image_of_no_end_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    PLANTS["huge"](path)
    found = bad_image(path, None)  # type: ignore[arg-type]
    assert found is not None
    assert TOLD["huge"] in found


@pytest.mark.parametrize("name", ["index.json", "objects.npy", "00000.pack"])
def test_objects_are_damaged(tmp_path: Path, name: str) -> None:
    for array, kind in arrays_of(6).items():
        np.save(tmp_path / f"{array}.npy", np.zeros(1, kind), allow_pickle=False)
    counts = dict.fromkeys(arrays_of(6), 1)
    replace_json(tmp_path / "index.json", {"form": FORM, **counts, "classes": {}})
    (tmp_path / "00000.pack").touch()
    assert len(GtDatabase(tmp_path).read(0, sweeps=0).points) == 0
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises((AqrExpError, OSError), match="it is a FIFO, not a file"):
        GtDatabase(tmp_path).read(0, sweeps=0)
