import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from aqr_exp.config.identity import (
    as_dict,
    differing_circumstances,
    fingerprint,
    setting_fingerprint,
    to_yaml,
)
from aqr_exp.config.load import load_run
from aqr_exp.launch.record import build_record
from aqr_exp.store.collect import collect, with_settings
from aqr_exp.store.store import Store


def setting(*overrides: str) -> str:
    return setting_fingerprint(as_dict(load_run("baseline", list(overrides))))


def test_it_is_the_same_for_what_changes_no_number() -> None:
    assert setting("seed=3", "launcher.threads=1", "schedule.log_every_steps=3") == setting()
    assert setting("data.root=/elsewhere") == setting()


@pytest.mark.parametrize(
    "change", ["schedule.epochs=3", "model.head.layers=3", "data.augment.drop_lidar=0"]
)
def test_it_differs_with_model_data_and_schedule(change: str) -> None:
    assert setting(change) != setting()


def test_the_variant_is_no_part_of_it_and_absent_parts_are_none() -> None:
    spec = as_dict(load_run("baseline"))
    other = spec | {"variant": {"name": "attention_bias", "bias": {"scale": 2.5}}, "start": None}
    assert setting_fingerprint(other) == setting_fingerprint(spec)
    assert len(setting_fingerprint(spec)) == 12


def test_specifications_of_other_versions_can_be_compared() -> None:
    spec = as_dict(load_run("baseline"))
    newer = spec | {"model": spec["model"] | {"not yet thought of": {"depth": 3}}}
    assert setting_fingerprint(newer) != setting_fingerprint(spec)
    assert setting_fingerprint(newer) == setting_fingerprint(dict(reversed(newer.items())))
    assert setting_fingerprint({"model": "nonsense"}) != setting_fingerprint({})


def test_a_specification_read_back_has_the_setting_of_the_record(tmp_path: Path) -> None:
    config = load_run("baseline", ["schedule.learning_rate=1e-5", "launcher.threads=0"])
    record = build_record(config, overrides=[], argv=[])
    assert record["setting"] == setting_fingerprint(yaml.safe_load(to_yaml(config)))
    assert record["fingerprint"] == fingerprint(config)
    assert record["hardware"]["threads"] == record["cpus"]
    json.dumps(record, allow_nan=False)


def test_older_records_are_completed_from_their_specifications(tmp_path: Path) -> None:
    config = load_run("baseline", ["launcher.threads=3"])
    record = build_record(config, overrides=[], argv=[])
    older = {name: value for name, value in record.items() if name not in {"setting", "hardware"}}
    store = Store(tmp_path)
    for name, text in (("new", to_yaml(config)), ("old", to_yaml(config)), ("damaged", "{")):
        store.folder(name).create(text, record if name == "new" else older)
        store.folder(name).write_metrics({"mAP": 0.1})
        store.folder(name).write_state("completed")
    store.folder("failed").create("{", older)
    store.folder("failed").write_state("failed")
    rows = {row.name: row for row in with_settings(store, collect(store))}
    assert rows["old"].setting == rows["new"].setting == record["setting"]
    assert rows["old"].hardware["threads"] == 3
    assert differing_circumstances(rows["old"].hardware, rows["new"].hardware) == []
    assert (rows["damaged"].setting, rows["damaged"].hardware) == (None, {})
    assert rows["failed"].setting is None


@pytest.mark.parametrize(
    ("ours", "theirs", "differing"),
    [
        ({}, {"threads": 2}, []),
        ({"threads": 1}, {"threads": 2}, ["threads 1 and 2"]),
        ({"host": "a"}, {"host": "b"}, ["host a and b"]),
        ({"host": "a", "processor": "X"}, {"host": "b"}, ["host a and b"]),
        ({"host": "a", "processor": "X"}, {"host": "b", "processor": "X"}, []),
        ({"gpus": ["H200"]}, {"gpus": []}, ["gpus H200 and none"]),
        ({"cpus": 2, "device": "cpu"}, {"cpus": 4, "device": "cpu"}, ["cpus 2 and 4"]),
    ],
)
def test_only_known_circumstances_are_compared(
    ours: dict[str, Any], theirs: dict[str, Any], differing: list[str]
) -> None:
    assert differing_circumstances(ours, theirs) == differing


def test_a_seed_more_is_the_same_setting() -> None:
    config = load_run("baseline")
    other = dataclasses.replace(config, seed=9)
    assert setting_fingerprint(as_dict(config)) == setting_fingerprint(as_dict(other))
