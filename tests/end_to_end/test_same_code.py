"""`same` with real steps: editions of the package that give the same bits, and one that does not."""

import shutil
import subprocess
from pathlib import Path

import pytest
from workplace import SMOKE

from aqr_exp.config.inputs import with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.config.sources import PACKAGE, parse
from aqr_exp.launch import same_code
from aqr_exp.launch.record import create_run
from aqr_exp.statistics.confounders import check_factors, record_confounders
from aqr_exp.store.collect import RunRow, read_row
from aqr_exp.store.store import Store

LOSSES = "aqr_exp/cmt/losses.py"


def commit(checkout: Path, old: str, new: str) -> str:
    """Another edition of the package, which differs in one file; returns its revision."""
    path = checkout / LOSSES
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    git = ("git", "-C", str(checkout), *identity)
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "edition"], check=True)
    found = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return found.stdout.strip()


def made_by(store: Store, data: Path, seed: int, checkout: Path, revision: str) -> RunRow:
    """A run as this edition would have recorded it."""
    typed = [*SMOKE, f"data.root={str(data / 'synth')!r}", f"seed={seed}"]
    config = with_data_identity(load_run("baseline", typed))
    folder = store.folder(f"baseline-{revision[:12]}-s{seed}")
    create_run(folder, config, typed)
    record = folder.read_record()
    modules = record["code"]["modules"] | {LOSSES: parse((checkout / LOSSES).read_bytes()).digest}
    code = {"revision": revision, "dirty": False, "difference_sha256": None, "modules": modules}
    folder.write_json(folder.record_path, record | {"code": code})
    return read_row(folder)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_steps_tell_editions_that_change_bits_from_those_that_do_not(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout, store = tmp_path / "check out", Store(tmp_path / "results")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, checkout / "aqr_exp", ignore=ignored)
    monkeypatch.setattr(same_code, "PACKAGE", checkout / "aqr_exp")
    first = made_by(store, data, 0, checkout, commit(checkout, "import", "import"))
    unchanged = commit(checkout, "import torch\n", "import torch\n\n_NOTHING = 1\n")
    second = made_by(store, data, 1, checkout, unchanged)
    assert same_code.compare_code(first, second, store) == (True, LOSSES)
    declared = check_factors(())
    told = [
        record_confounders([first], [second], declared, known) for known in ((), store.same_code())
    ]
    assert [str(item) for items in told for item in items] == [
        f"code {LOSSES}",
        f"code {LOSSES}: same bits (tested)",
    ]
    softplus = "functional.softplus(signed)"
    shrunk = commit(checkout, softplus, f"1.001 * {softplus}")
    third = made_by(store, data, 2, checkout, shrunk)
    assert same_code.compare_code(first, third, store) == (False, LOSSES)
    assert len(store.same_code()) == 1
