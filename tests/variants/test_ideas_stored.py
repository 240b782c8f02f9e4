"""Runs of an idea whose file is not at hand: what is stored with them is enough to show them."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_training import COMPLETES, FAKE_TRAINING
from ideas_at_hand import GAIN, forget_ideas, write_idea
from made_up_data import write_identity
from made_up_runs import MadeUpStore

from aqr_exp.cli.main import main
from aqr_exp.config.idea_files import PATH_VARIABLE
from aqr_exp.config.variant_spec import variant_specs
from aqr_exp.store.store import Store, results_root

NAME = "stored_gain"
EXPLODES = "raise RuntimeError('imported')\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder."""
    forget_ideas()
    monkeypatch.chdir(tmp_path)
    for name in (PATH_VARIABLE, "AQR_EXP_RESULTS", "AQR_EXP_DATA"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    forget_ideas()


@pytest.fixture
def stored(place: Path) -> Store:
    """Runs of two settings of an idea and of the baseline; the idea is gone, one in the results is not."""
    write_idea(NAME)
    store = MadeUpStore(results_root())
    for seed in (0, 1):
        store.add("baseline", [], seed, mAP=0.30 + seed / 100, NDS=0.4)
        for start in (2, 3):
            store.add(NAME, [f"variant.start={start}"], seed, mAP=0.3 + start / 100, NDS=0.4)
    store.add(NAME, ["variant.start=4"], 0)
    (place / "ideas" / f"{NAME}.py").unlink()
    for folder in (place / "results", store.root / "runs", store.root / "ideas"):
        write_idea(NAME, EXPLODES, folder=folder)
    forget_ideas()
    return store


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["list"], NAME),
        (["list", "--where", "variant.start == 3"], NAME),
        (["show", "RUN"], NAME),
        (["table"], NAME),
        (["table", "--where", "variant.start == 3"], NAME),
        (["table", "--format", "csv"], NAME),
        (["why", "RUN", "OTHER"], "variant.start: 2.0 | 3.0"),
        (["why", "RUN", "baseline"], "variant.name: stored_gain | baseline"),
        (["compare", "RUN", "BASELINE"], NAME),
        (["plot", "sweep", "variant.start"], "sweep-variant.start-mAP.pdf"),
    ],
)
def test_what_is_stored_is_shown(
    words: list[str], shown: str, stored: Store, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    write_identity(place / "data" / "synth")
    runs = [name for name in stored.folder_names() if name.startswith(NAME) and name.endswith("s0")]
    spec = {name: stored.folder(name).read_spec()["variant"]["start"] for name in runs}
    ours, theirs, *_ = sorted(runs, key=spec.__getitem__)
    (baseline,) = (
        name for name in stored.folder_names() if name.startswith("base") and "s0" in name
    )
    named = {"RUN": ours, "OTHER": theirs, "BASELINE": baseline}
    code = main([named.get(word, word) for word in words])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert shown in captured.out
    assert "imported" not in captured.err
    assert NAME not in variant_specs()


def test_a_misspelt_key_of_a_stored_idea(stored: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "--where", "variant.strat == 3"]) == 2
    line = "aqr-exp: condition 'variant.strat == 3': unknown key 'variant.strat': did you mean "
    assert capsys.readouterr().err == f"{line}'variant.start'?\n"


@pytest.mark.parametrize(
    "words",
    [
        ["retry", "FAILED"],
        ["eval", "RUN", "--failures", "all"],
        ["analyze", "bias", "RUN"],
        ["run", NAME],
        ["run", NAME, "--dry-run"],
        ["sweep", NAME, "seed=0,1"],
        ["why", f"{NAME} variant.start=2", "baseline"],
    ],
)
def test_what_needs_the_model_names_what_is_missing(
    words: list[str], stored: Store, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    write_identity(place / "data" / "synth")
    rows = {name: stored.folder(name) for name in stored.folder_names() if name.startswith(NAME)}
    failed = next(name for name, run in rows.items() if not run.metrics_path.exists())
    trained = next(name for name, run in rows.items() if run.metrics_path.exists())
    assert main([{"RUN": trained, "FAILED": failed}.get(word, word) for word in words]) in {1, 2}
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert NAME in line
    assert "unknown sweep" in line or "(an idea's file lies in ideas/ or a folder of " in line
    assert len(line) <= 200


@pytest.fixture
def fake(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a program that needs no torch in the training's place."""

    def replace(body: str) -> None:
        script = place / "fake training.py"
        script.write_text(FAKE_TRAINING + body)
        monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", json.dumps([sys.executable, str(script)]))

    return replace


def test_the_training_finds_the_same_idea_from_anywhere(
    place: Path,
    fake: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has the folders, absolute, whatever its own working folder."""
    write_identity(place / "data" / "synth")
    write_idea(NAME, GAIN, folder="shared")
    write_idea("other")
    monkeypatch.setenv(PATH_VARIABLE, "shared")
    look = (
        "    os.chdir('/')\n"
        "    from aqr_exp.config.identity import from_spec\n"
        "    spec = from_spec(folder.read_spec())\n"
        "    print('start is', spec.variant.start, os.environ['AQR_EXP_PATH'])\n"
    )
    fake(look + COMPLETES)
    assert main(["run", NAME, "variant.start=2"]) == 0, capsys.readouterr().err
    (run,) = Store(results_root()).folder_names()
    log = Store(results_root()).folder(run).train_log_path.read_text()
    assert f"start is 2.0 {place}/ideas:{place}/shared" in log
