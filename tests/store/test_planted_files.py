"""A payload in the place of every file of a store and of its data: no command executes it."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from made_up_runs import make_data_set, make_run
from payloads import payload, plant

from aqr_exp.cli.main import main
from aqr_exp.files import cache
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry

READING = (
    ("list",),
    ("show", "baseline-0123456789ab-s0"),
    ("table",),
    ("why", "baseline-0123456789ab-s0", "attention_bias-0123456789ab-s0"),
    ("watch", "mine", "--once"),
)
# Slower ones, and what they read besides.
COMPARING = ("compare", "baseline", "attention_bias")
PLOTTING = ("plot", "curves", "--output")


def everything_read(folder: Path, planted: Path | None) -> None:
    commands = [*READING]
    if planted is None or planted.suffix == ".npz":
        commands.append(COMPARING)
    if planted is None or planted.suffix == ".jsonl":
        commands.append((*PLOTTING, str(folder / "figures")))
    for arguments in commands:
        assert main([*arguments]) in {0, 1, 2}, arguments


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two completed runs, their data, a sweep, a search's journal, and every cache that commands leave."""
    root = tmp_path_factory.mktemp("whole")
    data = make_data_set(root / "data")
    store = Store(root / "results")
    for variant in ("baseline", "attention_bias"):
        folder = make_run(store, data, 0, variant=variant)
        entry = SweepEntry(name=folder.name, variant=variant, overrides=(), seed=0)
        store.sweep("mine").write_plan([entry])
    return root


@pytest.mark.parametrize("suffix", [".pkl", ".yaml", ".npy", ".npz", ".pth"])
def test_a_payload_is_one(suffix: str, tmp_path: Path) -> None:
    """A reader that trusts files executes it."""
    path = tmp_path / f"a{suffix}"
    target = tmp_path / "executed"
    content = payload(target, path)
    path.write_bytes(content)
    if suffix == ".yaml":
        yaml.unsafe_load(content)
    elif suffix == ".npy":
        np.load(path, allow_pickle=True)
    elif suffix == ".npz":
        np.load(path, allow_pickle=True)["header"]
    elif suffix == ".pth":
        torch = pytest.importorskip("torch", exc_type=ImportError)
        torch.load(path, weights_only=False)
    else:
        pickle.loads(content)
    assert target.is_dir()


def test_no_file_of_a_store_or_its_data_is_executed(
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "all"
    shutil.copytree(whole, root)
    monkeypatch.setenv("AQR_EXP_RESULTS", str(root / "results"))
    monkeypatch.setenv("AQR_EXP_DATA", str(root))
    monkeypatch.setenv("AQR_EXP_CACHE", str(root / "results" / "caches"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cache, "SETTLED_S", -1.0)  # so that caches are left at once
    everything_read(tmp_path, None)
    files = [path for path in sorted((root / "results").rglob("*")) if path.is_file()]
    kinds = {path.suffix for path in files}
    assert kinds >= {".json", ".jsonl", ".yaml", ".npz", ".pth", ".msgpack", ".log"}, kinds
    assert len(files) > 25
    target = tmp_path / "executed"
    seen = set()
    for path in files:
        # One run is planted; of caches all.
        if "attention_bias" in path.as_posix():
            continue
        before = plant(path, target)
        everything_read(tmp_path, path)
        assert not target.exists(), path
        path.unlink(missing_ok=True)
        path.write_bytes(before)
        seen.add(path.name)
    assert seen >= {"spec.yaml", "record.json", "state.json", "metrics.json", "records.npz"}
    assert "internal error" not in capsys.readouterr().err
