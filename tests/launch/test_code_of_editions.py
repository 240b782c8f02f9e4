"""The code of a run as `same` gets it: this package, its revision from git, or a refusal in one line."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aqr_exp.config.sources import parse
from aqr_exp.errors import RequestError
from aqr_exp.launch import same_code
from aqr_exp.launch.same_code import compare_code, edition_of
from aqr_exp.statistics.confounders import code_pair, record_confounders
from aqr_exp.store.collect import RunRow
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store

NAME = "aqr_exp/head.py"


def row(text: str, revision: str | None, name: str = "a-0-s0", **record: Any) -> RunRow:
    code = {"revision": revision, "modules": {NAME: parse(text.encode()).digest}}
    return RunRow(name=name, status=RunStatus.COMPLETED, record={"code": code, "seed": 0, **record})


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """A checkout with the package; returns what commits another text of its module."""
    checkout = tmp_path / "it's; echo $HOME"
    (checkout / "aqr_exp").mkdir(parents=True)
    monkeypatch.setattr(same_code, "PACKAGE", checkout / "aqr_exp")
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    git = ("git", "-C", str(checkout), *identity)
    subprocess.run([*git, "init", "-q"], check=True)

    def commit(text: str) -> str:
        (checkout / NAME).write_text(text)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "edition"], check=True)
        found = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True)
        return found.stdout.decode().strip()

    return commit


def test_the_package_here_is_taken_where_it_is_what_the_run_loaded(
    committed: Callable[[str], str], tmp_path: Path
) -> None:
    committed("x = 1\n")
    here = edition_of(row("x = 1  # alike\n", "f" * 40), tmp_path / "A")
    assert here == same_code.PACKAGE.parent
    assert not (tmp_path / "A").exists()


def test_another_edition_comes_from_git(committed: Callable[[str], str], tmp_path: Path) -> None:
    old = committed("x = 1\n")
    committed("x = 2\n")
    place = edition_of(row("x = 1\n", old), tmp_path / "A")
    assert (place / NAME).read_text() == "x = 1\n"
    assert (same_code.PACKAGE.parent / NAME).read_text() == "x = 2\n"


@pytest.mark.parametrize(
    ("text", "revision", "fault"),
    [
        ("x = 3\n", "OLD", "a-0-s0 was made by changes that OLD does not have"),
        ("x = 1\n", "e" * 40, "the code of a-0-s0, eeeeeeeeeeee, is not in "),
        ("x = 1\n", "--output=x" + "e" * 30, "the code of a-0-s0 cannot be had: "),
        ("x = 1\n", None, "the code of a-0-s0 cannot be had: "),
    ],
)
def test_code_that_cannot_be_had_is_refused(
    committed: Callable[[str], str], tmp_path: Path, text: str, revision: str, fault: str
) -> None:
    old = committed("x = 1\n")
    committed("x = 2\n")
    typed = old if revision == "OLD" else revision
    with pytest.raises(RequestError) as caught:
        edition_of(row(text, typed), tmp_path / "A")
    assert str(caught.value).startswith(fault.replace("OLD", old[:12]))


def test_runs_of_one_code_and_runs_of_older_versions_are_refused(tmp_path: Path) -> None:
    store, one = Store(tmp_path), row("x = 1\n", None)
    with pytest.raises(RequestError, match="a-0-s0 and b-0-s0 were made by the same code"):
        compare_code(one, row("x = 1\n", None, "b-0-s0"), store)
    with pytest.raises(RequestError, match="are of an older version: nothing is known"):
        compare_code(one, RunRow(name="b-0-s0", status=RunStatus.COMPLETED), store)
    assert not store.same_code_dir.exists()


def test_an_answer_holds_for_two_arms_and_their_code_alone(tmp_path: Path) -> None:
    one, other = row("x = 1\n", None, variant="a"), row("x = 2\n", None, variant="b")
    again = row("x = 2\n", None, "b-0-s1", variant="b")
    assert code_pair(one, other) == code_pair(other, one) == code_pair(one, again)
    different = {code_pair(one, row("x = 3\n", None, variant="b")), code_pair(one, other)}
    assert len(different | {code_pair(one, row("x = 2\n", None, variant="c"))}) == 3
    known = {code_pair(one, other)}
    (tested,) = record_confounders([one], [other], (), known)
    assert str(tested) == "code aqr_exp/head.py: same bits (tested)"
    (confounder,) = record_confounders([one], [row("x = 3\n", None, variant="b")], (), known)
    assert (str(confounder), confounder.tested) == ("code aqr_exp/head.py", False)
