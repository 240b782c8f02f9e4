"""Stored text steers no terminal: one hostile text in every field, and every command that shows it."""

import csv
import io
import json
from pathlib import Path

import pytest
from made_up_runs import MadeUpStore

from aqr_exp.cli.main import main
from aqr_exp.store.process_identity import process
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry

HOSTILE = "=x\x1b]0;owned\x07\x1b[2J\x9b31m\u202eabc\u2066\r\n\x00\x08\x7f\u2028[a](http://b)|<b>$&"
FORMATS = ("rich", "md", "csv", "json", "latex", "html")


@pytest.fixture
def planted(data: Path, store: Store) -> MadeUpStore:
    """Runs in each state with the text wherever a file of theirs holds text."""
    made = MadeUpStore(store.root)
    for variant, seed in (("baseline", 0), ("baseline", 1), ("attention_bias", 0)):
        folder = made.add(variant, [], seed, mAP=0.3, NDS=0.2, **{"AP/car": 0.1, HOSTILE: 0.5})
        record = folder.read_record()
        hostile = {
            "preset": HOSTILE,
            "overrides": [f"a={HOSTILE}", f"seed={seed}"],
            "created": HOSTILE,
            "host": HOSTILE,
            "data": {"name": HOSTILE, "version": HOSTILE, "fingerprint": HOSTILE},
            "code": {"revision": HOSTILE},
            "hardware": {"processor": HOSTILE, "gpus": [HOSTILE], "cpus": 2, "host": HOSTILE},
            HOSTILE: HOSTILE,
        }
        folder.write_json(folder.record_path, record | hostile)
        folder.append_history({"kind": "warning", "epoch": HOSTILE, "message": HOSTILE})
        folder.append_history({"kind": "train", "step": 1, "epoch": 1, "loss": 1.0, HOSTILE: 1.0})
    failed = made.add("baseline", [], 2)
    failed.write_state("failed", reason=HOSTILE)
    failed.train_log_path.write_text(HOSTILE)
    running = made.add("baseline", [], 3)
    running.write_state("running")
    running.write_progress({"phase": HOSTILE, "epoch": HOSTILE, "epochs": HOSTILE, "step": HOSTILE})
    elsewhere = made.add("baseline", [], 4)
    elsewhere.write_state("running")
    elsewhere.write_progress({"phase": HOSTILE})
    for folder in (running, elsewhere):
        folder.lease_path.mkdir()
        owner = folder.lease_path / f"{'ab' * 8}.json"
        facts = {name: getattr(process(), name) for name in ("pid", "boot", "namespace")}
        owner.write_text(json.dumps(facts | {"host": HOSTILE}))
    wrong = made.add("baseline", [], 5, mAP=0.3, NDS=0.2)
    wrong.write_metrics({"mAP": HOSTILE, "NDS": 0.2, "split": HOSTILE})
    damaged = made.runs_dir / "a\x1b[2J\u202e\n\x9bb"
    damaged.mkdir()
    (damaged / "state.json").write_text(HOSTILE)
    sweep = made.sweep("mine")
    names = [folder.name for folder in (failed, running, elsewhere, wrong)]
    sweep.write_plan(
        [
            SweepEntry(name=name, variant="baseline", overrides=(HOSTILE,), seed=seed)
            for seed, name in enumerate(names)
        ]
    )
    return made


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    """What a command prints, of which no mark steers a terminal."""
    code = main([*arguments])
    out, err = capsys.readouterr()
    assert code in {0, 1, 2}, arguments
    assert "internal error" not in err, (arguments, err)
    raw = {mark for mark in out + err if not mark.isprintable() and mark != "\n"}
    assert not raw, (arguments, raw)
    return out, err


def test_no_command_lets_stored_text_steer_the_terminal(
    planted: MadeUpStore, capsys: pytest.CaptureFixture[str]
) -> None:
    names = planted.names()
    seen = ""
    for arguments in (
        ("list",),
        ("list", "--json"),
        *(("show", name) for name in names),
        *(("show", name, "--json") for name in names),
        ("watch", "--once"),
        ("watch", "mine", "--once"),
        ("watch", "mine", "--json"),
        ("why", names[1], names[2]),
        ("why", names[1], names[2], "--json"),
        ("table", "--metrics", HOSTILE),
        ("table", "--where", HOSTILE),
        ("show", HOSTILE),
        ("watch", HOSTILE),
        ("cancel", HOSTILE),
        ("sweep", HOSTILE),
        (HOSTILE,),
        *(("table", "--format", form) for form in FORMATS),
        ("table", "--by", "class"),
        *(("compare", names[1], names[2], "--format", form) for form in FORMATS),
    ):
        seen += "".join(shown(capsys, *arguments))
    assert r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202e" in seen


def test_a_line_of_a_run_stays_one_line(
    planted: MadeUpStore, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = next(name for name in planted.names() if name.endswith("-s2"))
    out, _ = shown(capsys, "show", failed)
    words = [line.partition(":")[0] for line in out.splitlines()]
    head = ["run", "status", "folder", "preset", "data", "code"]
    assert words[: len(head)] == head
    assert not any(word.startswith(("\\x00", "[a]")) for word in words)
    out, _ = shown(capsys, "watch", "mine", "--once")
    assert len(out.splitlines()) == 6, "four runs, who works on it, and the totals"


def test_cells_of_text_are_no_formulas_and_numbers_stay(
    planted: MadeUpStore, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = shown(capsys, "table", "--metrics", "mAP", "--format", "csv")
    rows = list(csv.reader(io.StringIO(out)))
    assert len(rows) > 2
    cells = [cell for row in rows for cell in row]
    assert not [cell for cell in cells if cell[:1] in {"=", "@", "\t", "\r"}]
    assert "30.00" in cells
    out, _ = shown(capsys, "table", "--metrics", "mAP", "--format", "html")
    assert "<b>" not in out
    out, _ = shown(capsys, "table", "--metrics", "mAP", "--format", "md")
    assert "](" not in out
    assert "://" not in out
