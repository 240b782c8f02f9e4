"""Random damage to the files of stored runs: nothing crashes, no wrong number is shown, all is named."""

import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_runs import DataSet, make_data_set, make_record, make_run

from aqr_exp.cli.main import main
from aqr_exp.files import cache
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.formats import as_json
from aqr_exp.report.tables.request import TableRequest
from aqr_exp.store.collect import RunRow, collect
from aqr_exp.store.run_files import METRICS, RECORD, SPEC, STATE
from aqr_exp.store.store import Store
from aqr_exp.store.verify import verify_run

VARIANTS = ("baseline", "attention_bias", "renderer_modulator")
SMALL = (SPEC, RECORD, STATE, METRICS)
LISTED = ("status", "mAP", "NDS", "seed", "variant", "fingerprint", "attempt")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_data_set(tmp_path_factory.mktemp("data") / "it's a; data set")


@pytest.fixture(scope="module")
def original(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty runs: seventeen completed ones, one that failed, one cancelled, one killed."""
    store = Store(tmp_path_factory.mktemp("store") / "re sults; echo")
    for number in range(17):
        make_run(store, data, number // 3, variant=VARIANTS[number % 3])
    for seed, status in enumerate(("failed", "cancelled", "running"), start=7):
        folder = store.folder(f"baseline-0123456789ab-s{seed}")
        folder.create(f"seed: {seed}\n", make_record(folder.name, "baseline", seed, data))
        folder.append_history({"kind": "train", "epoch": 1, "step": 1, "loss": 2.5})
        folder.train_log_path.write_text("=== attempt 1\n")
        folder.write_state(status, reason="boom")
    return store.root


@pytest.fixture
def store(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy, with an index that knows all of it as it is."""
    root = tmp_path / "results"
    shutil.copytree(original, root)
    monkeypatch.setenv("AQR_EXP_RESULTS", str(root))
    with monkeypatch.context() as patch:
        patch.setattr(cache, "SETTLED_S", -1.0)
        assert len(collect(Store(root))) == 20
    assert Store(root).index_path.exists()
    return Store(root)


def _truncated(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(1, len(content))]


def _emptied(content: bytes, draw: random.Random) -> bytes:
    return b""


def _flipped(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


Damage = Callable[[bytes, random.Random], bytes]


def _damage(path: Path, damage: Damage, draw: random.Random) -> bytes:
    """Damage a file in place, at a later time; returns what it held."""
    before, times = path.read_bytes(), path.stat()
    path.write_bytes(damage(before, draw))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1_000_000))
    return before


def _run_files(store: Store) -> list[Path]:
    """Files of all runs; of each run the small ones thrice, so that they are damaged as often."""
    files = [path for folder in store for path in sorted(folder.path.rglob("*")) if path.is_file()]
    small = [path for path in files if path.name in SMALL]
    return [path for path in (*files, *small, *small) if path.stat().st_size > 1]


def _table(store: Store, rows: list[RunRow]) -> list[dict]:
    return as_json(build_table(store, rows, TableRequest()).table)["rows"]


class Intact:
    """What a store's commands say before any damage."""

    def __init__(self, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
        self.rows = collect(store)
        self.table = _table(store, self.rows)
        self.compared = _printed(capsys, *COMPARE, "--by", "metric,scene")
        self._without: dict[str, list[dict]] = {}
        self._store = store

    def table_without(self, name: str) -> list[dict]:
        """The table of all runs but one, built from intact files: to be asked for first."""
        if name not in self._without:
            others = [row for row in self.rows if row.name != name]
            self._without[name] = _table(self._store, others)
        return self._without[name]


def _printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict | list:
    assert main([*arguments]) == 0, arguments
    return json.loads(capsys.readouterr().out)


def _assert_honest(
    store: Store, intact: Intact, path: Path, capsys: pytest.CaptureFixture[str]
) -> str:
    """One file is damaged: returns how that was noticed."""
    name = path.relative_to(store.runs_dir).parts[0]
    listed = {row["name"]: row for row in _printed(capsys, "list", "--json")}
    table = _printed(capsys, "table", "--format", "json")
    shown = _printed(capsys, "show", name, "--json")
    assert main(["list"]) == main(["table"]) == main(["show", name]) == 0
    text = capsys.readouterr().out
    for row in intact.rows:
        wanted = {key: getattr(row, key, None) for key in LISTED} | {
            "mAP": row.metric("mAP"),
            "NDS": row.metric("NDS"),
        }
        found = {key: listed[row.name][key] for key in LISTED}
        assert found == wanted or (row.name == name and found["status"] == "damaged")
    if listed[name]["status"] != "damaged":
        assert table["rows"] == intact.table
        faults = shown["integrity"]["faults"]
        if any(str(path) in fault for fault in faults):
            assert str(path) in text
            return "shown"
        return "verified" if _verified(store, name, path) else "no number comes from it"
    assert str(path) in listed[name]["reason"]
    assert "\n" not in listed[name]["reason"]
    assert table["rows"] == intact.table_without(name)
    if shown["metrics"] == {}:
        assert any(f"not in the table: {name}: damaged: " in note for note in table["notes"])
    assert listed[name]["mAP"] is None
    return "listed"


COMPARE = ("compare", "baseline-", "attention_bias-", "--resamples", "100", "--format", "json")


def _assert_compared(
    before: dict, store: Store, path: Path, capsys: pytest.CaptureFixture[str], noticed: str
) -> None:
    """A comparison without a damaged run names it and its file; all else says what it said."""
    name = path.relative_to(store.runs_dir).parts[0]
    found = _printed(capsys, *COMPARE, "--by", "metric,scene")
    if not name.startswith(("baseline-", "attention_bias-")):
        if noticed == "listed" and found != before:
            # A run of a further arm told of noise: how much is known of it is less now, and said.
            assert _seed_degrees(found) < _seed_degrees(before)
            for key in ("n A", "A", "n B", "B", "difference"):
                old, new = ([row[key] for row in one["metrics"]["rows"]] for one in (before, found))
                assert new == old
            found = found | {"metrics": before["metrics"]}
        assert found == before
    elif noticed == "listed":
        notes = [note for note in found["configuration"]["notes"] if "not compared: " in note]
        assert any(name in note and str(path) in note for note in notes)
    elif found != before:
        # A record that fits no more: the numbers of metrics.json stay, scenes are not scored.
        assert name in json.dumps(found)
        assert found["metrics"]["rows"] == before["metrics"]["rows"]


def _seed_degrees(compared: dict) -> int:
    """How many degrees of freedom the seed noise has by the note on the rule."""
    found = re.search(r"\((\d+) degrees of freedom\)", compared["metrics"]["notes"][0])
    assert found is not None
    return int(found[1])


def _verified(store: Store, name: str, path: Path) -> bool:
    folder = store.folder(name)
    if not folder.metrics_path.exists():
        return False
    return any(str(path) in str(problem) for problem in verify_run(folder))


def _expected(store: Store, path: Path, damage: Damage) -> set[str]:
    """How damage to a file is to be noticed."""
    name, *below = path.relative_to(store.runs_dir).parts
    where = below[0]
    if where in SMALL:
        return {"listed"}
    if where in {"logs", "progress.json"} or not store.folder(name).metrics_path.exists():
        # A history that is cut short is as a kill leaves it; a changed line is shown.
        return {"no number comes from it", *({"shown"} if where == "history.jsonl" else ())}
    if damage is not _flipped:
        return {"listed"}
    return {"verified"} if where == "checkpoints" else {"shown"}


def _drawn(store: Store, count: int, draw: random.Random) -> list[tuple[Path, Damage]]:
    """Damages drawn at random, after one of each sort to a file of each kind."""
    files = _run_files(store)
    kinds: dict[str, list[Path]] = {}
    for path in files:
        kinds.setdefault(path.relative_to(store.runs_dir).parts[1], []).append(path)
    assert len(kinds) >= 8, kinds
    chosen = [
        (draw.choice(kinds[kind]), damage)
        for kind in sorted(kinds)
        for damage in (_truncated, _emptied, _flipped)
    ]
    sorts = (_truncated, _emptied, _flipped, _flipped)
    chosen += [(draw.choice(files), draw.choice(sorts)) for _ in range(count - len(chosen))]
    return chosen


def _campaign(store: Store, capsys: pytest.CaptureFixture[str], count: int, seed: int) -> set[str]:
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    intact, noticed = Intact(store, capsys), set()
    for number, (path, damage) in enumerate(_drawn(store, count, draw)):
        intact.table_without(path.relative_to(store.runs_dir).parts[0])
        kept = _damage(path, damage, draw)
        found = _assert_honest(store, intact, path, capsys)
        assert found in _expected(store, path, damage), (number, path, damage, found)
        _assert_compared(intact.compared, store, path, capsys, found)
        noticed.add(found)
        path.write_bytes(kept)
    assert collect(store) == intact.rows
    return noticed


EVERY_WAY = {"listed", "shown", "verified", "no number comes from it"}


def test_a_damaged_file_is_named_and_gives_no_number(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _campaign(store, capsys, 30, seed=1) == EVERY_WAY


@pytest.mark.slow
def test_of_five_hundred_damages_each_is_named(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _campaign(store, capsys, 500, seed=2) == EVERY_WAY


def test_many_damaged_runs_are_all_named(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    draw = random.Random(3)  # noqa: S311
    before = collect(store)
    spoiled = {}
    for row in before[::2]:
        path = store.folder(row.name).path / draw.choice((SPEC, RECORD, STATE))
        _damage(path, draw.choice((_truncated, _flipped)), draw)
        spoiled[row.name] = str(path)
    listed = {row["name"]: row for row in _printed(capsys, "list", "--json")}
    table = _printed(capsys, "table", "--format", "json")
    for name, path in spoiled.items():
        assert listed[name]["status"] == "damaged"
        assert path in listed[name]["reason"]
        assert any(name in note and path in note for note in table["notes"])
    assert table["rows"] == _table(store, [row for row in before if row.name not in spoiled])
