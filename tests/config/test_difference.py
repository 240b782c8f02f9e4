from aqr_exp.config.identity import (
    ABSENT,
    Difference,
    IdentityEffect,
    as_dict,
    differences,
    fingerprint,
)
from aqr_exp.config.load import load_run


def test_keys_are_sorted_by_what_they_mean() -> None:
    one = load_run("attention_bias", ["seed=0", "launcher.threads=2"])
    other = load_run("attention_bias", ["seed=1", "bias_scale=3"])
    assert differences(as_dict(one), as_dict(other)) == [
        Difference(
            key="variant.bias.scale.start", ours=2.5, theirs=3.0, effect=IdentityEffect.CHANGES
        ),
        Difference(key="seed", ours=0, theirs=1, effect=IdentityEffect.SEED_ONLY),
        Difference(key="launcher.threads", ours=2, theirs=1, effect=IdentityEffect.LAST_DIGITS),
    ]
    assert fingerprint(one) != fingerprint(other)


def test_a_part_that_one_lacks_is_one_difference() -> None:
    found = differences(as_dict(load_run("baseline")), as_dict(load_run("attention_bias")))
    assert [item.key for item in found] == ["variant.name", "variant.router", "variant.bias"]
    assert found[1].ours == ABSENT
    assert found[1].theirs["heads"] == 4


def test_names_and_paths_mean_nothing() -> None:
    one = load_run("baseline", ["schedule=smoke", "data.root=here"])
    other = load_run("baseline", ["preset=smoke", "data.root=there"])
    found = differences(as_dict(one), as_dict(other))
    assert {item.key: item.effect for item in found} == {
        "data.root": IdentityEffect.NONE,
        "preset": IdentityEffect.NONE,
    }
    assert fingerprint(one) == fingerprint(other)


def test_keys_of_another_version_are_named() -> None:
    spec = as_dict(load_run("baseline"))
    older = {**spec, "gone": {"a": 1}, "model": {**spec["model"], "old": True}}
    assert [(item.key, item.effect) for item in differences(spec, older)] == [
        ("model.old", IdentityEffect.CHANGES),
        ("gone", IdentityEffect.CHANGES),
    ]


def test_a_key_that_an_older_run_lacks_is_a_difference_where_it_does_something_new() -> None:
    spec = as_dict(load_run("baseline"))
    older = {**spec, "schedule": {**spec["schedule"]}}
    del older["schedule"]["accumulate"]
    newer = {**spec, "schedule": {**spec["schedule"], "accumulate": 2}}
    for one, other in ((spec, older), (older, spec)):
        assert differences(one, other) == []
    for one, other in ((newer, older), (older, newer)):
        assert [item.key for item in differences(one, other)] == ["schedule.accumulate"]


def test_true_is_not_one() -> None:
    (found,) = differences({"a": True}, {"a": 1})
    assert (found.ours, found.theirs) == (True, 1)
