import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.config.compose import group_options
from aqr_exp.config.convert import choices, convert, dotted_keys
from aqr_exp.config.identity import as_dict, canonical, fingerprint, from_spec, run_name, to_yaml
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.errors import RequestError

EXCLUDED = {
    "data.name",
    "data.root",
    "metrics",
    "model.name",
    "preset",
    "schedule.keep_checkpoints",
    "schedule.log_every_steps",
    "schedule.name",
    "seed",
    "start.load_from",
    "start.random",
    "variant.bias.scale.warn_threshold",
}

BASE = as_dict(load_run("baseline"))
START = {
    "load_from": "x.pth",
    "sha256": "ab",
    "parts": ["img_neck"],
    "freeze": ["img_backbone"],
    "rename": {"neck": "img_neck"},
    "ignore": ["head"],
    "random": False,
}
STAGES = "schedule.stages=[{epochs:3},{epochs:1,drop_camera:0}]"
DESCRIPTION = as_dict(NUSCENES) | {"point_range_m": [-60.0, -60.0, -5.0, 60.0, 60.0, 3.0]}


def _base(variant: str) -> dict[str, Any]:
    found = as_dict(load_run(variant, [STAGES, "gt_sampling=cmt"]))
    found |= {"start": START, "metrics": ["near_recall"]}
    return {**found, "data": {**found["data"], "description": DESCRIPTION}}


BASES = {variant: _base(variant) for variant in group_options()["variant"]}


def other_value(value: Any) -> Any:
    """Another value of the same type and, for numbers, surely within any range."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.5
    if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return {key: f"{item}x" for key, item in value.items()} or {"img_neck": 0.5}
    if isinstance(value, dict):
        return {**value, **({"range_m": 44.0} if "range_m" in value else {"drop_camera": 0.5})}
    if value == []:
        return [[0, 1.0, 2.0]]
    if isinstance(value, list):
        return [other_value(value[0]), *value[1:]]
    return 3 if value == "auto" else value + "x"


def leaves(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict) and f"{prefix}{key}" not in dotted_keys(RunConfig):
            yield from leaves(item, f"{prefix}{key}.")
        else:
            yield prefix + key, item


def changed(key: str, value: Any, base: dict[str, Any] = BASE) -> RunConfig:
    plain = copy.deepcopy(base)
    *parents, name = key.split(".")
    node = plain
    for parent in parents:
        node = node[parent]
    node[name] = value
    return convert(RunConfig, plain)


CHOICES = {
    key: choices(spec.type) for key, spec in dotted_keys(RunConfig).items() if choices(spec.type)
}


@pytest.mark.parametrize("variant", BASES)
def test_every_key_that_counts_changes_the_identity_and_no_other_does(variant: str) -> None:
    plain = BASES[variant]
    base = fingerprint(convert(RunConfig, plain))
    # The variant's name alone does not make another run: the parts must be that variant's.
    values = {key: value for key, value in leaves(plain) if key not in {*CHOICES, "variant.name"}}
    unchanged = {
        key
        for key, value in values.items()
        if fingerprint(changed(key, other_value(value), plain)) == base
    }
    launcher = {key for key in values if key.startswith("launcher.")}
    assert unchanged == (EXCLUDED | launcher) & set(values)
    assert len(values) > 70


def test_every_key_is_a_key_of_some_variant() -> None:
    assert len(BASES) == 3
    keys = {key for plain in BASES.values() for key, _ in leaves(plain)}
    every = {key for key in dotted_keys(RunConfig) if not key.startswith("launcher.slurm.")}
    # Only ideas have sources, only batch norms that are not synced a count, only jobs what is left out.
    assert keys | {"sources", "schedule.norm_processes"} == every


def test_enumerations_count_too() -> None:
    seen = set()
    for plain in BASES.values():
        base = fingerprint(convert(RunConfig, plain))
        for key, value in leaves(plain):
            if key in CHOICES:
                other = next(member for member in CHOICES[key] if member != value)
                same = fingerprint(changed(key, other, plain)) == base
                assert same == (key in {"launcher.name", "launcher.device", "evaluator"}), key
                seen.add(key)
    assert seen == set(CHOICES)
    assert len(seen) >= 12


def test_what_a_variant_lacks_is_not_in_its_identity() -> None:
    form = canonical(load_run("baseline"))
    assert form["variant"] == {"name": "baseline"}
    assert "start" not in form
    # A run's folder written before there were optional parts: the same run under the same name.
    earlier = {**BASE, "variant": {"name": "baseline"}}
    assert "start" not in earlier
    assert run_name(from_spec(earlier)) == run_name(load_run("baseline"))
    named = {**BASE, "variant": {"name": "baseline", "bias": None}, "start": None}
    whole = {name: value for name, value in START.items() if name != "parts"}
    taken = {**BASE, "variant": {"name": "baseline"}, "start": whole}
    assert "parts" not in canonical(from_spec(taken))["start"]
    assert run_name(from_spec(named)) == run_name(load_run("baseline"))


def test_identity_is_of_the_effective_configuration() -> None:
    by_group = load_run("baseline", ["schedule=standard"])
    by_key = load_run("baseline", ["schedule.epochs=24", "schedule.learning_rate=1e-4", "seed=5"])
    assert fingerprint(by_group) == fingerprint(by_key)
    assert run_name(by_key) == f"baseline-{fingerprint(by_group)}-s5"
    assert re.fullmatch(r"baseline-[0-9a-f]{12}-s5", run_name(by_key))


def test_the_canonical_form_is_what_is_hashed() -> None:
    form = canonical(load_run("baseline"))
    assert set(form) == {"variant", "model", "data", "schedule"}
    assert "root" not in form["data"]
    assert form["model"]["lidar"]["encoder"] == "pillars"
    assert form["model"]["point_cloud_range_m"] == [-18.0, -36.0, -5.0, 18.0, 36.0, 3.0]


@given(
    root=st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=30),
    rate=st.floats(1e-8, 1.0),
)
def test_the_spec_round_trips_through_yaml(root: str, rate: float) -> None:
    plain = copy.deepcopy(BASE)
    plain["data"]["root"] = root
    plain["schedule"]["learning_rate"] = rate
    config = convert(RunConfig, plain)
    again = from_spec(yaml.safe_load(to_yaml(config)))
    assert again == config
    assert fingerprint(again) == fingerprint(config)


def test_a_spec_is_checked_like_a_request() -> None:
    spec = as_dict(load_run("baseline"))
    with pytest.raises(RequestError, match="unknown key 'speed': did you mean 'seed'"):
        from_spec(spec | {"speed": 1})
    spec["model"]["head"]["heads"] = 3
    with pytest.raises(RequestError, match=r"model\.head\.width=128: must be divisible by"):
        from_spec(spec)


def test_a_key_left_out_at_its_default_counts_otherwise() -> None:
    base = load_run("attention_bias")
    earlier = as_dict(base)
    # A run from before there was such a key: readable, and the same.
    del earlier["variant"]["bias"]["attention"]
    assert from_spec(earlier) == base
    assert "attention" not in canonical(base)["variant"]["bias"]
    dense = load_run("attention_bias", ["variant.bias.attention=dense"])
    assert canonical(dense)["variant"]["bias"]["attention"] == "dense"
    assert fingerprint(dense) != fingerprint(base)
