"""A results folder that an older version wrote is read with the numbers that version printed.

Verdicts and intervals (`table`, `compare`) are those of the present rule.
"""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from aqr_exp.cli.main import main
from aqr_exp.store.collect import collect
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store

STORED = Path(__file__).parents[1] / "stored"
# Shipped models have got biases since; these words make them what they were.
AS_BEFORE = "model.head.projection_bias=false"
COMMANDS = {
    "list": ["list", "--json"],
    "table": ["table", "--format", "json"],
    "table_verify": ["table", "--sweep", "scales", "--verify", "--format", "json"],
    "dry_run_scales": ["sweep", "scales.yaml", AS_BEFORE, "--dry-run", "--json"],
    "dry_run_search": ["sweep", "search.yaml", AS_BEFORE, "--dry-run", "--json"],
    "why": ["why", "attention_bias-1457bec2889b-s0", "attention_bias-cea45af6270f-s1", "--json"],
}
COMPARE = ["compare", "baseline-63bc03a46fd5", "attention_bias-cea45af6270f", "--format", "json"]
# Keys that later versions print besides.
NEWER = {"joined"}
SHOWN = [path.stem.removeprefix("show_") for path in (STORED / "golden").glob("show_*.json")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, as the current folder."""
    folder = tmp_path / "pla ce"
    shutil.copytree(STORED, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AQR_EXP_DATA", raising=False)
    monkeypatch.delenv("AQR_EXP_RESULTS", raising=False)
    return folder


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    """The JSON that a command prints."""
    capsys.readouterr()
    assert main(arguments) == ("--verify" in arguments)
    text = capsys.readouterr().out
    return json.loads(re.sub(rf',\s*"{AS_BEFORE}"', "", text))


def golden(name: str, place: Path) -> Any:
    """The JSON that the older version printed."""
    text = (STORED / "golden" / f"{name}.json").read_text()
    return json.loads(text.replace("@PLACE@", str(place)))


def assert_same(found: Any, expected: Any, where: str = "") -> None:
    """Equal but for the last digits of numbers, which other libraries may round otherwise."""
    if isinstance(expected, dict):
        assert isinstance(found, dict), where
        assert [key for key in found if key not in NEWER] == list(expected), where
        for key, value in expected.items():
            assert_same(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for at, value in enumerate(expected):
            assert_same(found[at], value, f"{where}[{at}]")
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12), where
    else:
        assert found == expected, where


SMALL = ["spec.yaml", "record.json", "state.json", "metrics.json"]


def unmarked(found: Any) -> Any:
    """What a command printed without the marks that files of older versions get."""
    if isinstance(found, list):
        return [unmarked(item) for item in found if not str(item).startswith("unverified: ")]
    if isinstance(found, dict):
        assert not found.get("verified", False)
        if found.get("unverified") in (SMALL, SMALL[:3]):
            found["unverified"] = []
        return {key: unmarked(value) for key, value in found.items() if key != "verified"}
    return found.removesuffix(", unverified") if isinstance(found, str) else found


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.broad
def test_it_is_read_as_before(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(COMMANDS[name], capsys)
    assert ("verified" in json.dumps(found)) == (name in {"list", "table"})
    assert_same(unmarked(found), golden(name, place))


def test_its_runs_are_shown_as_before(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(SHOWN) == 5
    for name in SHOWN:
        found = printed(["show", name, "--json"], capsys)
        assert found["integrity"]["unverified"]
        assert_same(unmarked(found), golden(f"show_{name}", place), name)


def test_its_states_are_told_apart(place: Path) -> None:
    found = {row.name: row.status for row in collect(Store(place / "results"))}
    assert found["attention_bias-194615027afd-s0"] is RunStatus.PRUNED
    assert found["baseline-63bc03a46fd5-s5"] is RunStatus.INTERRUPTED
    assert found["baseline-63bc03a46fd5-s6"] is RunStatus.CANCELLED
    assert found["baseline-63bc03a46fd5-s3"] is RunStatus.FAILED


@pytest.mark.broad
def test_what_it_cached_is_not_served(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Statistics are of the code that computed them: other code computes them anew."""
    cached = [*(place / "results" / ".cache").rglob("*.json")]
    assert cached
    for path in cached:
        path.write_text(path.read_text().replace("0.", "7."))
    found = printed(COMPARE, capsys)
    assert any("unverified: " in note for note in found["configuration"]["notes"])
    assert_same(unmarked(found), golden("compare", place))
