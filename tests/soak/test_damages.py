"""Random damages to any file of a store: every command ends, and no number changes without a name.

A damage draws a file of the store (runs, sweeps) and does to it what disks, copies, synchronising
tools and hands do: bits that flip, ends that are lost, files of other runs in its place, links, pipes,
folders. Afterwards each reading command is asked; its numbers are those of the undamaged store, or those
without the damaged runs, which are then named.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from campaign import campaign
from damages import ALONE, FOLDERS
from killing import leave_dead
from made_up_runs import SPLIT, make_data_set, make_run

from aqr_exp.cli.main import main
from aqr_exp.data.corruptions.cases import read_cases
from aqr_exp.files import cache
from aqr_exp.store.corruption_results import write_evaluation
from aqr_exp.store.cost import Cost
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry
from aqr_exp.sweep.search import Search, Strategy, read_dimension
from aqr_exp.sweep.study import SearchStudy

ENDS_WITHIN_S = 300
VARIANTS = ("baseline", "attention_bias")
BY_NOTES = tuple(("table", "--by", by, "--format", "json") for by in ("failure", "cost"))
READERS: tuple[tuple[str, ...], ...] = (
    ("list",),
    ("table",),
    ("table", "--format", "csv"),
    ("table", "--format", "html"),
    ("watch", "--once"),
    ("watch", "ours", "--once"),
    ("compare", "baseline-", "attention_bias-", "--resamples", "100"),
)
KINDS = {
    "runs/*/spec.yaml",
    "runs/*/record.json",
    "runs/*/state.json",
    "runs/*/metrics.json",
    "runs/*/progress.json",
    "runs/*/history.jsonl",
    "runs/*/records.npz",
    "runs/*/cost.json",
    "runs/*/.cancel.json",
    "runs/*/.lease/.json",
    "runs/*/.launch/.json",
    "runs/*/.failures/.json",
    "runs/*/predictions/.json",
    "runs/*/checkpoints/.pth",
    "runs/*/failures/*/.json",
    "runs/*/failures/*/.npz",
    "runs/*/figures/.png",
    "runs/*/logs/.log",
    "sweeps/*/plan.json",
    "sweeps/*/cancel.json",
    "sweeps/*/study.journal",
    "sweeps/*/study.log",
    "sweeps/*/detached.log",
    "sweeps/*/mAP.png",
    "sweeps/*/.study/.json",
    "sweeps/*/schedulers/*/.json",
    ".slots/*/*/.json",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight completed runs of two variants in a sweep, one that failed, and every kind of file."""
    root = tmp_path_factory.mktemp("store") / "re sults; echo"
    data, store = make_data_set(root.parent / "data"), Store(root)
    runs = [make_run(store, data, seed, variant=name) for seed in range(4) for name in VARIANTS]
    for number, run in enumerate(runs):
        _evaluate(run, number)
    failed = make_run(store, data, 9)
    failed.write_state("failed", reason="the loss is not finite at step 3 (loss)")
    failed.request_cancel("typed by hand")
    entries = [
        SweepEntry(name=run.name, variant=run.name.partition("-")[0], overrides=(), seed=index // 2)
        for index, run in enumerate(runs)
    ]
    for name, part in (("ours", entries), ("searched", entries[:4])):
        sweep = store.sweep(name)
        sweep.write_plan(part)
        sweep.request_cancel()
        sweep.detached_log_path.write_text("goes on\n")
        sweep.figure_stem("mAP").with_suffix(".png").write_bytes(b"a figure")
        scale = read_dimension("bias_scale", "tag(log, interval(0.5, 10))", {})
        search = Search(strategy=Strategy.RANDOM, trials=4, space=(scale,))
        study = SearchStudy(sweep.study_path, sweep.study_log_path, search)
        for value in (0.1, 0.2):
            study.complete(study.ask().number, value)
        leave_dead(sweep.study_lease_path, sweep.schedulers_dir / "0123456789abcdef")
    leave_dead(failed.lease_path, failed.launch_lease_path, runs[0].failures_lease_path)
    leave_dead(store.slots_dir / "here" / "cpu-0")
    return root


def _evaluate(run: RunFolder, number: int) -> None:
    """Leave what `eval --failures` and `cost` leave, and a figure."""
    clean = run.read_metrics()
    for place, case in enumerate(read_cases("lidar_drop@empty,beams@4")):
        paths = run.failure_paths(case.name)
        paths.path.mkdir(parents=True)
        shutil.copy(run.predictions_path(SPLIT), paths.predictions_path(SPLIT))
        shutil.copy(run.records_path, paths.records_path)
        scores = {"NDS": 0.1 + number / 100 + place / 7, "mAP": 0.1 + number / 70}
        write_evaluation(run, case, {**clean, **scores}, clean, SPLIT)
    cost = Cost(
        call="call",
        measured="2026",
        hardware={},
        parameters=10**6 + 10**4 * number,
        flops=10**9,
        latencies_ms=(10.0 + number,),
        memory_mb=1.0 + number,
        about={},
    )
    run.write_json(run.cost_path, cost.as_json())
    run.failures_log_path.write_text("=== 2026\n")
    (run.figures_dir / "curves.png").write_bytes(b"a figure")


class Shop:
    """A store to be damaged, and what its commands said before."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.store, self.whole, self._capsys = Store(root), root.with_name("whole"), capsys
        self._without: dict[tuple[object, ...], list[dict]] = {}
        self.listed = {row["name"]: row for row in self.json("list", "--json")}
        self.shown = {name: self.json("show", name, "--json") for name in self.listed}
        for command in (*READERS, *BY_NOTES):
            assert self.run(*command)[0] == 0, command
        shutil.copytree(root, self.whole, symlinks=True)

    def run(self, *arguments: str, root: Path | None = None) -> tuple[int, str, str]:
        """Exit code and both streams of a command, which ends."""
        os.environ["AQR_EXP_RESULTS"] = str(root or self.store.root)
        with ends_within(ENDS_WITHIN_S, arguments):
            code = main([*arguments])
        out, err = self._capsys.readouterr()
        assert "internal error" not in err, (arguments, err)
        assert "Traceback" not in out + err, (arguments, err)
        assert code == 0 or (code in {1, 2} and err.count("\n") == 1), (arguments, code, err)
        return code, out, err

    def json(self, *arguments: str, root: Path | None = None) -> Any:
        code, out, err = self.run(*arguments, root=root)
        assert code == 0, (arguments, err)
        return json.loads(out)

    def rows_without(self, lost: frozenset[str], *command: str) -> list[dict]:
        """The table of the undamaged store without some paths below it."""
        key = (lost, *command)
        if key not in self._without:
            some = self.whole.with_name("some")
            shutil.copytree(self.whole, some, symlinks=True)
            for name in lost:
                path = some / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            self._without[key] = self.json(*command, root=some)["rows"]
            shutil.rmtree(some)
        return self._without[key]

    def make_whole(self) -> None:
        """Undo every damage, and let caches be filled from what is there."""
        shutil.rmtree(self.store.root)
        shutil.copytree(self.whole, self.store.root, symlinks=True)
        self.run("table")


@contextlib.contextmanager
def ends_within(limit_s: int, what: object) -> Iterator[None]:
    """Fail where something takes longer."""

    def overdue(number: int, frame: object) -> None:
        raise AssertionError(f"{what}: has not ended after {limit_s} s")

    before = signal.signal(signal.SIGALRM, overdue)
    signal.alarm(limit_s)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def damage(shop: Shop, draw: random.Random) -> tuple[str, list[Path]]:
    """Damage a file, or put one in another's place; returns what was done, and what was damaged."""
    files = sorted(path for path in shop.store.root.rglob("*") if path.is_file())
    of_kind = _by_kind(shop.store, files)
    path = draw.choice(of_kind[draw.choice(sorted(of_kind))])
    files.remove(path)
    if draw.random() < 0.7:
        one = draw.choice(ALONE)
        one(path, draw)
        return f"{one.__name__} {path}", [path]
    # Of the same kind, of the same run, or any.
    same = [other for other in of_kind[_kind(shop.store, path)] if other != path]
    beside = [other for other in files if _of(shop.store, other) == _of(shop.store, path) != ""]
    other = draw.choice(draw.choice([same, same, beside]) or files)
    how = draw.choice(["copy", "swap", "link"])
    content = path.read_bytes()
    if how == "link":
        path.unlink()
        path.hardlink_to(other) if draw.random() < 0.5 else path.symlink_to(other)
    else:
        path.write_bytes(other.read_bytes())
        if how == "swap":
            other.write_bytes(content)
    return f"{how} {path} and {other}", [path, other][: 2 if how == "swap" else 1]


def damage_folder(shop: Shop, draw: random.Random) -> tuple[str, list[Path]]:
    """Damage a folder, or put one in another's place."""
    folders = [path for path in sorted(shop.store.root.rglob("*")) if path.is_dir()]
    of_kind = _by_kind(shop.store, folders)
    path = draw.choice(of_kind[draw.choice(sorted(of_kind))])
    same = [other for other in of_kind[_kind(shop.store, path)] if other != path]
    if draw.random() < 0.6 or not same:
        one = draw.choice(FOLDERS)
        one(path, draw)
        return f"{one.__name__} {path}", [path]
    other, beside = draw.choice(same), path.with_name("beside")
    path.rename(beside)
    how = draw.choice(["copy", "swap", "link"])
    if how == "swap":
        other.rename(path)
        beside.rename(other)
        return f"swap {path} and {other}", [path, other]
    shutil.rmtree(beside)
    path.symlink_to(other) if how == "link" else shutil.copytree(other, path)
    return f"{how} {path} and {other}", [path]


def litter(shop: Shop, draw: random.Random) -> tuple[str, list[Path]]:
    """Put something that nobody here wrote into a folder of the store."""
    folders = [shop.store.root, *sorted(p for p in shop.store.root.rglob("*") if p.is_dir())]
    folder = draw.choice(folders)
    name = draw.choice(
        [
            ".nfs000001",
            ".DS_Store",
            "Thumbs.db",
            "lost+found",
            "a\nb",
            "\x1b[31m",
            "x" * 200,
            ".x.tmp",
        ]
    )
    path = folder / name
    what = draw.choice(["file", "folder", "pipe", "loop"])
    if what == "file":
        path.write_bytes(b"\0\1\2")
    elif what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path.name)
    return f"{what} {path}", []


def _by_kind(store: Store, paths: list[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(_kind(store, path), []).append(path)
    return found


def _kind(store: Store, path: Path) -> str:
    """Where in a store a file or a folder lies, whatever run, sweep, case or lease it is of."""
    parts = list(path.relative_to(store.root).parts)
    for at in range(1, len(parts)):
        of_several = at == 1 or (parts[0] == ".slots" and at == 2)
        if of_several or parts[at - 1] in {"failures", "schedulers"}:
            parts[at] = "*"
    return "/".join([*parts[:-1], parts[-1] if len(parts) < 4 else path.suffix])


def _of(store: Store, path: Path) -> str:
    """The run that a path belongs to; empty for none."""
    parts = path.relative_to(store.root).parts
    return parts[1] if parts[0] == "runs" and len(parts) > 1 else ""


def assert_honest(shop: Shop, what: str, paths: list[Path]) -> None:
    """No number differs from the undamaged store's but of damaged runs, which are named."""
    runs = {_of(shop.store, path) for path in paths} - {""}
    if shop.store.runs_dir in paths:
        runs = set(shop.listed)
        code, _, err = shop.run("list")
        if code:  # none of them can be looked at: that is said, and no number is shown
            assert code == 2, (what, code)
            assert "/runs: " in err, (what, err)
            return
    listed = {row["name"]: row for row in shop.json("list", "--json")}
    for name, before in shop.listed.items():
        found = listed.get(name)
        if found is None:
            assert name in runs, (what, name)
            continue
        same = all(found[key] == before[key] for key in ("mAP", "NDS", "variant", "seed"))
        if not (same and found["status"] == before["status"]):
            assert name in runs, (what, name, found, before)
            assert found["mAP"] is None, (what, found)
            assert found["status"] == "damaged", (what, found)
    damaged = {name for name, row in listed.items() if row["status"] == "damaged"}
    gone = frozenset(f"runs/{name}" for name in damaged | (shop.listed.keys() - listed.keys()))
    if len(gone) < len(shop.listed):
        assert_tables_honest(shop, what, gone, damaged, paths)
    for command in READERS:
        shop.run(*command)
    for name in runs:
        shop.run("show", name)
        code, out, _ = shop.run("show", name, "--json")
        metrics = json.loads(out).get("metrics") if code == 0 else None
        assert metrics in (None, {}, shop.shown[name]["metrics"]), (what, metrics)


def assert_tables_honest(
    shop: Shop, what: str, gone: frozenset[str], damaged: set[str], paths: list[Path]
) -> None:
    """Every table is that of the undamaged store without what is damaged, which it names."""
    table = shop.json("table", "--format", "json")
    assert table["rows"] == shop.rows_without(gone, "table", "--format", "json"), (what, table)
    assert all(name in "\n".join(table["notes"]) for name in damaged), (what, table["notes"])
    # A case or a cost may be lost alone.
    lost = {path.relative_to(shop.store.root) for path in paths}
    lost |= {path.parent for path in lost if path.parts[2:3] == ("failures",) and path.parts[4:]}
    for command in BY_NOTES:
        table = shop.json(*command)
        if table["rows"] != shop.rows_without(gone, *command):
            also = gone | {str(path) for path in lost if path.parts[2:]}
            assert table["rows"] == shop.rows_without(also, *command), (what, table)
            for path in paths:
                assert _of(shop.store, path) in "\n".join(table["notes"]), (what, table["notes"])


@pytest.fixture
def shop(
    original: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shop:
    """A copy of the store, whose commands find caches at once."""
    monkeypatch.setenv("AQR_EXP_RESULTS", "set by each command")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(cache, "SETTLED_S", -1.0)  # so that caches are left at once
    monkeypatch.setattr("aqr_exp.store.collect.WORTH_RUNS", 0)
    shutil.copytree(original, tmp_path / "results")
    return Shop(tmp_path / "results", capsys)


def damage_and_look(shop: Shop, seed: int, count: int) -> None:
    """Damage a store as often, each time made whole before."""
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    files = [path for path in shop.store.root.rglob("*") if path.is_file()]
    assert set(_by_kind(shop.store, files)) >= KINDS
    for number in range(count):
        act = draw.choices([damage, damage_folder, litter], [70, 15, 15])[0]
        what, paths = act(shop, draw)
        print(f"damage {number} of seed {seed}: {what}", file=sys.__stderr__)
        assert_honest(shop, what, paths)
        shop.make_whole()


@pytest.mark.parametrize("seed", range(2))
def test_of_ten_damages_none_hangs_crashes_or_changes_a_number(shop: Shop, seed: int) -> None:
    damage_and_look(shop, seed, 10)


@campaign(100)
def test_of_a_thousand_damages_none_hangs_crashes_or_changes_a_number(
    shop: Shop, seed: int
) -> None:
    damage_and_look(shop, seed, 10)
