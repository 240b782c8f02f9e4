from aqr_exp.config.identity import ABSENT, Bearing, Difference, as_dict, differences, fingerprint
from aqr_exp.config.load import load_run


def test_keys_are_sorted_by_what_they_mean() -> None:
    one = load_run("attention_bias", ["seed=0", "launcher.threads=1"])
    other = load_run("attention_bias", ["seed=1", "bias_scale=3"])
    assert differences(as_dict(one), as_dict(other)) == [
        Difference(key="variant.bias.scale.start", ours=2.5, theirs=3.0, bearing=Bearing.COUNTS),
        Difference(key="seed", ours=0, theirs=1, bearing=Bearing.REPLICATE),
        Difference(key="launcher.threads", ours=1, theirs=0, bearing=Bearing.NEUTRAL),
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
    assert {item.key: item.bearing for item in found} == {
        "data.root": Bearing.NEUTRAL,
        "preset": Bearing.NEUTRAL,
    }
    assert fingerprint(one) == fingerprint(other)


def test_keys_of_another_version_are_named() -> None:
    spec = as_dict(load_run("baseline"))
    older = {**spec, "gone": {"a": 1}, "model": {**spec["model"], "old": True}}
    assert [(item.key, item.bearing) for item in differences(spec, older)] == [
        ("model.old", Bearing.COUNTS),
        ("gone", Bearing.COUNTS),
    ]


def test_true_is_not_one() -> None:
    (found,) = differences({"a": True}, {"a": 1})
    assert (found.ours, found.theirs) == (True, 1)
