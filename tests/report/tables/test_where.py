from collections.abc import Mapping
from typing import Any

import pytest
from made_up_runs import run_row

from aqr_exp.errors import RequestError
from aqr_exp.report.tables.baselines import shared_by_an_arm
from aqr_exp.report.tables.rows import meeting, read_conditions
from aqr_exp.store.collect import RunRow

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
    found, notes = meeting(rows(), read_conditions(texts), lambda row: SPECS[row.name])
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
    found, notes = meeting(rows()[:1], read_conditions(["bias_scale > 1"]), lambda _: None)
    assert (found, notes) == ([], ["not in the table: a: its spec.yaml cannot be read"])


def test_what_rows_know_needs_no_specification() -> None:
    def refuse(row: RunRow) -> None:
        raise AssertionError(row.name)

    found, _ = meeting(rows(), read_conditions(["seed == 1 and mAP > 0"]), refuse)
    assert [row.name for row in found] == ["b"]


def test_runs_of_one_identity_share_all_keys_but_those_that_change_no_number() -> None:
    assert shared_by_an_arm(["bias_scale", "schedule.epochs", "data.val_split"])
    for name in ("launcher.threads", "launcher", "seed", "data.root"):
        assert not shared_by_an_arm([name]), name
