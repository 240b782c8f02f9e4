import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from aqr_exp.config.identity import fingerprint
from aqr_exp.config.inputs import identity_path, with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import AqrExpError, RequestError

GOOD: dict[str, Any] = {
    "fingerprint": "0123456789abcdef",
    "version": "v1.0-synth",
    "splits": {"synth_train": 10, "synth_val": 4},
    "synthetic": True,
}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path / "data; echo"))
    return load_run("baseline")


def write(config: RunConfig, value: dict[str, Any]) -> None:
    path = identity_path(Path(config.data.root))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def test_the_data_are_part_of_the_identity(config: RunConfig) -> None:
    write(config, GOOD)
    filled = with_data_identity(config)
    assert filled.data.fingerprint == "0123456789abcdef"
    write(config, GOOD | {"fingerprint": "f" * 16})
    assert fingerprint(with_data_identity(config)) != fingerprint(filled)


def test_missing_data_are_named_with_what_makes_them(config: RunConfig) -> None:
    with pytest.raises(RequestError) as caught:
        with_data_identity(config)
    root = config.data.root
    assert str(caught.value) == (
        f"data.root={root}: no data set there: make it with `aqr-exp data synth --root '{root}'`"
    )


def test_the_usual_folder_needs_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AQR_EXP_DATA", raising=False)
    with pytest.raises(RequestError, match=r"make it with `aqr-exp data synth`$"):
        with_data_identity(load_run("baseline"))


def test_other_data_are_pointed_at(config: RunConfig) -> None:
    data = dataclasses.replace(config.data, name="nuscenes", version="v1.0-trainval")
    with pytest.raises(RequestError, match=r"set data\.root \(or AQR_EXP_DATA"):
        with_data_identity(dataclasses.replace(config, data=data))


@pytest.mark.parametrize(
    ("changes", "kind", "fault"),
    [
        ({"version": "v1.0-mini"}, RequestError, "data.version='v1.0-synth': .* holds 'v1.0-mini'"),
        (
            {"splits": {"synth_train": 1, "synth_vall": 1}},
            RequestError,
            r"data.val_split='synth_val': no such split: did you mean 'synth_vall'\? \(there:",
        ),
        ({"fingerprint": "xyz"}, AqrExpError, "is damaged: fingerprint is 'xyz', not 16 hex"),
        ({"splits": 3}, AqrExpError, "is damaged: it names no splits or no version"),
        ({"synthetic": "no"}, AqrExpError, "is damaged: it does not say whether the data are"),
    ],
)
def test_data_that_do_not_fit_are_refused(
    config: RunConfig, changes: dict[str, Any], kind: type[AqrExpError], fault: str
) -> None:
    write(config, GOOD | changes)
    with pytest.raises(kind, match=fault):
        with_data_identity(config)


def test_data_that_changed_since_are_refused(config: RunConfig) -> None:
    write(config, GOOD)
    filled = with_data_identity(config)
    assert with_data_identity(filled) == filled
    write(config, GOOD | {"fingerprint": "f" * 16})
    with pytest.raises(RequestError, match=f"the data changed: they are {'f' * 16}, the run was"):
        with_data_identity(filled)
