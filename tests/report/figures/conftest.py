from pathlib import Path

import pytest
from swept_store import MadeUpStore


@pytest.fixture
def made_up(tmp_path: Path) -> MadeUpStore:
    """An empty results folder with a hostile name."""
    return MadeUpStore(tmp_path / 'it\'s "here"; echo $HOME')
