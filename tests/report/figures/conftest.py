from pathlib import Path

import pytest
from made_up_runs import MadeUpStore


@pytest.fixture
def made_up(tmp_path: Path) -> MadeUpStore:
    """An empty results folder with a hostile name."""
    return MadeUpStore(tmp_path / 'it\'s "here"; echo $HOME')
