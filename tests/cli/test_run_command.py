import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_training import COMPLETES, FAILS, STOPPED

from aqr_exp.cli.main import main
from aqr_exp.cli.run import run_config
from aqr_exp.config.identity import from_spec, run_name
from aqr_exp.config.schema import RunConfig
from aqr_exp.store.store import Store

Fake = Callable[[str], None]


def test_a_run_completes_and_shows_its_metrics(
    config: RunConfig, store: Store, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(COMPLETES)
    code = run_config(config, store, ["seed=0"])
    out, err = capsys.readouterr()
    assert code == 0
    folder = store.folder(run_name(config))
    assert f"folder: {folder.path}" in out
    assert "mAP" in out
    assert "0.2531" in out
    assert "SYNTHETIC" in out
    assert f"{folder.name}: starts (log: {folder.train_log_path})" in err
    assert from_spec(folder.read_spec()) == config
    record = folder.read_record()
    assert record["name"] == folder.name
    assert record["overrides"] == ["seed=0"]
    assert record["data"]["fingerprint"] == "0123456789abcdef"
    assert folder.read_state().attempt == 1


def test_a_completed_run_is_shown_and_not_repeated(
    config: RunConfig, store: Store, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(COMPLETES)
    run_config(config, store, [])
    capsys.readouterr()
    assert main(["run", "baseline"]) == 0
    out, err = capsys.readouterr()
    assert "is complete already (--force starts it anew beside this one)" in err
    assert "0.2531" in out
    assert main(["run", "baseline", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["metrics"]["mAP"] == 0.2531
    assert shown["status"] == "completed"
    assert store.names() == [run_name(config)]


def test_a_failed_run_says_why_and_starts_again(
    config: RunConfig, store: Store, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(FAILS)
    assert run_config(config, store, []) == 1
    name = run_name(config)
    err = capsys.readouterr().err
    assert "  line before the end" in err
    assert err.splitlines()[-1] == f"aqr-exp: {name} failed: the loss is not finite"
    fake(COMPLETES)
    assert run_config(config, store, []) == 0
    assert f"{name}: was failed, starts attempt 2" in capsys.readouterr().err
    assert store.folder(name).read_state().attempt == 2
    assert store.names() == [name]


def test_an_interrupted_run_is_cancelled_and_starts_again(
    config: RunConfig, store: Store, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(STOPPED)
    assert run_config(config, store, []) == 130
    name = run_name(config)
    assert capsys.readouterr().err.splitlines()[-1] == f"aqr-exp: {name} cancelled: interrupted"
    assert store.folder(name).effective_status() == "cancelled"
    fake(COMPLETES)
    assert run_config(config, store, []) == 0


def test_force_starts_beside(config: RunConfig, store: Store, fake: Fake) -> None:
    fake(COMPLETES)
    run_config(config, store, [])
    fake(COMPLETES)
    assert run_config(config, store, [], force=True) == 0
    name = run_name(config)
    assert store.names() == [name, f"{name}-a2"]
    assert store.folder(f"{name}-a2").read_record()["name"] == f"{name}-a2"


def test_a_run_somebody_works_on_is_refused(
    config: RunConfig, store: Store, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(FAILS)
    run_config(config, store, [])
    capsys.readouterr()
    with store.folder(run_name(config)).lock():
        assert main(["run", "baseline"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"aqr-exp: {run_name(config)} is worked on by process ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ["run", "baselin"],
            [
                (
                    "unknown variant 'baselin': did you mean 'baseline'? "
                    "(available: attention_bias, baseline, renderer_modulator)"
                )
            ],
        ),
        (
            ["run", "baseline", "schedul.epochs=3"],
            ["unknown key 'schedul.epochs': did you mean 'schedule.epochs'?"],
        ),
        (
            ["run", "baseline", "schedule.epochs=0", "seed=two"],
            [
                "schedule.epochs=0: must be a whole number from 1 to 1000",
                "seed='two': must be a whole number from 0 to 2147483647",
            ],
        ),
        (
            ["run", "baseline", "data.root=/nowhere"],
            [
                "data.root=/nowhere: no data set there: make it with `aqr-exp data synth --root /nowhere`"
            ],
        ),
    ],
)
def test_a_wrong_request_leaves_nothing_behind(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], lines: list[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert err.splitlines() == [f"aqr-exp: {line}" for line in lines]
    assert out == ""
    assert list(place.iterdir()) == []
