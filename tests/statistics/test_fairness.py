from typing import Any

import pytest

from aqr_exp.errors import RequestError
from aqr_exp.statistics.confounders import (
    check_factors,
    configuration_confounders,
    record_confounders,
)
from aqr_exp.store.collect import RunRow
from aqr_exp.store.status import RunStatus

RECORD: dict[str, Any] = {
    "data": {"fingerprint": "0123456789abcdef", "root": "/data"},
    "code": {"revision": "a" * 40, "dirty": False, "difference_sha256": None},
    "versions": {"torch": "2.1.0", "numpy": "1.26.4"},
    "python": "3.11.7",
    "hardware": {"threads": 1, "device": "cpu", "gpus": [], "processor": "EPYC", "host": "one"},
}


def run(seed: int | None, **record: Any) -> RunRow:
    return RunRow(
        name=f"r{seed}", status=RunStatus.COMPLETED, record={**RECORD, "seed": seed, **record}
    )


def named(ours: list[RunRow], theirs: list[RunRow], *factors: str) -> list[str]:
    return [str(item) for item in record_confounders(ours, theirs, check_factors(factors))]


def test_runs_that_agree_have_no_confounder() -> None:
    elsewhere = {"fingerprint": "0123456789abcdef", "root": "/elsewhere"}
    host = {**RECORD["hardware"], "host": "two", "loader_workers": 7}
    assert named([run(0)], [run(0, data=elsewhere, hardware=host, platform="x")]) == []


@pytest.mark.parametrize(
    ("record", "words", "factor"),
    [
        ({"data": {"fingerprint": "f" * 16}}, "data ffffffffffffffff and 0123456789abcdef", "data"),
        ({"code": {"revision": "b" * 40}}, f"code {'b' * 12} and {'a' * 12}", "code"),
        (
            {"code": {"revision": "a" * 40, "dirty": True, "difference_sha256": "c" * 64}},
            f"code {'a' * 12}+cccccccc and {'a' * 12}",
            "code",
        ),
        ({"code": None}, f"code installed and {'a' * 12}", "code"),
        ({"python": "3.12.1"}, "python 3.12.1 and 3.11.7", "python"),
        ({"versions": {"torch": "2.2.0", "numpy": "1.26.4"}}, "torch 2.2.0 and 2.1.0", "packages"),
        ({"versions": {"torch": "2.1.0"}}, "numpy unknown and 1.26.4", "packages"),
        ({"hardware": {**RECORD["hardware"], "threads": 2}}, "threads 2 and 1", "threads"),
        ({"hardware": {**RECORD["hardware"], "device": "cuda"}}, "device cuda and cpu", "device"),
        (
            {"hardware": {**RECORD["hardware"], "gpus": ["H200", "H200"]}},
            "gpus H200, H200 and none",
            "gpus",
        ),
    ],
)
def test_each_confounder_is_named_unless_it_is_declared(
    record: dict[str, Any], words: str, factor: str
) -> None:
    assert named([run(0, **record)], [run(0)]) == [words]
    assert named([run(0, **record)], [run(0)], factor) == []


def test_runs_of_one_seed_are_compared_and_those_that_differ_are_counted() -> None:
    other = {"revision": "b" * 40}
    mixed = [run(0), run(1, code=other), run(2)]
    assert named(mixed, [run(0), run(1, code=other), run(2)]) == []
    assert named(mixed, [run(0), run(1), run(2)]) == [
        f"code {'b' * 12} and {'a' * 12} (1 of 3 pairs of runs)"
    ]


def test_without_a_common_seed_every_run_is_compared_with_every_other() -> None:
    assert named([run(0), run(1, python="3.12.1")], [run(7), run(8)]) == [
        "python 3.12.1 and 3.11.7 (2 of 4 pairs of runs)"
    ]
    assert named([run(None)], [run(None, python="3.12.1")]) == ["python 3.11.7 and 3.12.1"]


def test_configurations_are_compared_outside_the_declared_factors() -> None:
    ours = {
        "variant": {"name": "attention_bias"},
        "schedule": {"epochs": 4, "learning_rate": 0.1, "amp": True},
        "launcher": {"threads": 2},
        "seed": 3,
    }
    theirs = {
        "variant": {"name": "baseline"},
        "schedule": {"epochs": 4, "learning_rate": 0.2, "amp": False},
        "start": {"sha256": "ab"},
        "launcher": {"threads": 1},
        "seed": 4,
    }

    def found(*factors: str) -> list[str]:
        return [
            str(item) for item in configuration_confounders(ours, theirs, check_factors(factors))
        ]

    assert found() == [
        "schedule.learning_rate 0.1 and 0.2",
        "schedule.amp True and False",
        "start absent and {'sha256': 'ab'}",
    ]
    assert found("schedule.amp", "start") == ["schedule.learning_rate 0.1 and 0.2"]
    assert found("schedule", "start") == []


def test_factors_are_checked_and_short_names_spelled_out() -> None:
    assert check_factors(["window_size", "schedule"]) == (
        "variant",
        "variant.bias.window.bev",
        "variant.bias.window.camera",
        "schedule",
    )
    with pytest.raises(RequestError) as caught:
        check_factors(["schedule.epoch", "zzz"])
    first, second = str(caught.value).splitlines()
    assert first.startswith("unknown factor 'schedule.epoch': did you mean 'schedule.epochs'?")
    assert second == (
        "unknown factor 'zzz' (allowed: a key, a group of keys, or code, python, packages, training, "
        "threads, device, gpus, gpus_per_run, processor)"
    )


def coded(seed: int, revision: str, **modules: str) -> RunRow:
    named = {f"aqr_exp/{name}.py": digest for name, digest in modules.items()}
    code = {"revision": revision * 40, "dirty": False, "difference_sha256": None}
    return run(seed, code=code | ({"modules": named} if named else {}))


def test_code_is_compared_over_the_modules_that_both_loaded() -> None:
    ours = coded(0, "a", head="1", loss="1", bias="1")
    assert named([ours], [coded(0, "b", head="1", loss="1", gain="9")]) == []
    other = coded(0, "b", head="2", loss="1", bias="1")
    assert named([ours], [other]) == ["code aqr_exp/head.py"]
    assert named([ours], [other], "code") == []


def test_changed_modules_are_counted_once_a_pair_and_few_are_named() -> None:
    names = [f"m{number}" for number in range(5)]
    old = coded(1, "a", **dict.fromkeys(names, "1"))
    new = coded(1, "a", **dict.fromkeys(names, "2"))
    alike = coded(0, "a", **dict.fromkeys(names, "1"))
    assert named([alike, new], [alike, old]) == [
        "code aqr_exp/m0.py, aqr_exp/m1.py, aqr_exp/m2.py and 2 more (1 of 2 pairs of runs)"
    ]


def test_beside_a_run_of_an_older_version_the_revision_is_compared() -> None:
    new, old = coded(0, "a", head="1"), coded(0, "b")
    assert named([new], [old]) == [f"code {'a' * 12} and {'b' * 12}"]
    assert named([new], [coded(0, "a")]) == []
    installed = run(0, code={"modules": {"aqr_exp/head.py": "1"}})
    assert named([installed], [run(0, code=None)]) == []
    assert named([installed], [coded(0, "a", head="1")]) == []
