"""What a sweep file declares of its table: the metric that decides, and what its arms may differ in."""

from pathlib import Path

import pytest
from test_sweep_command import complete

from aqr_exp.cli.main import main
from aqr_exp.cli.sweep_execute import remember
from aqr_exp.files.run_name import RunName
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


FACTORS = """variant: attention_bias
points: [{bias_scale: 2}, {bias_scale: 2, schedule.epochs: 6}, {variant: baseline}]
seeds: [0, 1, 2]
"""


def test_arms_are_compared_across_a_declared_factor(data: Path, place: Path, store: Store) -> None:
    def compared(**asked: list[str]) -> dict[int, str]:
        """The verdict by the epochs of the arm."""
        plan = plan_sweep(sweep_request("mine.yaml"))
        remember(plan, store.sweep("mine"))
        request = TableRequest(sweep="mine", **asked)
        table = build_table(store, collect(store), request).table
        names = [column.name for column in table.columns]
        at = names.index("identity"), names.index("mAP verdict")
        words = {row[at[0]].text: row[at[1]].text for row in table.rows}
        return {
            run.config.schedule.epochs: words[RunName.parse(run.name).fingerprint]
            for run in plan.runs
            if run.variant != "baseline"
        }

    (place / "mine.yaml").write_text(FACTORS)
    complete(store, plan_sweep(sweep_request("mine.yaml")), 9)
    without = compared()
    assert without[6] == "-"
    (place / "mine.yaml").write_text(f"{FACTORS}factors: [schedule.epochs]\n")
    assert compared() == {4: without[4], 6: without[4]}
    assert store.sweep("mine").factors() == ["schedule.epochs"]
    # What is typed stands in its place.
    assert compared(factors=["schedule.batch_size"])[6] == "-"
    # Runs that join keep it.
    store.sweep("mine").add_to_plan(store.sweep("mine").read_plan())
    assert store.sweep("mine").factors() == ["schedule.epochs"]


@pytest.mark.parametrize(
    ("factors", "line"),
    [
        (
            "[schedule.epoch]",
            ":4: unknown factor 'schedule.epoch': did you mean 'schedule.epochs'? ",
        ),
        ("schedule.epochs", ":4: 'factors' is the text 'schedule.epochs': write a list, [a, b]"),
        ("[]", ":4: 'factors' is an empty list: write values, or leave the key out"),
        ("[3]", ":4: 'a factor' is the value 3: write a text"),
    ],
)
def test_a_factor_that_is_none_is_named_with_its_line(
    data: Path, place: Path, capsys: pytest.CaptureFixture[str], factors: str, line: str
) -> None:
    (place / "mine.yaml").write_text(f"{FACTORS}factors: {factors}\n")
    assert main(["sweep", "mine.yaml", "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"aqr-exp: mine.yaml{line}")
    assert len(err) <= 201
