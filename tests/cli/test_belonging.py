"""Files that lie in another run's folder than their own: each command names them, no number is theirs."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_data import write_identity
from made_up_runs import MadeUpData, as_older, made_up_records

from aqr_exp.cli.main import main
from aqr_exp.config.identity import to_yaml
from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.evaluate.records import WHOLE, write_records
from aqr_exp.evaluate.scorer import Scorer
from aqr_exp.files import cache
from aqr_exp.files.reading import file_sha256
from aqr_exp.launch.record import build_record
from aqr_exp.launch.scheduler import entry_of
from aqr_exp.store.collect import collect
from aqr_exp.store.corruption_results import write_evaluation
from aqr_exp.store.cost import Cost
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store
from aqr_exp.store.verify import verify_run
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.plan import plan_sweep

CASE = CorruptionCase(corruption="beams", severity="4")
ASKED = ["bias_scale=1,2.5", "seed=0,1", "schedule.validate_every_epochs=1"]
SPLIT = "synth_val"
SMALL = ("spec.yaml", "record.json", "state.json", "metrics.json")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scales, a baseline and two seeds of each, complete with all files a run can have."""
    place = tmp_path_factory.mktemp("it's here")
    write_identity(place / "data" / "synth")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name in ("AQR_EXP_DATA", "AQR_EXP_RESULTS"):
            patch.delenv(name, raising=False)
        plan = plan_sweep(sweep_request("bias_scale", ASKED))
        store = Store(place / "results")
        data = MadeUpData.draw(np.random.default_rng(7), scenes=2, per_scene=1)
        for number, run in enumerate(plan.runs):
            folder = store.folder(run.name)
            record = build_record(run.config, overrides=run.overrides, argv=[])
            folder.create(to_yaml(run.config), {**record, "name": folder.name})
            _complete(folder, data, number)
        store.sweep(plan.name).write_plan([entry_of(run) for run in plan.runs])
        assert (
            main(["table", "--by", "metric"]) == 0
        )  # statistics of the runs are kept for all tests
    return place


def _complete(folder: RunFolder, data: MadeUpData, number: int) -> None:
    rng = np.random.default_rng(number)
    for epoch in (1, 2):
        folder.append_history({"kind": "train", "epoch": epoch, "step": 9 * epoch, "loss": 2.5})
        folder.append_history({"kind": "val", "epoch": epoch, "mAP": number / 10, "NDS": 0.1})
    (folder.checkpoints_dir / "epoch_2.pth").write_bytes(b"weights")
    predictions = folder.predictions_path(SPLIT)
    predictions.write_text(json.dumps({"results": {"t0": [number]}}))
    records = made_up_records(data, np.full(2, 0.2 + number / 10), rng)
    write_records(folder.records_path, records)
    cost = Cost(
        call="call",
        measured="2026",
        hardware={},
        parameters=number,
        flops=number,
        latencies_ms=(10.0 + number,),
        memory_mb=1.0,
        about={},
    )
    folder.write_json(folder.cost_path, cost.as_json())
    clean = {
        **Scorer(records.tables[WHOLE]).scores().metrics(),
        "predictions_sha256": file_sha256(predictions),
        "records_sha256": file_sha256(folder.records_path),
        "split": SPLIT,
        "synthetic": True,
    }
    paths = folder.failure_paths(CASE.name)
    paths.path.mkdir(parents=True)
    paths.predictions_path(SPLIT).write_text("{}")
    paths.records_path.write_bytes(b"records")
    write_evaluation(folder, CASE, {"NDS": number / 20, "mAP": 0.1}, clean, SPLIT)
    folder.write_metrics(clean)
    folder.write_state("completed")


@pytest.fixture
def store(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy at another place: moving all of the results changes nothing."""
    shutil.copytree(original, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    for name in ("AQR_EXP_DATA", "AQR_EXP_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    return Store(tmp_path / "copy" / "results")


@pytest.fixture
def victim(store: Store) -> RunFolder:
    """A baseline: every difference is to its arm."""
    return store.folder(next(name for name in store.names() if name.startswith("baseline-")))


@pytest.fixture
def donor(store: Store, victim: RunFolder) -> RunFolder:
    """A run of the same seed in another arm."""
    return next(folder for folder in store if folder.name != victim.name)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """All that a command says, in one line; it may fail, but only by saying why."""
    code = main([*words])
    found = capsys.readouterr()
    text = " ".join((found.out + found.err).split())
    assert "internal error" not in text, text
    assert code in {0, 1, 2}, text
    return text


def rows(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    """The rows of a table."""
    capsys.readouterr()
    main(["table", "--format", "json", *words])
    return json.loads(capsys.readouterr().out)["rows"]


def copied(source: Path, target: Path) -> None:
    target.unlink()
    shutil.copy2(source, target)


def hard_linked(source: Path, target: Path) -> None:
    target.unlink()
    os.link(source, target)


def linked(source: Path, target: Path) -> None:
    target.unlink()
    target.symlink_to(source)


def exchanged(source: Path, target: Path) -> None:
    kept = source.with_name("kept")
    source.rename(kept)
    target.rename(source)
    kept.rename(target)


SWAPS = (copied, hard_linked, linked, exchanged)


def without_checksum(path: Path) -> None:
    """The same values without the checksum, as older versions wrote them."""
    text = path.read_text()
    if path.suffix == ".yaml":
        path.write_text(text.split("\n", 1)[1])
    else:
        value = json.loads(text)
        del value["checksum"]
        path.write_text(json.dumps(value))


def older_checksum(path: Path) -> None:
    """The same values with a checksum that an older version wrote: bound to nothing."""
    copy = RunFolder(path.parents[1] / "copy")
    shutil.copytree(path.parent, copy.path)
    older = as_older(copy)
    shutil.copy2(older.path / path.name, path)
    shutil.rmtree(copy.path)


def invented(path: Path) -> None:
    path.write_text('{"mAP": 0.99, "NDS": 0.99, "split": "synth_val", "synthetic": true}\n')


def empty(path: Path) -> None:
    path.write_bytes(b"")


def commands_on(run: str, other: str) -> list[list[str]]:
    """Everything that reads a run."""
    return [
        ["list"],
        ["list", "--json"],
        ["show", run],
        ["table"],
        ["table", "--sweep", "bias_scale"],
        ["table", "--by", "metric", "--format", "csv"],
        ["table", "--by", "failure"],
        ["table", "--by", "cost"],
        ["table", "--at-epoch", "1"],
        ["table", "--verify"],
        ["compare", run.rpartition("-s")[0], other.rpartition("-s")[0], "--resamples", "100"],
        ["plot", "classes", "--of", "bias_scale"],
        ["watch", "--once"],
        ["watch", "bias_scale", "--json"],
        ["why", run, other],
        ["retry", run],
        ["resume", run],
        ["sweep", "bias_scale", *ASKED, "--dry-run"],
        ["confirm", "bias_scale", "--dry-run"],
        ["run", *run_words(run)],
        ["analyze", "bias", run],
        ["eval", run, "--failures", CASE.name],
        ["cost", run],
    ]


def run_words(run: str) -> list[str]:
    return ["baseline", "schedule.validate_every_epochs=1", f"seed={run[-1]}"]


@pytest.mark.parametrize("name", SMALL)
def test_every_command_names_a_file_of_another_run(
    store: Store,
    victim: RunFolder,
    donor: RunFolder,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    others = [row for row in collect(store) if row.name != victim.name]
    copied(donor.path / name, victim.path / name)
    words = (
        f"{victim.path / name} is damaged: it is {donor.name}/{name}: put it, or its folder, back"
    )
    for command in commands_on(victim.name, donor.name):
        assert words in said(capsys, *command), command
    assert any(words in str(problem) for problem in verify_run(victim))
    assert [row for row in collect(store) if row.name != victim.name] == others


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("name", SMALL)
def test_no_number_is_of_a_file_of_another_run(
    store: Store,
    victim: RunFolder,
    donor: RunFolder,
    name: str,
    swap: Callable[[Path, Path], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cache, "SETTLED_S", -1.0)  # the index knows all of it as it was
    before = {row.name: row for row in collect(store)}
    assert store.index_path.exists() or len(before) < 16
    swap(donor.path / name, victim.path / name)
    swapped = {victim.name, donor.name} if swap is exchanged else {victim.name}
    for row in collect(store):
        if row.name in swapped:
            assert (row.status, row.metrics) == ("damaged", {})
            assert str(store.folder(row.name).path / name) in (row.reason or "")
        else:
            assert row == before[row.name]
    text = said(capsys, "table", "--by", "cost")
    assert all(f"not in the table: {run}: damaged: " in text for run in swapped)


@pytest.mark.parametrize("change", [without_checksum, older_checksum, invented, empty])
@pytest.mark.parametrize("name", SMALL)
def test_a_run_with_checksums_has_them_in_all_files(
    store: Store,
    victim: RunFolder,
    name: str,
    change: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(victim.path / name)
    text = said(capsys, "list")
    assert f"{victim.path / name} is damaged: " in text
    if change is not empty:
        lacks = f"{victim.path / name} is damaged: it lacks the checksum that the run's other files have"
        assert lacks in text or name == "state.json"
    table = said(capsys, "table", "--by", "cost")
    assert "0.99" not in text + table
    assert f"{victim.name}: damaged: " in table


@pytest.mark.parametrize("first", ["spec.yaml", "record.json"])
def test_both_first_files_of_an_older_version_make_no_older_run(
    store: Store, victim: RunFolder, first: str
) -> None:
    for name in ("spec.yaml", "record.json"):
        older_checksum(victim.path / name)
    without_checksum(victim.path / first)
    row = next(row for row in collect(store) if row.name == victim.name)
    assert row.status == "damaged"
    assert "is damaged: it " in (row.reason or "")


def test_a_renamed_folder_is_damage_that_says_both_names(
    store: Store, victim: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    other = store.folder(victim.name.replace("-s0", "-s7"))
    victim.path.rename(other.path)
    words = f"{other.state_path} is damaged: it is {victim.name}/state.json: put it, or its folder,"
    assert words in said(capsys, "list")
    assert words in said(capsys, "table", "--by", "cost")
    other.path.rename(victim.path)
    assert "damaged" not in said(capsys, "list")


def test_folders_that_changed_places_are_both_damaged(
    store: Store, victim: RunFolder, donor: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    exchanged(donor.path, victim.path)
    for ours, theirs in ((victim, donor), (donor, victim)):
        assert f"{ours.state_path} is damaged: it is {theirs.name}/state.json" in said(
            capsys, "list"
        )


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("history.jsonl", [["show", "@"], ["plot", "curves"], ["table", "--at-epoch", "1"]]),
        ("cost.json", [["show", "@"], ["table", "--by", "cost"]]),
        (
            "failures/beams@4/metrics.json",
            [["show", "@"], ["table", "--by", "failure"]],
        ),
        ("predictions/synth_val.json", [["show", "@"], ["table", "--verify"]]),
        ("records.npz", [["show", "@"], ["table", "--verify"]]),
    ],
)
def test_larger_files_of_another_run_are_named_by_whoever_reads_them(
    victim: RunFolder,
    donor: RunFolder,
    name: str,
    commands: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    target, source = victim.path / name, donor.path / name
    copied(source, target)
    for command in commands:
        text = said(capsys, *(victim.name if word == "@" else word for word in command))
        assert f"{target} is damaged: " in text, command


def test_no_comparison_is_of_records_of_another_run(
    store: Store, victim: RunFolder, donor: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their size may be the same; metrics name their hash."""
    copied(donor.records_path, victim.records_path)
    text = said(capsys, "compare", victim.name, donor.name, "--resamples", "100")
    assert victim.name in text
    assert "records.npz is damaged" in text or "cords.npz is damaged" in text  # a long path is cut
    asked = ["--by", "condition", "--metrics", "mAP"]
    for row in rows(capsys, *asked):
        assert row["variant"] != "baseline" or row["n"] in {0, 1}


def test_metrics_without_their_files_do_not_fit(
    victim: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    text = victim.metrics_path.read_text()
    value = json.loads(text)
    cut = text.replace(json.dumps(value["files"], indent=1).replace("\n", "\n "), "{}")
    assert cut != text
    victim.metrics_path.write_text(cut)
    assert f"{victim.metrics_path} is damaged: its content does not fit" in said(capsys, "list")


def test_a_plan_of_another_sweep_is_named(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    plan = store.sweep("bias_scale").plan_path
    other = store.sweep("mine").path
    other.mkdir()
    shutil.copy2(plan, other / plan.name)
    words = (
        f"{other / plan.name} is damaged: it is bias_scale/plan.json: put it, or its folder, back"
    )
    for command in (["table", "--sweep", "mine"], ["watch", "mine", "--once"], ["retry", "mine"]):
        assert words in said(capsys, *command), command
    value = json.loads(plan.read_text())
    del value["checksum"]
    plan.write_text(json.dumps(value))
    assert f"{plan} is damaged: it lacks its checksum" in said(
        capsys, "table", "--sweep", "bias_scale"
    )


MARK = "synth_val (synthetic), unverified"


@pytest.fixture
def unverified(store: Store, victim: RunFolder) -> RunFolder:
    return as_older(victim)


def test_numbers_of_older_runs_are_marked_wherever_they_are(
    store: Store, unverified: RunFolder, donor: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {row.name: row.metrics for row in collect(store)}
    assert before[unverified.name]["mAP"] > 0
    note = f"unverified: {unverified.name} (of an older version: files that name no run)"
    for command in (
        ["list"],
        ["table"],
        ["table", "--sweep", "bias_scale"],
        *(["table", "--format", form] for form in ("md", "csv", "json", "html")),
        *(["table", "--by", by] for by in ("metric", "failure", "cost")),
        ["compare", unverified.name, donor.name, "--resamples", "100"],
        ["plot", "classes"],
        ["eval", unverified.name, "--failures", CASE.name],
    ):
        text = said(capsys, *command).replace("\\", "")
        assert note in text, command
        assert MARK in text or command[0] in {"compare", "plot", "eval"}, command
    assert MARK in said(capsys, "show", unverified.name)
    listed = json.loads(said(capsys, "list", "--json"))
    assert {row["name"] for row in listed if not row["verified"]} == {unverified.name}
    for command in (["table", "--by", "cost"], ["compare", unverified.name, donor.name]):
        assert f"--strict: {note}" in said(capsys, *command, "--strict")


def test_an_older_run_stays_an_older_run_when_it_goes_on(
    store: Store, unverified: RunFolder
) -> None:
    """What is written to it now has the form of what is there: nothing looks better than it is."""
    metrics = unverified.read_metrics()
    unverified.write_state("running", attempt=2)
    unverified.append_history({"kind": "train", "step": 30})
    unverified.write_progress({"phase": "train"})
    unverified.write_metrics(metrics)
    unverified.write_state("completed")
    again = RunFolder(unverified.path)
    assert again.read_progress() is not None
    assert again.read_history()[-1] == {"attempt": 2, "kind": "train", "step": 30}
    row = next(row for row in collect(store) if row.name == again.name)
    assert (row.status, row.verified, row.metrics) == ("completed", False, metrics)


def test_a_record_of_another_older_run_is_known_by_the_name_it_says(
    store: Store, victim: RunFolder, donor: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = as_older(victim), as_older(donor)
    copied(theirs.record_path, ours.record_path)
    words = f"{ours.record_path} is damaged: it is {theirs.name}/record.json"
    assert words in said(capsys, "list")


def test_new_files_in_an_older_run_are_damage(
    store: Store, victim: RunFolder, donor: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = victim.metrics_path.read_bytes()
    older = as_older(victim)
    older.metrics_path.write_bytes(kept)
    words = (
        f"{older.metrics_path} is damaged: it has a checksum that spec.yaml and record.json lack"
    )
    assert words in said(capsys, "list")
    invented(older.metrics_path)
    words = (
        f"{older.metrics_path} is damaged: it lacks the checksum that the run's other files have"
    )
    assert words in said(capsys, "list")
