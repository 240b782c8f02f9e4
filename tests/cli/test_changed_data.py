"""Data or a checkpoint that changed: every command that would use them says so, and starts nothing."""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_training import COMPLETES
from made_up_data import FILES, write_data

from aqr_exp.cli.main import main
from aqr_exp.config.identity import run_name
from aqr_exp.config.inputs import read_data_identity, with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.info_files import write_fingerprint
from aqr_exp.launch.record import create_run
from aqr_exp.launch.run_plan import plan_of
from aqr_exp.launch.scheduler import entry_of
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.plan import plan_sweep

Fake = Callable[[str], None]


@pytest.fixture
def root(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Data in a folder with a short name: lines are cut at 200 characters."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("AQR_EXP_DATA", folder)
        root = Path(folder) / "synth"
        write_data(root)
        yield root


SIZE = len(FILES["aqr_infos/synth_train.pkl"])


def names(store: Store) -> dict[str, float]:
    """Every file of the results and when it was written."""
    return {str(path): path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()}


def kept(store: Store, config: RunConfig, status: str) -> RunFolder:
    folder = store.folder(run_name(config))
    create_run(folder, config, [f"seed={config.seed}"])
    if status == "completed":
        folder.write_metrics({"mAP": 0.25, "NDS": 0.3, "split": "synth_val", "synthetic": True})
    folder.write_state(status)
    return folder


@pytest.fixture
def runs(root: Path, store: Store, fake: Fake) -> dict[int, RunFolder]:
    """A completed sweep, and the baseline by seed: completed, failed, and killed."""
    fake(COMPLETES)
    plan = plan_sweep(sweep_request("renderer_modulator", ["seed=0"]))
    store.sweep(plan.name).path.mkdir(parents=True)
    store.sweep(plan.name).write_plan([entry_of(run) for run in plan.runs])
    for run in plan.runs:
        kept(store, run.config, "completed")
    baseline = with_data_identity(load_run("baseline"))
    return {
        seed: kept(store, dataclasses.replace(baseline, seed=seed), status)
        for seed, status in enumerate(("completed", "failed", "running"))
    }


COMMANDS = (
    "run baseline",
    "run baseline seed=7",
    "run baseline --force",
    "resume {2}",
    "resume",
    "resume renderer_modulator {2}",
    "retry {1}",
    "retry --failed",
    "eval {0} --failures beams",
    "sweep renderer_modulator seed=0",
    "sweep renderer_modulator seed=0,7",
    "sweep renderer_modulator seed=0 --dry-run",
    "confirm renderer_modulator --best 1 --seeds 1",
    "confirm renderer_modulator --best 1 --dry-run",
    "why baseline baseline",
)


def test_a_cut_info_file_is_named_by_every_command_and_nothing_starts(
    root: Path, runs: dict[int, RunFolder], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "aqr_infos" / "synth_train.pkl").write_bytes(b"short")
    before = names(store)
    fault = f"data.root={root}: aqr_infos/synth_train.pkl has 5 bytes, {SIZE} when prepared"
    remedy = "restore it, or make the data anew (`aqr-exp data synth --force`)"
    for command in COMMANDS:
        words = [word.format(*(runs[seed].name for seed in runs)) for word in command.split()]
        assert main(words) == 2, command
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("aqr-exp: "), command
        assert line.endswith(f"{fault}: {remedy}"), command
        assert len(line) <= 200, command
        assert names(store) == before, command


def test_a_dry_run_names_it_too(root: Path, store: Store) -> None:
    assert not [line for line in plan_of(load_run("baseline"), store.root).faults if "data" in line]
    (root / "samples" / "LIDAR_TOP" / "cloud.bin").write_bytes(b"")
    faults = [line for line in plan_of(load_run("baseline"), store.root).faults if "data" in line]
    assert faults[0].startswith(
        f"data.root={root}: samples/LIDAR_TOP/cloud.bin has 0 bytes, 20 when prepared: restore it"
    )


def prepare_anew(root: Path) -> str:
    """Take the files as they are; returns their fingerprint."""
    write_fingerprint(root, "v1.0-synth", {"synth_train": 10, "synth_val": 4})
    return str(read_data_identity(root)["fingerprint"])


def test_a_run_of_other_data_is_neither_resumed_nor_retried(
    root: Path, runs: dict[int, RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    made_for = runs[2].read_spec()["data"]["fingerprint"]
    (root / "samples" / "CAM_FRONT" / "image.jpg").write_text("another picture")
    found = prepare_anew(root)
    for command, folder in (("resume", runs[2]), ("retry", runs[1])):
        assert main([command, folder.name]) == 2
        err = capsys.readouterr().err
        assert f"the data changed: they are {found}, the run was made for {made_for}" in err
    assert runs[2].effective_status() == "interrupted"
    assert main(["run", "baseline"]) == 0  # a new run, of the new data, under a name of its own
    assert not capsys.readouterr().err.startswith(runs[0].name)


def test_among_all_runs_those_without_their_data_are_left_out(
    root: Path,
    runs: dict[int, RunFolder],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = root.parent / "other" / "synth"
    write_data(other)
    (other / "samples" / "CAM_FRONT" / "image.jpg").write_text("another picture")
    prepare_anew(other)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("AQR_EXP_DATA", str(other.parent))
        config = with_data_identity(load_run("baseline", ["seed=5"]))
    second = kept(store, config, "running")
    (root / "aqr_infos" / "synth_val.pkl").unlink()
    assert main(["resume"]) == 0
    err = capsys.readouterr().err
    assert (
        f"{runs[2].name} is left out: data.root={root}: aqr_infos/synth_val.pkl is missing" in err
    )
    assert second.read_state().status == "completed"
    assert runs[2].effective_status() == "interrupted"
    assert main(["resume", runs[2].name, second.name]) == 2


def test_a_checkpoint_that_changed_is_named_before_a_run_goes_on(
    root: Path, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"weights")
    config = with_data_identity(load_run("baseline", [f'start.load_from="{weights}"']))
    folder = kept(store, config, "running")
    weights.write_bytes(b"Weights")
    assert main(["resume", folder.name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "start.load_from=" in line
    assert "the file changed: its sha256 is " in line
    weights.unlink()
    assert main(["resume"]) == 2
    assert capsys.readouterr().err.endswith(": no such file\n")
    assert folder.effective_status() == "interrupted"
