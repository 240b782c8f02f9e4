"""Screens of every command, as golden files: one below `__snapshots__` for each command.

After a wanted change of wording: `pytest tests/cli/test_screens.py --snapshot-update`, and read the diff.
"""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.amber import AmberSnapshotExtension
from syrupy.location import PyTestLocation
from syrupy.types import SnapshotIndex

from aqr_exp.cli.main import COMMANDS, LazySub, main
from aqr_exp.config.identity import to_yaml
from aqr_exp.config.load import load_run
from aqr_exp.store.store import Store


class OneFileACommand(AmberSnapshotExtension):
    """The golden file is named after the command in the test's parameter."""

    @classmethod
    def matches_test_location(
        cls, *, test_location: PyTestLocation, snapshot_location: str
    ) -> bool:
        return Path(snapshot_location).parent == Path(cls.dirname(test_location=test_location))

    @classmethod
    def get_file_basename(cls, *, test_location: PyTestLocation, index: SnapshotIndex) -> str:
        del index
        parameter = test_location.snapshot_name.partition("[")[2].rstrip("]")
        return parameter.split(" ")[0] or "aqr-exp"


@pytest.fixture
def golden(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(OneFileACommand)


@pytest.fixture
def screen(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> "Screen":
    monkeypatch.setenv("COLUMNS", "100")
    # What is said because it takes long differs from machine to machine.
    monkeypatch.setattr("aqr_exp.cli.console.QUIET_S", 3600.0)
    monkeypatch.setattr("aqr_exp.files.progress.TOLD_AFTER_S", 3600.0)
    return Screen(place, capsys)


class Screen:
    """What a command line prints, without what differs from machine to machine."""

    def __init__(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._place = str(place)
        self._capsys = capsys

    def __call__(self, typed: str) -> str:
        self._capsys.readouterr()
        code = main(shlex.split(typed))
        out, err = self._capsys.readouterr()
        text = f"$ aqr-exp {typed}\n{out}" + (f"--- stderr ---\n{err}" if err else "")
        text = text.replace(self._place, "/place")
        text = re.sub(
            r"\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z)?", "<time>", text
        )
        text = re.sub(r"(?<=-)(?!0123456789ab|ba9876543210)[0-9a-f]{12}(?=-s\d)", "*" * 12, text)
        text = re.sub(r"\b\d+ MB free", "<free> MB free", text)
        return f"{text}--- exit {code} ---\n"


def commands() -> list[str]:
    found = []
    for name, entry in COMMANDS.items():
        found.append(name)
        if isinstance(entry, LazySub):
            found += [f"{name} {below}" for below in entry.commands]
    return found


@pytest.mark.parametrize("command", ["", *commands()])
def test_help(command: str, screen: Screen, golden: SnapshotAssertion) -> None:
    assert screen(f"{command} --help".strip()) == golden


@cache
def spec(variant: str) -> str:
    return to_yaml(load_run(variant, ["data.root=/nowhere"]))


def add(store: Store, name: str, status: str, *, mean_ap: float | None = None) -> None:
    variant, fingerprint, seed = name.split("-")
    record = {"variant": variant, "fingerprint": fingerprint, "seed": int(seed[1:])}
    folder = store.folder(name)
    folder.create(
        spec(variant).replace("seed: 0", f"seed: {seed[1:]}"),
        record | {"preset": "quick", "created": "<time>", "host": "here"},
    )
    if mean_ap is not None:
        metrics = {"mAP": mean_ap, "NDS": mean_ap + 0.05, "split": "synth_val", "synthetic": True}
        folder.write_metrics(metrics | {"AP/car": 0.5, "gt/car": 12})
    folder.write_state(status, reason="the loss is NaN" if status == "failed" else None)


@pytest.fixture
def runs(store: Store) -> Store:
    """Two arms with seeds, one run that failed, one that was cancelled and one that waits."""
    for seed, mean_ap in enumerate((0.25, 0.26, 0.24)):
        add(store, f"baseline-0123456789ab-s{seed}", "completed", mean_ap=mean_ap)
        other = f"attention_bias-ba9876543210-s{seed}"
        add(store, other, "completed", mean_ap=mean_ap + 0.02 + seed / 1000)
    add(store, "baseline-0123456789ab-s3", "failed")
    add(store, "baseline-0123456789ab-s4", "cancelled")
    add(store, "baseline-0123456789ab-s5", "planned")
    return store


@pytest.mark.parametrize(
    "typed",
    [
        "list",
        "show baseline-0123456789ab-s0",
        "show baseline-0123456789ab-s3",
        "table",
        "table --by class",
        "table --by metric --metrics mAP",
        "table --format md --metrics mAP,NDS",
        "table --format csv --metrics mAP",
        "compare baseline attention_bias",
        "watch --once",
        "cancel baseline-0123456789ab-s5",
        "cancel baseline-0123456789ab-s0",
        "retry",
        "resume --steal",
        "show nothing",
        "sweep nothing",
        "run nothing",
    ],
)
def test_stored_runs(typed: str, runs: Store, screen: Screen, golden: SnapshotAssertion) -> None:
    assert screen(typed) == golden


@pytest.mark.parametrize(
    "typed",
    [
        "list",
        "table",
        "watch --once",
        "retry --failed",
        "resume",
        "confirm bias_scale",
        "cost x",
        "eval x --failures all",
        "why baseline nothing-s0",
        "config baseline bias_scale=1 schedule.epochs=0",
        "config baseline data.root=/nowhere",
        "why baseline 'baseline seed=1 schedule.epochs=2'",
        "sweep smoke --dry-run",
        "sweep smoke --json",
        "analyze softmax --scales 1,5 --window-keys 25",
    ],
)
def test_without_runs(typed: str, data: Path, screen: Screen, golden: SnapshotAssertion) -> None:
    assert screen(typed) == golden
