from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_data import write_identity


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The identity of a synthetic data set, and nothing else of it."""
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path / "data sets"))
    return write_identity(tmp_path / "data sets" / "synth")


@pytest.fixture
def sweep_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a sweep file with a hostile name."""

    def write(text: str) -> Path:
        path = tmp_path / "my 'sweep'; echo.yaml"
        path.write_text(text)
        return path

    return write
