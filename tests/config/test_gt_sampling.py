"""Ground-truth sampling as a part of a run: absent by default, chosen as a group, its keys checked."""

import pytest

from aqr_exp.config.compose import Override
from aqr_exp.config.identity import canonical, fingerprint
from aqr_exp.config.load import ConfigLoader, load_run
from aqr_exp.errors import RequestError


def test_it_is_absent_unless_chosen_and_only_then_in_the_identity() -> None:
    without = load_run("baseline")
    assert without.data.gt_sampling is None
    assert "gt_sampling" not in canonical(without)["data"]
    assert fingerprint(load_run("baseline", ["gt_sampling=none"])) == fingerprint(without)
    chosen = load_run("baseline", ["gt_sampling=cmt"])
    assert chosen.data.gt_sampling is not None
    assert chosen.data.gt_sampling.per_class == (2, 3, 7, 4, 6, 2, 6, 6, 2, 2)
    assert fingerprint(chosen) != fingerprint(without)
    other = load_run("baseline", ["gt_sampling=cmt", "data.gt_sampling.min_points=3"])
    assert fingerprint(other) != fingerprint(chosen)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["gt_sampling=cmt", "data.gt_sampling.per_class=[1,2]"],
            "data.gt_sampling.per_class=[1, 2]: must have 10 entries, one a class",
        ),
        (["gt_sampling=cnt"], "unknown gt_sampling 'cnt': did you mean 'cmt'?"),
        (["data.gt_sampling.min_points=3"], "it is of an optional part that is absent"),
    ],
)
def test_wrong_requests_are_one_line(overrides: list[str], line: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_run("baseline", overrides)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plan_over_keys_of_the_absent_part_is_refused_as_a_request() -> None:
    override = Override(key="data.gt_sampling.min_points", text="3", value=3)
    with pytest.raises(RequestError, match=r"it is of an optional part that is absent"):
        ConfigLoader(with_data=False).load("baseline", [override])
    chosen = Override(key="gt_sampling", text="cmt", value="cmt")
    loaded = ConfigLoader(with_data=False).load("baseline", [chosen, override])
    assert loaded.config == load_run("baseline", ["gt_sampling=cmt", override.typed])


def test_the_real_data_sets_differ_by_configuration_alone() -> None:
    mini, full = (load_run("baseline", [f"data={name}"]) for name in ("nuscenes_mini", "nuscenes"))
    assert (mini.data.train_split, mini.data.val_split) == ("mini_train", "mini_val")
    assert (full.data.train_split, full.data.val_split) == ("train", "val")
    assert mini.data.augment == full.data.augment
    assert full.data.sweeps == 10
    large = load_run("baseline", ["data=nuscenes", "model=cmt_vov_1600x640"]).data.augment
    assert (large.resize, large.test_resize) == ((0.94, 1.25), 1.0)
    camera = load_run("baseline", ["data=nuscenes", "model=cmt_camera"]).data.augment
    assert (camera.drop_camera, camera.drop_lidar) == (0.0, 0.0)
