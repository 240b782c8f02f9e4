"""The data and the trained runs that end-to-end tests share, also between the processes of one session."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from workplace import Workplace

Trained = Callable[..., Path]


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder for the whole session: pytest-xdist gives each of its processes one below it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def _once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Let the first process that comes fill a folder; the others wait for it."""
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / ".done"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def data(shared) -> Path:
    """A tiny data set: 9 training and 3 validation keyframes."""

    def make(folder: Path) -> None:
        place = Workplace(folder / "maker", folder)
        sizes = ("--train-scenes", "3", "--val-scenes", "1", "--keyframes", "3")
        place.aqr_exp("data", "synth", *sizes)

    return _once(shared / "the data's", make)


@pytest.fixture(scope="session")
def trained(shared, data) -> Trained:
    """Returns the folder of a completed run of a variant with overrides; copy it to change it."""

    def run_of(variant: str, *overrides: str) -> Path:
        def make(folder: Path) -> None:
            Workplace(folder / "a b; echo 'x'", data).run_variant(variant, *overrides)

        key = hashlib.sha256(repr((variant, overrides)).encode()).hexdigest()[:12]
        folder = _once(shared / f"{variant}-{key}", make)
        (run,) = (folder / "a b; echo 'x'" / "results" / "runs").iterdir()
        return run

    return run_of


@pytest.fixture(scope="module")
def place_with(data, trained, tmp_path_factory) -> Callable[..., Workplace]:
    """Makes a place whose results hold copies of completed smoke runs of some variants."""

    def make(*variants: str) -> Workplace:
        place = Workplace(tmp_path_factory.mktemp("first") / "a b; echo 'x'", data)
        for run in map(trained, variants):
            shutil.copytree(run, place.folder / "results" / "runs" / run.name)
        return place

    return make
