import copy
import dataclasses
from typing import Any

import pytest
from composed import compose_run
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.config.compose import Override
from aqr_exp.config.convert import convert
from aqr_exp.config.identity import as_dict, fingerprint, from_spec, to_yaml
from aqr_exp.config.load import ConfigLoader, load_run
from aqr_exp.config.rules import broken_rules
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.data import AugmentConfig
from aqr_exp.config.schema.schedule import ScheduleConfig, StageConfig
from aqr_exp.config.stages import stage_at, stages_of
from aqr_exp.data.pipeline import train_pipeline
from aqr_exp.errors import RequestError
from aqr_exp.train.runner_config import runner_config

BASE = compose_run("baseline")
TYPED = "schedule.stages=[{epochs:3},{epochs:1,drop_camera:0,resize:[0.5,0.5]}]"


def staged(*stages: dict[str, Any], epochs: int | None = None) -> RunConfig:
    """The baseline with stages, not checked by the rules between keys."""
    plain = copy.deepcopy(BASE)
    total = sum(stage["epochs"] for stage in stages)
    plain["schedule"] |= {"epochs": epochs or total, "stages": list(stages)}
    return convert(RunConfig, plain)


def test_a_stage_may_say_every_key_of_training_augmentation() -> None:
    def hints(cls: Any) -> dict[str, Any]:
        return {field.name: field.type for field in dataclasses.fields(cls)}

    augment = set(hints(AugmentConfig)) - {"test_resize"}
    assert set(hints(StageConfig)) == augment | {"epochs", "gt_sampling"}


def test_stages_are_typed_in_one_key() -> None:
    config = load_run("baseline", [TYPED])
    assert config.schedule.stages == (
        StageConfig(epochs=3),
        StageConfig(epochs=1, drop_camera=0.0, resize=(0.5, 0.5)),
    )
    assert from_spec(as_dict(config)) == config
    assert "stages:\n  - {epochs: 3}\n  - epochs: 1\n" in to_yaml(config)


def test_absent_stages_are_not_in_the_identity_and_present_ones_are() -> None:
    plain = load_run("baseline")
    assert plain.schedule.stages is None
    assert "stages" not in as_dict(plain)["schedule"]
    with_stages = load_run("baseline", [TYPED])
    other = load_run("baseline", [TYPED.replace("drop_camera:0", "drop_camera:0.05")])
    same = load_run("baseline", [TYPED.replace("drop_camera:0", "drop_camera: 0.0")])
    assert len({fingerprint(config) for config in (plain, with_stages, other)}) == 3
    assert fingerprint(same) == fingerprint(with_stages)


def test_many_points_take_stages_as_one_run_does() -> None:
    value = [{"epochs": 3}, {"epochs": 1, "drop_camera": 0, "resize": [0.5, 0.5]}]
    key, _, text = TYPED.partition("=")
    point = ConfigLoader(with_data=False).load(
        "baseline", [Override(key=key, text=text, value=value)]
    )
    assert point.config == load_run("baseline", [TYPED])
    assert point.fingerprint == fingerprint(point.config)


def test_a_stage_trains_with_its_own_data() -> None:
    config = load_run("baseline", [TYPED])
    first, second = stages_of(config)
    assert first.config.data == config.data
    augment = config.data.augment
    assert second.config.data == dataclasses.replace(
        config.data, augment=dataclasses.replace(augment, drop_camera=0.0, resize=(0.5, 0.5))
    )
    assert str(first) == "stage 1 (epochs 1-3; as data says)"
    assert str(second) == "stage 2 (epoch 4; resize=(0.5, 0.5), drop_camera=0)"
    assert [stage_at((first, second), epoch) for epoch in range(4)] == [first, first, first, second]
    assert stages_of(load_run("baseline")) == ()
    assert stage_at((), 3) is None


def test_the_first_stage_is_what_the_runner_starts_with(tmp_path: Any) -> None:
    config = staged({"epochs": 1, "drop_lidar": 0.25}, {"epochs": 2})
    settings = runner_config(config, work_dir=tmp_path, predictions_dir=tmp_path, train_samples=8)
    steps = {step["type"]: step for step in settings["train_dataloader"]["dataset"]["pipeline"]}
    assert steps["ModalDropout"]["drop_lidar"] == 0.25
    # The cycle spans all stages.
    assert settings["param_scheduler"][-1]["end"] == 3 * 4


def test_the_published_schedule_pastes_objects_for_fifteen_epochs_of_twenty() -> None:
    config = load_run("baseline", ["schedule=published", "gt_sampling=cmt"])
    first, second = stages_of(config)
    assert (first.first_epoch, first.epochs) == (0, 15)
    assert (second.first_epoch, second.epochs) == (15, 5)
    kinds = [[step["type"] for step in train_pipeline(stage.config)] for stage in (first, second)]
    assert "PasteObjects" in kinds[0]
    assert kinds[1] == [kind for kind in kinds[0] if kind != "PasteObjects"]


@given(epochs=st.lists(st.integers(1, 5), min_size=2, max_size=6))
def test_the_stages_divide_the_epochs(epochs: list[int]) -> None:
    config = staged(*({"epochs": e, "drop_camera": i / 100} for i, e in enumerate(epochs)))
    assert broken_rules(config) == []
    stages = stages_of(config)
    covered = [stage_at(stages, epoch) for epoch in range(config.schedule.epochs)]
    numbers = [stage.number for stage in covered if stage is not None]
    assert numbers == [number for number, e in enumerate(epochs, start=1) for _ in range(e)]


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (
            staged({"epochs": 3}, {"epochs": 2, "drop_camera": 0.0}, epochs=4),
            "schedule.epochs=4: the epochs of schedule.stages add up to 5: they must be equal",
        ),
        (
            staged({"epochs": 4, "drop_camera": 0.0}),
            (
                "schedule.stages: fewer than two stages: set what they change in data, "
                "and leave them out"
            ),
        ),
        (
            staged(
                {"epochs": 1}, {"epochs": 2, "flip_bev": False}, {"epochs": 1, "flip_bev": False}
            ),
            "schedule.stages[2]: is as the stage before it: make them one",
        ),
        (
            staged({"epochs": 1}, {"epochs": 1, "gt_sampling": False}),
            (
                "schedule.stages[1].gt_sampling=false: there is no data.gt_sampling to switch on "
                "or off (gt_sampling=cmt gives one)"
            ),
        ),
        (
            staged({"epochs": 1, "drop_lidar": 0.95}, {"epochs": 1}),
            (
                "schedule.stages[0].drop_camera + schedule.stages[0].drop_lidar = 1.05: "
                "must add up to at most 1: a sample loses one sensor or none"
            ),
        ),
        (
            staged({"epochs": 1}, {"epochs": 1, "scale": [1.1, 0.9]}),
            "schedule.stages[1].scale=[1.1, 0.9]: must be positive, lowest first",
        ),
    ],
)
def test_a_broken_rule_of_stages_is_one_line(config: RunConfig, fault: str) -> None:
    assert list(map(str, broken_rules(config))) == [fault]


def test_a_model_of_one_sensor_drops_none_in_any_stage() -> None:
    config = staged({"epochs": 1}, {"epochs": 1, "drop_camera": 0.5})
    one = dataclasses.replace(config.model, sensors="lidar")
    assert (
        "schedule.stages[1].drop_camera=0.5: must be 0: model.sensors=lidar reads one sensor"
        in map(str, broken_rules(dataclasses.replace(config, model=one)))
    )


def test_a_fault_of_the_data_is_not_repeated_by_every_stage() -> None:
    config = staged({"epochs": 1}, {"epochs": 1, "flip_bev": False})
    augment = dataclasses.replace(config.data.augment, scale=(0.0, 1.0))
    broken = dataclasses.replace(config, data=dataclasses.replace(config.data, augment=augment))
    faults = list(map(str, broken_rules(broken)))
    assert faults == ["data.augment.scale=[0.0, 1.0]: must be positive, lowest first"]


@pytest.mark.parametrize(
    ("typed", "faults"),
    [
        (
            "[{epochs:3},{epochs:1,drop_camra:0}]",
            (
                "unknown key 'schedule.stages[1].drop_camra': "
                "did you mean 'schedule.stages[1].drop_camera'?"
            ),
        ),
        (
            "[{epochs:3},{epochs:1,drop_camera:2}]",
            "schedule.stages[1].drop_camera=2: must be a number from 0 to 1",
        ),
        (
            "[{epochs:4},{flip_bev:false}]",
            "key 'schedule.stages[1].epochs' is missing: it must be a whole number from 1 to 1000",
        ),
        (
            "[3,1]",
            (
                "schedule.stages[0]=3: must be a group of keys\n"
                "schedule.stages[1]=1: must be a group of keys"
            ),
        ),
        (
            "5",
            (
                "schedule.stages=5: must be a list of groups of keys (each of epochs, gt_sampling, "
                "resize, narrow_images, flip_image, rotate_deg, scale, translate_std_m, flip_bev, "
                "drop_camera, drop_lidar, dropped_cloud)"
            ),
        ),
    ],
)
def test_faults_within_a_stage_are_named_by_its_place(typed: str, faults: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_run("baseline", [f"schedule.stages={typed}"])
    assert str(caught.value) == faults


def test_a_key_below_stages_cannot_be_typed_alone() -> None:
    with pytest.raises(RequestError, match=r"unknown key 'schedule\.stages\.epochs'"):
        load_run("baseline", ["schedule.stages.epochs=3"])


def test_a_schedule_without_the_key_is_as_one_without_stages() -> None:
    plain = copy.deepcopy(BASE["schedule"])
    del plain["stages"]
    assert convert(ScheduleConfig, plain).stages is None
