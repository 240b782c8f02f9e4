"""The page on other data sets, command by command, from nothing to tables and verdicts."""

import shlex
from pathlib import Path

import pytest
from workplace import Workplace

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-data.md"
COMMANDS = [
    line.strip() for line in PAGE.read_text().splitlines() if line.startswith("    aqr-exp")
]
CPU = ["launcher.threads=1", "launcher.device=cpu"]


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, str]:
    """What each command of the page prints, in its order."""
    folder = tmp_path_factory.mktemp("own") / "a b; echo 'x'"
    place = Workplace(folder, folder / "data")
    found = {}
    for command in COMMANDS:
        words = [
            name
            for word in shlex.split(command)[1:]
            for name in (map(str, folder.glob(word)) if "*" in word else [word])
        ]
        done = place.aqr_exp(*words, *(CPU if words[0] == "run" else []))
        found[command] = found.get(command, "") + done.stdout + done.stderr
    return found


def _of(said: dict[str, str], beginning: str) -> str:
    return "".join(text for command, text in said.items() if command.startswith(beginning))


def test_the_data_are_sound_and_prepared(said):
    assert "no fault found" in _of(said, "aqr-exp data check")
    prepared = _of(said, "aqr-exp data prepare")
    for name in ("container", "forklift", "worker", "pallet"):
        assert f"objects of synth_train: {name}" in prepared
    assert "CAM FRONT LEFT" not in prepared


def test_both_variants_are_in_the_table_with_a_verdict(said):
    table = said["aqr-exp table"]
    assert "SYNTHETIC" in table
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert any("baseline" in row for row in rows)
    (other,) = [row for row in rows if "attention_bias" in row]
    assert "undecided" in other


def test_tables_and_comparisons_are_of_its_classes(said):
    for command in ("aqr-exp table --by class", "aqr-exp compare"):
        text = _of(said, command)
        assert all(name in text for name in ("container", "forklift", "worker", "pallet"))
        assert "pedestrian" not in text
    by_class = said["aqr-exp table --by class"]
    # The same detections, imported, score the same.
    assert by_class.count("other") >= 4
