"""A data set with a description: preparation, identity, training samples, corruptions, checks."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from aqr_exp.config.convert import convert
from aqr_exp.config.description import read_description
from aqr_exp.config.identity import as_dict, fingerprint, from_spec, setting_fingerprint
from aqr_exp.config.inputs import info_path, objects_folder, with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.checks.data_root import check_root
from aqr_exp.data.corruptions.cases import read_cases
from aqr_exp.data.corruptions.effects import drop_views, stale_data
from aqr_exp.data.gt_database.store import GtDatabase
from aqr_exp.data.info_files import epoch_samples
from aqr_exp.data.pipeline import dataset_config
from aqr_exp.errors import RequestError
from aqr_exp.statistics.confounders import configuration_confounders

VERSION = "v1.0-synth"
CLASSES = ("container", "forklift", "worker", "pallet")
SMALL = ("preset=smoke", "data=depot", "schedule.batch_size=1")


@pytest.fixture
def config(depot_root: Path, tmp_path: Path, monkeypatch) -> RunConfig:
    """A run on the data, which are found as `data=depot`."""
    (tmp_path / "depot").symlink_to(depot_root)
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path))
    return with_data_identity(load_run("baseline", SMALL))


@pytest.fixture
def copy(depot_root: Path, tmp_path: Path, monkeypatch) -> Path:
    """A copy that may be changed, at the place of `data=depot`."""
    shutil.copytree(depot_root, tmp_path / "own" / "depot", copy_function=os.link)
    description = tmp_path / "own" / "depot" / "dataset.yaml"
    text = description.read_text()
    description.unlink()
    description.write_text(text)
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path / "own"))
    return tmp_path / "own" / "depot"


def test_a_sound_one_has_no_fault(depot_root):
    report = check_root(depot_root, VERSION, None)
    assert report.faults == []
    assert report.counts["CAM_LEFT"] == 9
    assert "CAM_FRONT_LEFT" not in report.counts


def _changed(root: Path, old: str, new: str) -> None:
    path = root / "dataset.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        (
            "object.pallet",
            "object.palet",
            "classes[3].categories[0]='object.palet': is not in category.json",
        ),
        (
            "vehicle.parked",
            "vehicle.parking",
            "classes[1].attributes[1]='vehicle.parking': is not in attribute.json",
        ),
        (
            "CAM_BACK",
            "CAM_BAK",
            "cameras[2]='CAM_BAK': is not in sensor.json",
        ),
        ("range_m: 35.0", "range_m: 0", "classes[1].range_m=0: must be a number from 1 to 1000"),
    ],
)
def test_a_wrong_description_is_named_with_its_key(copy, old, new, cause):
    _changed(copy, old, new)
    report = check_root(copy, VERSION, None)
    (fault,) = report.faults
    assert fault.file == "dataset.yaml"
    near = "" if "range_m" in old else f": did you mean '{old}'?"
    assert fault.cause.removesuffix(near) == cause
    assert fault.cause.endswith(near)


def test_a_sample_without_one_of_its_cameras_is_named(copy):
    table = copy / VERSION / "sample_data.json"
    rows = json.loads(table.read_text())
    (gone,) = [row for row in rows if "/CAM_RIGHT/" in row["filename"] and not row["prev"]][:1]
    for row in rows:
        if row["prev"] == gone["token"]:
            row["prev"] = ""
    table.unlink()
    table.write_text(json.dumps([row for row in rows if row is not gone]))
    causes = [fault.cause for fault in check_root(copy, VERSION, None).faults]
    assert f"sample {gone['sample_token']} has no keyframe of CAM_RIGHT" in causes


def test_info_files_and_objects_are_of_its_classes_and_cameras(depot_root):
    content = pickle.loads(info_path(depot_root, "synth_train").read_bytes())
    assert content["metainfo"]["categories"] == {name: at for at, name in enumerate(CLASSES)}
    first = content["data_list"][0]
    assert list(first["images"]) == ["CAM_FRONT", "CAM_LEFT", "CAM_BACK", "CAM_RIGHT"]
    store = GtDatabase(objects_folder(depot_root, "synth_train"))
    assert list(store.index["classes"]) == list(CLASSES)
    assert min(store.index["classes"].values()) > 0
    assert store.frames["lidar2img"].shape[1:] == (4, 4, 4)
    assert {int(view) for view in store.patches["view"]} == {0, 1, 2, 3}


def test_the_description_is_part_of_the_identity(config, copy):
    assert config.data.description == read_description(copy)
    with_other = load_run("baseline", SMALL)
    nuscenes = load_run("baseline", ("preset=smoke",))
    assert nuscenes.data.description is None
    assert fingerprint(with_other) != fingerprint(config)  # which has the data's content too
    stored = as_dict(config)
    assert from_spec(json.loads(json.dumps(stored))) == config
    other = json.loads(json.dumps(stored))
    other["data"]["description"]["classes"][0]["range_m"] = 44.0
    assert fingerprint(convert(RunConfig, other)) != fingerprint(config)
    assert setting_fingerprint(other) != setting_fingerprint(stored)


@pytest.mark.parametrize("change", ["changed", "removed"])
def test_a_description_that_changed_since_is_refused(copy, change):
    run = with_data_identity(load_run("baseline", SMALL))
    if change == "changed":
        _changed(copy, "range_m: 45.0", "range_m: 44.0")
    else:
        (copy / "dataset.yaml").unlink()
    with pytest.raises(RequestError, match=r"dataset\.yaml"):
        with_data_identity(load_run("baseline", SMALL))
    with pytest.raises(RequestError, match=r"dataset\.yaml"):
        with_data_identity(run)


def test_a_description_that_came_since_is_refused(copy, synth_root, tmp_path, monkeypatch):
    shutil.copytree(synth_root, tmp_path / "town" / "synth", copy_function=os.link)
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path / "town"))
    with_data_identity(load_run("baseline", ("preset=smoke", "schedule.batch_size=1")))
    shutil.copy(copy / "dataset.yaml", tmp_path / "town" / "synth")
    rule = r"dataset\.yaml is not what it was prepared by: run `aqr-exp data prepare`"
    with pytest.raises(RequestError, match=rule):
        with_data_identity(load_run("baseline", ("preset=smoke", "schedule.batch_size=1")))


def test_runs_on_other_classes_are_compared_with_a_confounder(config):
    own, nuscenes = as_dict(config), as_dict(load_run("baseline", ("preset=smoke",)))
    found = configuration_confounders(nuscenes, own, ("variant",))
    words = {item.name: (item.ours, item.theirs) for item in found}
    assert words["data.description"] == ("absent", "container, forklift, worker, pallet")
    other = json.loads(json.dumps(own))
    del other["data"]["description"]["classes"][0]
    (item,) = configuration_confounders(own, other, ("variant",))
    assert (item.name, item.theirs) == ("data.description.classes", "forklift, worker, pallet")


def test_it_cannot_be_typed():
    rule = r"'data.description.lidar' cannot be set: it is read from the data's dataset.yaml"
    with pytest.raises(RequestError, match=rule):
        load_run("baseline", ("data.description.lidar=X",))


def test_what_is_of_ten_classes_is_refused(config):
    with pytest.raises(RequestError, match=r"evaluator=official: must be aqr") as caught:
        load_run("baseline", (*SMALL, "evaluator=official"))
    assert len(caught.value.faults[0].line) <= 200
    rule = r"data.gt_sampling.per_class=.*: must have 4 entries, one a class"
    with pytest.raises(RequestError, match=rule):
        load_run("baseline", (*SMALL, "gt_sampling=cmt"))
    sampled = load_run(
        "baseline", (*SMALL, "gt_sampling=cmt", "data.gt_sampling.per_class=[1,1,1,1]")
    )
    assert with_data_identity(sampled).data.gt_sampling.per_class == (1, 1, 1, 1)


def test_training_samples_are_of_its_classes_and_cameras(config):
    from mmdet3d.registry import DATASETS

    from aqr_exp.data.dataset import SampleKey
    from aqr_exp.train.runner_config import register_plugins

    register_plugins()
    pasting = load_run(
        "baseline",
        (*SMALL, "gt_sampling=cmt", "data.gt_sampling.per_class=[6,9,9,12]", "schedule.cbgs=true"),
    )
    pasting = with_data_identity(pasting)
    samples = DATASETS.build(dataset_config(pasting, "synth_train", training=True))
    packed = samples[SampleKey(0, 0, 0)]
    assert packed["inputs"]["img"].shape == (4, 3, 96, 256)
    labels = packed["data_samples"].gt_instances_3d.labels_3d
    assert set(labels.tolist()) <= {0, 1, 2, 3}
    counts = [len(found) for found in samples.samples_by_class()]
    assert len(counts) == 4
    assert epoch_samples(pasting, 3) == 4 * (sum(counts) // 4)
    points = packed["inputs"]["points"]
    assert points.shape[1] == 5


def test_points_outside_its_volume_are_not_read(config):
    from mmdet3d.registry import DATASETS

    from aqr_exp.data.dataset import SampleKey
    from aqr_exp.data.pipeline import loading_steps
    from aqr_exp.train.runner_config import register_plugins

    register_plugins()
    settings = dataset_config(config, "synth_val", training=False)
    read = DATASETS.build({**settings, "pipeline": loading_steps(config)})[SampleKey(0, 0, 0)]
    whole = DATASETS.build({**settings, "pipeline": loading_steps(config)[:1]})[SampleKey(0, 0, 0)]
    kept, all_points = (np.asarray(each["points"].tensor[:, :3]) for each in (read, whole))
    inside = (all_points >= (-45, -45, -5)) & (all_points < (45, 45, 3))
    assert 0 < inside.all(axis=1).sum() < len(all_points)
    np.testing.assert_array_equal(kept, all_points[inside.all(axis=1)])


def test_the_detector_has_as_many_classes(config):
    from aqr_exp.cmt.detector_config import detector_config

    head = detector_config(config)["pts_bbox_head"]
    assert head["classes"] == head["task_head"]["branches"]["cls_logits"] == 4


def test_corruptions_take_its_views(depot_root):
    described = read_description(depot_root)
    (case,) = read_cases("view_drop@left+front", described.views)
    assert case.name == "view_drop@front+left"
    with pytest.raises(RequestError, match=r"view 'front_left'.*of front, left, back, right some"):
        read_cases("view_drop@front_left", described.views)
    from dataclasses import replace

    case = replace(case, sensors=described.sensors)
    images = [np.full((2, 2, 3), 9, np.uint8) for _ in range(4)]
    kept = [bool(image.any()) for image in drop_views(images, case, np.random.default_rng(0))]
    assert kept == [False, False, True, True]
    (stuck,) = [each for each in read_cases("stuck_cameras") if each.severity == "2"]
    stuck = replace(stuck, sensors=described.sensors)
    assert stale_data(stuck, 1, "t", [None, 0]) == dict.fromkeys(described.cameras, 0)
    (late,) = [each for each in read_cases("mc_temporalmisalignment") if each.severity == "3"]
    late = replace(late, sensors=described.sensors)
    found = {name for token in "abcdef" for name in stale_data(late, 5, token, [None] * 6)}
    assert found == {*described.sensors}
