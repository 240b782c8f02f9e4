import json
from collections.abc import Callable
from pathlib import Path

import pytest

from aqr_exp.config.data_identity import identity_path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The identity of a synthetic data set, and nothing else of it."""
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path / "data sets"))
    path = identity_path(tmp_path / "data sets" / "synth")
    path.parent.mkdir(parents=True)
    identity = {
        "fingerprint": "0123456789abcdef",
        "version": "v1.0-synth",
        "splits": {"synth_train": 10, "synth_val": 4},
        "synthetic": True,
    }
    path.write_text(json.dumps(identity))
    return path


@pytest.fixture
def sweep_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a sweep file with a hostile name."""

    def write(text: str) -> Path:
        path = tmp_path / "my 'sweep'; echo.yaml"
        path.write_text(text)
        return path

    return write
