import dataclasses
import hashlib
from pathlib import Path

import pytest

from aqr_exp.config.identity import as_dict, canonical, fingerprint, from_spec
from aqr_exp.config.inputs import with_checkpoint_identity
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import StartConfig
from aqr_exp.errors import RequestError
from aqr_exp.files.reading import file_sha256

CONTENT = b"weights" * 300_000  # more than one piece


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "it's; echo"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = folder / "cmt.pth"
    path.write_bytes(CONTENT)
    return path


def fault_of(*overrides: str, variant: str = "baseline") -> str:
    with pytest.raises(RequestError) as caught:
        load_run(variant, overrides)
    return str(caught.value)


def test_the_content_is_part_of_the_identity_and_the_place_is_not(checkpoint: Path) -> None:
    first = load_run("baseline", ["start.load_from=cmt.pth"])
    assert first.start is not None
    assert first.start == StartConfig(
        load_from=str(checkpoint), sha256=hashlib.sha256(CONTENT).hexdigest(), parts=(), freeze=()
    )
    assert canonical(first)["start"] == {"sha256": first.start.sha256, "freeze": []}
    assert fingerprint(first) != fingerprint(load_run("baseline"))
    checkpoint.rename(checkpoint.with_name("same.pth"))
    assert fingerprint(load_run("baseline", ["start.load_from=same.pth"])) == fingerprint(first)
    checkpoint.write_bytes(CONTENT + b"!")
    assert fingerprint(load_run("baseline", ["start.load_from=cmt.pth"])) != fingerprint(first)


def test_what_is_frozen_is_part_of_the_identity(checkpoint: Path) -> None:
    loaded = load_run("attention_bias", ["start.load_from=cmt.pth"])
    frozen = load_run(
        "attention_bias", ["start.load_from=cmt.pth", "start.freeze=[img_backbone,pts_]"]
    )
    assert frozen.start is not None
    assert frozen.start.freeze == ("img_backbone", "pts_")
    assert fingerprint(frozen) != fingerprint(loaded)
    assert from_spec(as_dict(frozen)) == frozen


def test_from_scratch_there_is_no_start() -> None:
    config = load_run("baseline")
    assert config.start is None
    assert "start" not in as_dict(config)
    assert with_checkpoint_identity(config) is config


def test_a_checkpoint_that_changed_since_is_refused(checkpoint: Path) -> None:
    config = load_run("baseline", ["start.load_from=cmt.pth"])
    assert with_checkpoint_identity(config) == config
    before = config.start.sha256 if config.start else ""
    checkpoint.write_bytes(b"other")
    with pytest.raises(RequestError) as caught:
        with_checkpoint_identity(config)
    assert str(caught.value) == (
        f"start.load_from={checkpoint}: the file changed: its sha256 is "
        f"{hashlib.sha256(b'other').hexdigest()}, the run was made for {before}"
    )


def test_a_missing_file_is_named(checkpoint: Path) -> None:
    assert fault_of("start.load_from=nowhere.pth") == "start.load_from=nowhere.pth: no such file"
    assert fault_of("start.load_from=.") == "start.load_from=.: is a folder, not a checkpoint file"


def test_an_unreadable_file_is_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = StartConfig(load_from="cmt.pth", sha256="", parts=(), freeze=())
    config = dataclasses.replace(load_run("baseline"), start=start)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("aqr_exp.config.inputs.file_sha256", refuse)
    with pytest.raises(RequestError, match=r"^start.load_from=cmt.pth: cannot be read: Permission"):
        with_checkpoint_identity(config)


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        (
            "start.freeze=[img_backbone]",
            "start.freeze=['img_backbone']: freezes what start.load_from loads: set it too",
        ),
        ("start.freeze=[1]", "start.freeze=[1]: must be a list of texts"),
        ("start.freeze=img", "start.freeze='img': must be a list of texts"),
        (
            "start.load_from=3",
            "start.load_from=3: must be text (in quotes: 'start.load_from=\"3\"')",
        ),
        ("start.sha256=ab", "'start.sha256' cannot be set: it is read from the checkpoint"),
        (
            "start=x",
            "'start' is a group of keys: set one of them, such as 'start.load_from'",
        ),
    ],
)
def test_a_wrong_start_is_one_line(override: str, fault: str) -> None:
    assert fault_of(override) == fault


def test_an_empty_beginning_would_freeze_everything(checkpoint: Path) -> None:
    assert fault_of("start.load_from=cmt.pth", "start.freeze=['']") == (
        "start.freeze=['']: an empty beginning would freeze everything"
    )


def test_the_hash_is_the_usual_one(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert file_sha256(path) == hashlib.sha256(b"").hexdigest()
