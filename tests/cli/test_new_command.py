"""`aqr-exp new`: files that run as they are, and nothing overwritten."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ideas_at_hand import forget_ideas, write_idea

from aqr_exp.cli.main import main
from aqr_exp.cli.new import templates
from aqr_exp.config.idea_files import PATH_VARIABLE, idea_names
from aqr_exp.config.identity import run_name
from aqr_exp.config.load import load_run
from aqr_exp.config.variant_spec import variant_named, variant_specs

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder."""
    forget_ideas()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    yield tmp_path
    forget_ideas()


def test_it_writes_an_idea_and_its_test_and_says_what_is_next(
    capsys: pytest.CaptureFixture[str], snapshot: object
) -> None:
    assert main(["new", "my_gain"]) == 0
    captured = capsys.readouterr()
    assert captured.out == snapshot
    assert captured.err == ""
    assert sorted(path.name for path in Path("ideas").iterdir()) == [
        "my_gain.py",
        "test_my_gain.py",
    ]
    assert Path("ideas/my_gain.py").read_text() == snapshot
    assert idea_names() == ["my_gain"]


def test_every_template_is_an_idea_that_a_detector_is_built_with(place: Path) -> None:
    from mmdet3d.registry import MODELS

    from aqr_exp.cmt.detector import register_modules
    from aqr_exp.cmt.detector_config import detector_config

    register_modules()
    assert list(templates()) == ["attention_bias", "data", "features", "loss", "queries", "scores"]
    for kind, summary in templates().items():
        name = f"my_{kind}"
        assert main(["new", name, "--from", kind]) == 0
        text = Path(f"ideas/{name}.py").read_text()
        assert text.startswith(f'"""{summary}"""\n')
        assert len(text.splitlines()) <= 50
        assert "my_idea" not in text.lower().replace("_", "")
        config = load_run(name)
        assert variant_specs()[name].summary == summary
        head = MODELS.build(detector_config(config)["pts_bbox_head"])
        off = head.aqr.off
        assert off is None or run_name(load_run(name, [f"{k}={v}" for k, v in off.items()]))
    # The tests beside them, as they are run from the folder: every one of them is found.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "ideas"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert main(["new", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert len(line) <= 200
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    return line.removeprefix("aqr-exp: ")


def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    write_idea("my_gain", "x = 1\n")
    line = "my_gain: is an idea already (ideas/my_gain.py): choose another name"
    assert refusal(capsys, "my_gain") == line
    write_idea("test_other", "x = 1\n")
    line = "ideas/test_other.py: is there already, and stays as it is"
    assert refusal(capsys, "other") == line
    (place / "ideas" / "linked.py").symlink_to("/nowhere")
    assert refusal(capsys, "linked").startswith("linked: is an idea already (ideas/linked.py)")
    (place / "ideas" / "test_third.py").symlink_to("/nowhere")
    assert refusal(capsys, "third").startswith("ideas/test_third.py: is there already")


FIT = "names of ideas are Python identifiers of letters, digits and _, such as "


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["my-gain"],
            "my-gain: names of ideas are Python identifiers of letters, digits and _, such as my_gain",
        ),
        (
            ["../up"],
            "../up: names of ideas are Python identifiers of letters, digits and _, such as up",
        ),
        (["test_it"], "test_it: names of ideas begin neither with _ nor with test_: "),
        (["_it"], "_it: names of ideas begin neither with _ nor with test_: "),
        (["baseline"], "baseline: is the name of a shipped variant: choose another"),
        (["json"], "json: Python has a module json already ("),
        (
            ["class"],
            "class: names of ideas are Python identifiers of letters, digits and _, such as class_1",
        ),
        (["x" * 5000], "xxx"),
        (["it", "--from", "score"], "--from: 'score' is none of attention_bias, data, features, "),
    ],
)
def test_what_cannot_be_an_idea(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, *words).startswith(line)
    assert not Path("ideas").exists()


@pytest.mark.parametrize(
    "name", ["idea", "settings", "range", "queries", "context", "tensor", "a1"]
)
def test_a_name_of_what_is_imported_is_no_clash(name: str) -> None:
    assert main(["new", name]) == 0
    load_run(name)
    assert variant_named(name) is not None


def test_a_folder_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    Path("ideas").write_text("")
    assert refusal(capsys, "my_gain") == "ideas: file exists"
