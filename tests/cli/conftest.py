import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_training import FAKE_TRAINING
from made_up_data import write_identity

from aqr_exp.config.inputs import with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.store.store import Store, results_root


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with a hostile name, and data and results below it."""
    folder = tmp_path / 'it\'s "here"; echo $HOME'
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AQR_EXP_DATA", raising=False)
    monkeypatch.delenv("AQR_EXP_RESULTS", raising=False)
    return folder


@pytest.fixture
def data(place: Path) -> Path:
    """The identity of a synthetic data set where a run looks for it."""
    root = place / "data" / "synth"
    write_identity(root)
    return root


@pytest.fixture
def config(data: Path) -> RunConfig:
    return with_data_identity(load_run("baseline"))


@pytest.fixture
def store(place: Path) -> Store:
    return Store(results_root())


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a program that needs no torch in the training's place."""

    def replace(body: str) -> None:
        script = tmp_path / "fake training.py"
        script.write_text(FAKE_TRAINING + body)
        monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", json.dumps([sys.executable, str(script)]))

    return replace
