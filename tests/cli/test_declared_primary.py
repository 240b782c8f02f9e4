"""What a sweep file declares of its table: the metric that decides, and what its arms may differ in."""

from pathlib import Path

import pytest
from test_sweep_command import complete

from aqr_exp.cli.main import main
from aqr_exp.cli.sweep_execute import remember
from aqr_exp.files.run_name import RunName
from aqr_exp.launch.scheduler import entry_of
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
    assert store.sweep("mine").declared() == ("NDS", ())


def test_a_plan_of_an_older_version_declares_nothing(data: Path, place: Path, store: Store) -> None:
    (place / "mine.yaml").write_text(FILE.replace("primary: NDS\n", ""))
    plan = plan_sweep(sweep_request("mine.yaml"))
    assert plan.primary == "mAP"
    store.sweep("mine").write_plan([])
    assert store.sweep("mine").declared() == (None, None)
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
    # Who adds runs without the file keeps it.
    store.sweep("mine").write_plan(store.sweep("mine").read_plan())
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


TAKES_ALL = "arms: --until-decided decides all arms of a sweep: leave the key out"
FAMILY = (
    "variant: attention_bias\ngrid:\n  bias_scale: [1, 2, 3]\nseeds: [0, 1, 2]\nbaseline: true\n"
)


def test_declared_arms_are_a_family_and_the_others_another(
    data: Path, place: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place / "mine.yaml"
    file.write_text(f"{FAMILY}arms: bias_scale == 2\n")
    plan = plan_sweep(sweep_request("mine.yaml"))
    complete(store, plan, 12)
    for place_of, run in enumerate(plan.runs):
        folder = store.folder(run.name)
        folder.write_metrics({**folder.read_metrics(), "mAP": 0.3 + 0.001 * (7 * place_of % 5)})
    remember(plan, store.sweep("mine"))
    built = build_table(store, collect(store), TableRequest(sweep="mine", metrics=["mAP"]))
    found = {arm.name: arm for arm in built.data.arms if arm.match.group}
    families = [
        (arm.match.undeclared, arm.estimates.differences["mAP"].comparisons)
        for arm in found.values()
    ]
    assert sorted(families) == [(False, 1), (True, 2), (True, 2)]
    (declared,) = [name for name, arm in found.items() if not arm.match.undeclared]
    (asked,) = {run.name[:-3] for run in plan.runs if "bias_scale=2" in run.overrides}
    assert found[declared].first.name.startswith(asked)
    # All arms tell of noise in both families.
    assert {arm.estimates.differences["mAP"].arms for arm in found.values()} == {4}
    marks = [row[at].mark for row in built.table.rows for at in range(len(row)) if row[at].mark]
    assert len(marks) == 2
    text = "not among the arms that the sweep declared"
    assert f"({marks[0]}) {text}, corrected among themselves: exploratory" in built.table.notes
    sentences = [note for note in built.table.notes if note.endswith(f"; {text}")]
    assert len(sentences) == 2
    assert not any(note.startswith(declared) for note in sentences)
    # What is on the screen changes nothing, and what was declared stays.
    alone = TableRequest(sweep="mine", metrics=["mAP"], where=["bias_scale == 1"])
    (one,) = [a for a in build_table(store, collect(store), alone).data.arms if a.match.group]
    assert one.match.undeclared
    file.write_text(f"{FAMILY}arms: [bias_scale == 2, bias_scale > 2]\n")
    assert main(["sweep", "mine.yaml", "--dry-run"]) == 2
    assert capsys.readouterr().err == (
        "aqr-exp: mine.yaml: arms=bias_scale == 2 or bias_scale > 2: sweep 'mine' was declared with "
        "bias_scale == 2 before it ran: --name NAME gives this one another name\n"
    )
    file.write_text(FAMILY)
    assert main(["sweep", "mine.yaml"]) == 2
    assert "arms=all: sweep 'mine' was declared with bias_scale == 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("declared", "line"),
    [
        (
            "arms: bias_scale == 2",
            "arms=bias_scale == 2: sweep 'mine' was declared with all before",
        ),
        ("primary: NDS", "primary=NDS: sweep 'mine' was declared with mAP before it ran"),
    ],
)
def test_nothing_is_declared_after_results_of_a_plan_that_does_not_say(
    data: Path,
    place: Path,
    store: Store,
    capsys: pytest.CaptureFixture[str],
    declared: str,
    line: str,
) -> None:
    (place / "mine.yaml").write_text(FAMILY)
    plan = plan_sweep(sweep_request("mine.yaml"))
    store.sweep("mine").write_plan([entry_of(run) for run in plan.runs])  # as older versions did
    assert store.sweep("mine").declared() == (None, None)
    (place / "mine.yaml").write_text(f"{FAMILY}{declared}\n")
    assert main(["sweep", "mine.yaml", "--dry-run"]) == 0
    complete(store, plan, 1)
    capsys.readouterr()
    for typed in (["--dry-run"], ["--until-decided"], []):
        assert main(["sweep", "mine.yaml", *typed]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert line in err
    (place / "mine.yaml").write_text(FAMILY)
    assert main(["sweep", "mine.yaml", "--dry-run"]) == 0


@pytest.mark.parametrize(
    ("text", "error", "decided"),
    [
        (
            "bias_scale == 4",
            "mine.yaml:6: arms=bias_scale == 4: no arm that is compared",
            TAKES_ALL,
        ),
        ("seed == 1", "mine.yaml:6: arms are told apart by anything but 'seed'", ""),
        ("bias_scal == 1", "mine.yaml:6: condition 'bias_scal == 1': unknown key 'bias_scal'", ""),
        ("[]", "mine.yaml:6: 'arms' is an empty list: write values, or leave the key out", ""),
        ("variant == 'baseline'", "no arm that is compared with a baseline is so", TAKES_ALL),
    ],
)
def test_a_family_that_cannot_be_is_refused(
    data: Path,
    place: Path,
    store: Store,
    capsys: pytest.CaptureFixture[str],
    text: str,
    error: str,
    decided: str,
) -> None:
    (place / "mine.yaml").write_text(f"{FAMILY}arms: {text}\n")
    for typed, expected in (([], error), (["--until-decided"], decided or error)):
        assert main(["sweep", "mine.yaml", *typed]) == 2
        out, err = capsys.readouterr()
        assert not out
        assert len(err.splitlines()) == 1
        assert len(err) <= 230
        assert expected in err
    assert store.sweep_names() == []


def test_a_sweep_until_decided_takes_no_family(
    data: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "mine.yaml").write_text(f"{FAMILY}arms: bias_scale == 2\n")
    for typed in (["--until-decided"], ["--until-decided", "--dry-run"]):
        assert main(["sweep", "mine.yaml", *typed]) == 2
        assert capsys.readouterr() == (
            "",
            "aqr-exp: mine.yaml: arms: --until-decided decides all arms of a sweep: leave the key out\n",
        )


def test_a_search_takes_no_family(
    data: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "variant: attention_bias\nstrategy: random\ntrials: 2\nsearch:\n  bias_scale: [1, 2, 3]\n"
    )
    (place / "mine.yaml").write_text(f"{text}arms: bias_scale == 2\n")
    assert main(["sweep", "mine.yaml", "--dry-run"]) == 2
    line = "'arms' chooses among points that are listed, and 'strategy' proposes them: leave 'arms' out"
    assert capsys.readouterr() == ("", f"aqr-exp: mine.yaml:6: {line}\n")
