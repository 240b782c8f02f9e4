from pathlib import Path
from typing import Any

import pytest

from aqr_exp.cli.main import main
from aqr_exp.store.store import Store

HARDWARE = {"threads": 1, "processor": "EPYC", "cpus": 2, "gpus": [], "device": "cpu"}


def add(store: Store, variant: str, seed: int, mean_ap: float, **record: Any) -> str:
    name = f"{variant}-0123456789ab-s{seed}"
    whole = {
        "variant": variant,
        "fingerprint": "0123456789ab",
        "seed": seed,
        "preset": "quick",
        "overrides": [],
        "setting": "a setting",
        "hardware": HARDWARE,
        **record,
    }
    folder = store.folder(name)
    folder.create(f"variant: {{name: {variant}}}\nschedule: {{epochs: 4}}\n", whole)
    folder.append_history({"kind": "val", "epoch": 2, "mAP": mean_ap / 2, "NDS": 0.1})
    folder.write_metrics({"mAP": mean_ap, "NDS": 0.3, "split": "val", "synthetic": False})
    folder.write_state("completed")
    return name


@pytest.fixture
def runs(store: Store) -> Store:
    for seed, value in enumerate((0.15, 0.16, 0.18)):
        add(store, "baseline", seed, value)
        add(store, "attention_bias", seed, value + 0.1 + seed / 100, python="3.12.1")
    return store


def test_the_table_says_better_and_what_else_differs(
    runs: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table", "--metrics", "mAP"]) == 0
    out = capsys.readouterr().out
    # Welch's interval, the wider one: variances .000233 and .000633, 3.298 degrees of freedom, t 3.026.
    assert "+11.00 [+5.86, +16.14], better (a) |" in out
    assert "(a) not only the declared factor differs: python 3.12.1 and unknown\n" in out


def test_strict_is_one_line_and_exit_2(runs: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "--strict"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        "aqr-exp: --strict: attention_bias 0123456789ab and baseline 0123456789ab"
    )
    assert err.count("\n") == 1
    assert main(["table", "--strict", "--factor", "python"]) == 0


def test_runs_are_chosen_sorted_and_looked_at_after_an_epoch(
    runs: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--where", "schedule.epochs == 4", "--where", "seed < 2"]
    assert main(["table", *where, "--sort", "mAP", "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["attention_bias", "baseline"]
    assert {line.split(",")[5] for line in lines[1:]} == {"2"}
    assert main(["table", "--at-epoch", "last-common"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("After epoch 2 (curve, not the metric of record): ")
    assert " 8.17 ± " in out  # half of the mean .49/3, in points


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--where", "bias_scal > 2"], "unknown key 'bias_scal': did you mean 'bias_scale'?"),
        (["--where", "exec('x')"], "is not an expression of"),
        (["--sort", "mAp"], "--sort 'mAp': no such column: did you mean 'mAP'?"),
        (["--factor", "code_revision"], "unknown factor 'code_revision'"),
        (["--baseline", "x"], "--baseline 'x': no such arm in the table"),
        (["--sweep", "x"], "--sweep 'x': no such sweep was started (there: none)"),
        (["--at-epoch", "9"], "no run was evaluated after epoch 9 (there: 2)"),
        (["--by", "range", "--metrics", "mAP@night"], "--by range gives the parts"),
    ],
)
def test_a_wrong_wish_is_one_line_that_leaves_nothing(
    runs: Store, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["table", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err


def test_a_user_reference_without_a_source_is_refused(
    runs: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(runs.root) / "reference"
    folder.mkdir()
    (folder / "mine.csv").write_text("name,changes,data,mAP,source\nx,,val,.5,\n")
    assert main(["table", "--reference"]) == 1
    assert "mine.csv:2: a reference needs its source" in capsys.readouterr().err
