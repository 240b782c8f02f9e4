import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sweep_process import stub_environment

from aqr_exp.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "it's; echo $HOME")


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def stubs(audit: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict], None]:
    """Start stubs instead of trainings, doing what a plan by run name says."""
    for name, value in stub_environment(audit).items():
        monkeypatch.setenv(name, value)
    return lambda plan: monkeypatch.setenv("STUB_PLAN", json.dumps(plan))
