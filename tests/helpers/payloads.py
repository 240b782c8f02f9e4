"""Contents that make a folder wherever a reader executes them, for each kind of file."""

import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


class Call:
    """Makes a folder when its pickle is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def payload(target: Path, path: Path) -> bytes:
    """What would make the folder `target` if a file of the path's kind were executed."""
    call = pickle.dumps(Call(target), 2)
    array = np.array([Call(target)], dtype=object)
    file = io.BytesIO()
    if path.suffix in {".yaml", ".yml"}:
        return f"!!python/object/apply:os.mkdir ['{target}']\n".encode()
    if path.suffix == ".npy":
        np.save(file, array)
    elif path.suffix == ".npz":
        np.savez(file, header=array, objects=array, patches=array, frames=array)
        return file.getvalue() + hashlib.sha256(file.getvalue()).digest()
    elif path.suffix == ".pth":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a/data.pkl", call)
            archive.writestr("a/version", "3\n")
    else:
        # Where a digest stands before or behind the content, it fits.
        return hashlib.sha256(call).digest() + call if path.suffix == ".msgpack" else call
    return file.getvalue()


def plant(path: Path, target: Path) -> bytes:
    """Put a payload in the place of a file, which may be linked elsewhere; returns what it held."""
    before = path.read_bytes() if path.exists() else b""
    path.unlink(missing_ok=True)
    path.write_bytes(payload(target, path))
    return before
