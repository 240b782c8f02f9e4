"""Files that others made: nothing in them runs, and a wrong one is named by its real kind."""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.arrays import read_arrays, unpack_arrays
from aqr_exp.files.foreign import checkpoint_fault, read_pickle


class Trap:
    """Makes a folder wherever its pickle is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


ARRAYS = {
    "floats": np.arange(6.0).reshape(2, 3),
    "by column": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "names": np.array(["car", "bus"]),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 7)),
    "big-endian": np.arange(3, dtype=">i4"),
    "scalar": np.float32(2.5),
    "count": np.int64(3),
    "flag": np.bool_(True),
    "bytes": b"\xff",
    "plain": [(1, None), {"a": 1.5}],
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_and_numbers_become_plain_values(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(ARRAYS, protocol))
    assert read_pickle(path) == {
        "floats": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
        "by column": [[0, 1, 2], [3, 4, 5]],
        "names": ["car", "bus"],
        "flags": [True, False],
        "none": [],
        "big-endian": [0, 1, 2],
        "scalar": 2.5,
        "count": 3,
        "flag": True,
        "bytes": b"\xff",
        "plain": [(1, None), {"a": 1.5}],
    }


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


DTYPE = _global("numpy", "dtype") + b"(X\x02\0\0\0f8tR"
EMPTY = (
    _global("numpy.core.multiarray", "_reconstruct") + b"(" + _global("numpy", "ndarray") + b"tR"
)
# A pickle, and what is said of it. None of them may take memory or time beyond its own size.
HOSTILE = {
    "function": (pickle.dumps(print), "holds 'builtins.print', which is no data"),
    "escape": (b"\x80\x04c\x1b[31mx\ny\n.", r"holds '\x1b[31mx.y', which is no data"),
    "ndarray called": (
        b"\x80\x04" + _global("numpy", "ndarray") + b"((I9999999999\nttR.",
        "TypeError",
    ),
    "objects": (pickle.dumps(np.array([{}])), "holds an array of 'O8', not of numbers"),
    "dtype of records": (
        pickle.dumps(np.zeros(2, "f8,i4")),
        "holds an array of 'V12', not of numbers",
    ),
    "memo": (b"\x80\x04}r\xff\xff\xff\xff.", "MemoryError"),
    "memo in text": (b"\x80\x04}p99999999999\n.", "MemoryError"),
    "long bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".", ""),
    "frame": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b".", ""),
    "wide nothing": (
        b"\x80\x04" + EMPTY + b"(K\x01(I999999999\nK\0t" + DTYPE + b"\x89C\0tb.",
        "MemoryError",
    ),
    "no bytes": (
        b"\x80\x04" + EMPTY + b"(K\x01(K\x09t" + DTYPE + b"\x89C\x0812345678tb.",
        "ValueError",
    ),
    "changed maker": (b"\x80\x04" + _global("numpy", "dtype") + b"N}X\x01\0\0\0aK\x01s\x86b.", ""),
    "persistent": (b"\x80\x04K\x01Q.", ""),
    "extension": (b"\x80\x04\x82\x01.", ""),
    "cut": (pickle.dumps(list(range(300)))[:-40], "its end is missing"),
    "protocol 0": (b"(lp0\n\x01.", "no pickle"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_one_line(name: str, tmp_path: Path) -> None:
    content, said = HOSTILE[name]
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(RequestError) as caught:
        read_pickle(path)
    line = str(caught.value).removeprefix(f"{path} is ")
    assert said in line
    assert line.isprintable()
    assert len(line) < 130


def test_a_planted_call_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    for protocol in range(6):
        path.write_bytes(pickle.dumps(Trap(tmp_path / "executed"), protocol))
        with pytest.raises(
            RequestError, match=r"holds 'posix.mkdir', which is no data|is no pickle|text"
        ):
            read_pickle(path)
        assert checkpoint_fault(path)
    assert not (tmp_path / "executed").exists()


def zipped(compression: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


# What lies in the place of a file, and its real kind; a text stands for pickles and checkpoints alike.
DISGUISES = {
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7\nsize 1\n",
        "a Git LFS pointer",
    ),
    "page": (b"\n<!DOCTYPE html>\n<html><body>404", "is a web page"),
    "denied": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
    "empty": (b"", "is empty"),
    "zeros": (b"\0" * 4096, "holds nothing but zeros"),
    "json": (b'{"message": "Not Found"}\n', "is a text file"),
    "gzip": (b"\x1f\x8b\x08\0\0\0\0\0", "is compressed with gzip"),
    "safetensors": (struct.pack("<Q", 60) + b'{"a":{"dtype":"F32"', "is a safetensors file"),
    "tar": (b"name".ljust(100, b"\0").ljust(257, b"0") + b"ustar\x0000", "is a tar archive"),
    "hdf5": (b"\x89HDF\r\n\x1a\n\0", "is an HDF5 file"),
    "npy": (b"\x93NUMPY\x01\0", "is a NumPy array"),
}


@pytest.mark.parametrize("name", DISGUISES)
def test_the_real_kind_of_a_file_is_said(name: str, tmp_path: Path) -> None:
    content, said = DISGUISES[name]
    path = tmp_path / "file"
    path.write_bytes(content)
    assert said in (checkpoint_fault(path) or "")
    with pytest.raises(RequestError, match=said):
        read_pickle(path)


def test_what_is_no_file_is_said_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert checkpoint_fault(tmp_path / "fifo") == "is a FIFO, not a file"
    assert checkpoint_fault(tmp_path) == "is a folder, not a file"
    with pytest.raises(RequestError, match="fifo is a FIFO, not a file"):
        read_pickle(tmp_path / "fifo")
    with pytest.raises(RequestError, match="gone is missing"):
        read_pickle(tmp_path / "gone")


ARCHIVES = {
    "of pictures": (zipped(**{"a.png": b"1"}), "is some other archive, not a checkpoint"),
    "cut": (
        zipped(**{"a/data.pkl": pickle.dumps({"a": 1})})[:-30],
        "its end is missing or damaged",
    ),
    "compressed": (
        zipped(8, **{"a/data.pkl": b"\0" * 10**6}),
        "is some other archive, not a checkpoint",
    ),
    "of a number": (zipped(**{"a/data.pkl": pickle.dumps(3)}), "holds no state dict"),
    "of a call": (
        zipped(**{"a/data.pkl": b"\x80\x02cposix\nsystem\n(X\x02\0\0\0:;tR."}),
        "holds 'posix.system', which is no data",
    ),
    "of nothing": (zipped(**{"a/data.pkl": b""}), "is damaged: EOFError"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_what_an_archive_is_instead_of_a_checkpoint(name: str, tmp_path: Path) -> None:
    content, said = ARCHIVES[name]
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert said in (checkpoint_fault(path) or "")


def test_arrays_of_objects_or_compressed_ones_are_refused(tmp_path: Path) -> None:
    import hashlib

    file = io.BytesIO()
    np.savez(file, header=np.array([Trap(tmp_path / "executed")], dtype=object))
    compressed = io.BytesIO()
    np.savez_compressed(compressed, header=np.zeros(10**6))
    for archive in (
        file.getvalue(),
        compressed.getvalue(),
        file.getvalue()[:40],
        b"",
        b"PK\x05\x06",
    ):
        with pytest.raises(ValueError, match=r"."):
            unpack_arrays(archive)
        path = tmp_path / "records.npz"
        path.write_bytes(archive + hashlib.sha256(archive).digest())
        with pytest.raises(AqrExpError, match="is damaged: it holds no named arrays"):
            read_arrays(path, "match records, form 1")
    assert not (tmp_path / "executed").exists()
