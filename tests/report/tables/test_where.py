from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import MadeUpStore, run_row
from tables_as_lines import lines

import aqr_exp.results
from aqr_exp.cli.main import main
from aqr_exp.errors import RequestError
from aqr_exp.report.tables.baselines import shared_by_an_arm
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.cells import Table
from aqr_exp.report.tables.request import TableRequest
from aqr_exp.report.tables.rows import meeting, read_conditions
from aqr_exp.store.collect import MEAN_METRICS, RunRow, collect

SPECS: Mapping[str, Mapping[str, Any]] = {
    "a": {
        "variant": {"name": "attention_bias", "bias": {"scale": {"start": 2.5, "learnable": True}}},
        "schedule": {"name": "quick", "epochs": 4},
    },
    "b": {
        "variant": {
            "name": "attention_bias",
            "bias": {"scale": {"start": 5.0, "learnable": False}},
        },
        "schedule": {"name": "standard", "epochs": 24},
    },
    "c": {"variant": {"name": "baseline"}, "schedule": {"name": "quick", "epochs": 4}},
}


def rows() -> list[RunRow]:
    variants = {name: spec["variant"]["name"] for name, spec in SPECS.items()}
    return [
        run_row(seed, 0.1 * seed, name=name, variant=variants[name])
        for seed, name in enumerate(SPECS)
    ]


def kept(*texts: str) -> list[str]:
    def read_spec(row: RunRow) -> dict[str, Any]:
        return SPECS[row.name]

    conditions = read_conditions(texts, rows(), read_spec, outcomes=True)
    found, notes = meeting(rows(), conditions, read_spec)
    assert notes == []
    return [row.name for row in found]


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        ([], ["a", "b", "c"]),
        (["bias_scale >= 2"], ["a", "b"]),
        (["bias_scale>2.5"], ["b"]),
        (["variant == 'baseline' or learnable_scale"], ["a", "c"]),
        (["schedule == 'quick'"], ["a", "c"]),
        (["schedule.epochs in [24]"], ["b"]),
        (["seed < 2", "mAP > .05"], ["b"]),
        (["not bias_scale == 5"], ["a", "c"]),
    ],
)
def test_runs_are_chosen_by_keys_short_names_groups_and_metrics(
    texts: list[str], names: list[str]
) -> None:
    assert kept(*texts) == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bias_scal >= 2", "unknown key 'bias_scal': did you mean 'bias_scale'?"),
        ("__import__('os').system('true')", "is not an expression of keys, numbers"),
        ("bias_scale", None),
        ("2 + 2 == 4", "is not an expression of"),
        ("bias_scale >= 'x'", "cannot be compared: they differ"),
        ("", "is not an expression of"),
        ("[x for x in y]", "is not an expression of"),
    ],
)
def test_a_condition_is_read_and_never_run(text: str, words: str | None) -> None:
    if words is None:
        assert kept(text) == ["a", "b"]
        return
    with pytest.raises(RequestError, match=r"^condition ") as caught:
        kept(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_whose_specification_cannot_be_read_is_named() -> None:
    conditions = read_conditions(["bias_scale > 1"], rows()[:1], lambda _: None)
    found, notes = meeting(rows()[:1], conditions, lambda _: None)
    assert (found, notes) == ([], ["not in the table: a: its spec.yaml cannot be read"])


def test_what_rows_know_needs_no_specification() -> None:
    def refuse(row: RunRow) -> None:
        raise AssertionError(row.name)

    found, _ = meeting(rows(), read_conditions(["seed == 1"], [], refuse), refuse)
    assert [row.name for row in found] == ["b"]


def test_runs_of_one_identity_share_all_keys_but_those_that_change_no_number() -> None:
    assert shared_by_an_arm(["bias_scale", "schedule.epochs", "data.val_split"])
    for name in ("launcher.threads", "launcher", "seed", "data.root"):
        assert not shared_by_an_arm([name]), name


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> MadeUpStore:
    """Two schedules, each with its baseline and three scales, of three seeds; seed 2 of scale 3 is bad."""
    store = MadeUpStore(tmp_path_factory.mktemp("results"))
    for epochs in (4, 5):
        typed = [f"schedule.epochs={epochs}"]
        for seed in range(3):
            store.add("baseline", typed, seed, mAP=0.30 + seed / 100, NDS=0.3)
            for scale in (1, 2, 3):
                value = 0.31 + scale / 100 + seed / 100 - 0.2 * (seed == 2 and scale == 3)
                store.add(
                    "attention_bias", [*typed, f"bias_scale={scale}"], seed, mAP=value, NDS=0.3
                )
    return store


def arms(table: Table) -> list[tuple[str, str, int, str]]:
    """Variant, changes, n and selection of each line, without what all lines share."""
    return [
        (
            line["variant"],
            line["changes"].replace("schedule.epochs=4", "").strip(),
            int(line["n"]),
            line.get("selection", ""),
        )
        for line in lines(table)
    ]


def table(store: MadeUpStore, *where: str, **request: Any) -> Table:
    asked = TableRequest(where=where, metrics=["mAP"], **request)
    return build_table(store, collect(store), asked).table


BIAS, KEPT = "attention_bias", "kept for comparison"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (
            ["schedule.epochs == 4", "bias_scale >= 2"],
            [
                ("baseline", "", 3, KEPT),
                (BIAS, "bias_scale=2", 3, ""),
                (BIAS, "bias_scale=3", 3, ""),
            ],
        ),
        (
            ["schedule.epochs == 4 and bias_scale == 3 and seed < 2"],
            [("baseline", "", 2, KEPT), (BIAS, "bias_scale=3", 2, "")],
        ),
        (
            ["schedule.epochs == 4", "bias_scale == 3 or seed == 1"],
            [
                ("baseline", "", 3, KEPT),
                (BIAS, "bias_scale=1", 1, ""),
                (BIAS, "bias_scale=2", 1, ""),
                (BIAS, "bias_scale=3", 3, ""),
            ],
        ),
        (
            ["schedule.epochs == 4", "not (bias_scale <= 2 or seed == 0)"],
            [("baseline", "", 2, ""), (BIAS, "bias_scale=3", 2, "")],
        ),
        (
            [
                "schedule.epochs == 4",
                "variant == 'attention_bias'",
                "bias_scale == 1",
                "seed in [0, 2]",
            ],
            [("baseline", "", 2, KEPT), (BIAS, "bias_scale=1", 2, "")],
        ),
        (["schedule.epochs == 4", "variant == 'baseline'"], [("baseline", "", 3, "")]),
    ],
)
def test_a_condition_on_keys_keeps_what_its_arms_are_compared_with(
    made_up: MadeUpStore, where: list[str], expected: list[tuple[str, str, int, str]]
) -> None:
    found = table(made_up, *where)
    assert sorted(arms(found)) == sorted(expected)
    compared = [line["mAP difference"] for line in lines(found) if line["variant"] == BIAS]
    assert "-" not in compared
    assert not any("no comparable baseline" in note for note in found.notes)
    noted = [note for note in found.notes if note.startswith("kept for comparison: baseline ")]
    assert len(noted) == sum(word == KEPT for *_, word in expected)
    assert all(note.endswith(f", which does not meet {' and '.join(where)}") for note in noted)


def test_a_kept_baseline_is_the_whole_arm_and_gives_the_difference_of_the_whole_table(
    made_up: MadeUpStore,
) -> None:
    whole, part = (
        {(line["variant"], line["changes"]): line for line in lines(table(made_up, *where))}
        for where in ([], ["bias_scale >= 2"])
    )
    assert len(whole) == 8
    assert len(part) == 6
    for arm, line in part.items():
        for name in ("n", "mAP", "mAP difference"):
            assert line[name] == whole[arm][name], arm


def test_the_asked_for_baseline_is_kept_too(made_up: MadeUpStore) -> None:
    first = next(
        row for row in collect(made_up) if row.overrides == "schedule.epochs=4 bias_scale=1"
    )
    found = table(made_up, "schedule.epochs == 4 and bias_scale == 3", baseline=first.fingerprint)
    assert sorted(arms(found)) == [(BIAS, "bias_scale=1", 3, KEPT), (BIAS, "bias_scale=3", 3, "")]


METRICS_IN = [*(f"{name} > 0.3" for name in MEAN_METRICS)]
METRICS_IN += ["not mAP <= .3", "bias_scale >= 2 and mAP > .3", "seed == 0 or NDS < 1", "mAP"]
METRICS_IN += [f"mAP > .3 and schedule.epochs in [{', '.join(map(str, range(100, 250)))}]"]


@pytest.mark.parametrize("text", METRICS_IN)
@pytest.mark.parametrize(
    "command",
    [["table"], ["table", "--at-epoch", "2"], ["table", "--by", "class"], ["plot", "classes"]],
)
def test_selection_by_outcome_is_refused_in_one_line_where_means_follow(
    made_up: MadeUpStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    text: str,
) -> None:
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made_up.root))
    assert main([*command, "--where", text]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert " is an outcome, and numbers selected by outcome mislead: use --sort " in err
    assert err.count("\n") == 1
    assert len(err) <= 201
    with pytest.raises(RequestError, match=r"is an outcome"):
        aqr_exp.results.table(made_up.root, where=["seed < 9", text])


def test_a_list_of_runs_may_be_filtered_by_outcome(
    made_up: MadeUpStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made_up.root))
    assert main(["list", "--where", "mAP < 0.2", "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count('"name"') == 2
    assert out.count('"seed": 2') == 2
    assert main(["list", "--where", "mAP > 1"]) == 0
    assert capsys.readouterr() == ("", "none of 24 runs meets mAP > 1\n")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (["seed == 7"], "'seed == 7' (there: seed: 0, 1, 2)"),
        (["bias_scale > 3"], "'bias_scale > 3' (there: bias_scale: 1.0, 2.0, 3.0)"),
        (
            ["bias_scale > 3", "seed < 2"],
            "'bias_scale > 3 and seed < 2' (there: bias_scale: 1.0, 2.0, 3.0; seed: 0, 1, 2)",
        ),
        (["variant == 'x'"], "(there: variant: baseline, attention_bias)"),
        (["status == 'failed'"], "(there: status: completed)"),
    ],
)
def test_conditions_that_no_run_meets_name_the_values_there_are(
    made_up: MadeUpStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: list[str],
    words: str,
) -> None:
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made_up.root))
    options = [part for text in where for part in ("--where", text)]
    for command in (["table"], ["table", "--by", "cost"], ["plot", "classes"]):
        assert main([*command, *options]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("aqr-exp: none of 24 completed runs meets ")
        assert words in err
        assert err.count("\n") == 1


def test_where_all_that_meet_it_failed_the_table_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = MadeUpStore(tmp_path)
    store.add("baseline", [], 0, mAP=0.3, NDS=0.3)
    failed = store.add("baseline", [], 1).name
    monkeypatch.setenv("AQR_EXP_RESULTS", str(tmp_path))
    assert main(["table", "--where", "seed == 1"]) == 0
    err = capsys.readouterr().err
    assert "none of 1 completed runs meets 'seed == 1' (there: seed: 0)\n" in err
    assert f"not in the table: {failed}: failed: the loss is not finite" in err
    assert "no completed runs" not in err
