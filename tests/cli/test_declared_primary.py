"""The metric that a sweep file declares before it runs."""

from pathlib import Path

import pytest
from test_sweep_command import complete

from aqr_exp.cli.main import main
from aqr_exp.cli.sweep_execute import remember
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.request import TableRequest
from aqr_exp.store.collect import collect
from aqr_exp.store.store import Store
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.plan import plan_sweep

FILE = "variant: [baseline, attention_bias]\nseeds: [0, 1, 2]\nprimary: NDS\n"


def test_the_primary_metric_is_declared_once(
    data: Path, place: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "mine.yaml").write_text(FILE)
    plan = plan_sweep(sweep_request("mine.yaml"))
    complete(store, plan, 6)
    remember(plan, store.sweep("mine"))
    table = build_table(store, collect(store), TableRequest(sweep="mine")).table
    (said,) = [note for note in table.notes if "is the primary metric" in note]
    assert said.startswith("NDS is the primary metric; each other one (mAP) is corrected by itself")
    # Of the store as a whole nobody declared anything.
    table = build_table(store, collect(store), TableRequest()).table
    assert any(note.startswith("mAP is the primary metric") for note in table.notes)
    (place / "mine.yaml").write_text(FILE.replace("NDS", "mAP"))
    for typed in (["sweep", "mine.yaml"], ["sweep", "mine.yaml", "--dry-run"]):
        assert main(typed) == 2
        assert capsys.readouterr().err == (
            "aqr-exp: mine.yaml: primary=mAP: sweep 'mine' was declared with NDS before it ran: "
            "--name NAME gives this one another name\n"
        )
    assert store.sweep("mine").primary() == "NDS"


def test_a_plan_of_an_older_version_declares_nothing(data: Path, place: Path, store: Store) -> None:
    (place / "mine.yaml").write_text(FILE.replace("primary: NDS\n", ""))
    plan = plan_sweep(sweep_request("mine.yaml"))
    assert plan.primary == "mAP"
    store.sweep("mine").write_plan([])
    assert store.sweep("mine").primary() is None
    (place / "mine.yaml").write_text(FILE)
    assert main(["sweep", "mine.yaml", "--dry-run"]) == 0
