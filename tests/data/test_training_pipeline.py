"""Parts of the training pipeline, and the number of draws of an epoch."""

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aqr_exp.config.inputs import read_data_identity, with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.info_files import epoch_samples, write_fingerprint
from aqr_exp.data.pipeline import augmentation_steps, dataloader_config, dataset_config
from aqr_exp.errors import RequestError
from aqr_exp.train.runner_config import register_plugins


@pytest.fixture(scope="module")
def config(synth_root: Path) -> RunConfig:
    register_plugins()
    return load_run("baseline", [f"data.root={str(synth_root)!r}", "gt_sampling=cmt"])


def test_without_it_the_pipeline_is_as_it_was_and_a_stage_can_switch_it_off(
    config: RunConfig,
) -> None:
    without = dataclasses.replace(config, data=dataclasses.replace(config.data, gt_sampling=None))
    names = [step["type"] for step in augmentation_steps(config)]
    assert names.pop(3) == "PasteObjects"
    assert [step["type"] for step in augmentation_steps(without)] == names
    assert names == [
        "ModalDropout",
        "LoadLidarSweeps",
        "LoadImages",
        "DropCloud",
        "GlobalRotScaleTransFlip",
        "ResizeCropFlipImages",
        "KeepInRange",
    ]


@pytest.mark.parametrize(
    ("model", "unread"),
    [("cmt_tiny", set()), ("cmt_lidar", {"LoadImages"}), ("cmt_camera", {"LoadLidarSweeps"})],
)
def test_a_detector_of_one_sensor_reads_no_files_of_the_other(
    synth_root: Path, model: str, unread: set[str]
) -> None:
    config = load_run("baseline", [f"data.root={str(synth_root)!r}", f"model={model}"])
    for training in (True, False):
        pipeline = dataset_config(config, "synth_val", training=training)["pipeline"]
        assert {step["type"] for step in pipeline if not step.get("read", True)} == unread


def test_without_objects_a_run_is_refused_in_one_line(synth_root: Path) -> None:
    config = load_run("baseline", [f"data.root={str(synth_root)!r}", "gt_sampling=cmt"])
    with pytest.raises(RequestError, match=r"data\.gt_sampling: no objects of synth_train: `aqr"):
        with_data_identity(config)


def test_objects_that_changed_or_are_of_other_data_are_refused_in_one_line(
    prepared_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data; it's"
    shutil.copytree(prepared_root, root, copy_function=os.link)
    config = load_run("baseline", [f'data.root="{root}"', "gt_sampling=cmt"])
    with_data_identity(config)
    pack = root / "aqr_infos" / "synth_train.objects" / "00000.pack"
    size = pack.stat().st_size
    pack.unlink()  # the linked one is not changed
    pack.write_bytes(bytes(size))
    with pytest.raises(RequestError) as refused:
        with_data_identity(config)
    assert str(refused.value).startswith(
        "data.gt_sampling: synth_train.objects/00000.pack was replaced since it was prepared: restore"
    )
    infos = root / "aqr_infos" / "synth_train.pkl"
    content = infos.read_bytes()
    infos.unlink()
    infos.write_bytes(content + b" ")
    with pytest.raises(RequestError, match=r"synth_train\.pkl has \d+ bytes, \d+ when prepared"):
        with_data_identity(config)
    write_fingerprint(root, "v1.0-synth", read_data_identity(root)["splits"])
    with pytest.raises(RequestError) as refused:
        with_data_identity(config)
    assert str(refused.value).startswith(
        f"data.gt_sampling: the objects of synth_train were cut out of other data than {infos} names: "
        "`aqr-exp data prepare --root"
    )


def test_cbgs_draws_as_often_as_its_classes_say(config: RunConfig) -> None:
    from mmdet3d.registry import DATASETS

    assert epoch_samples(config, 6) == 6
    schedule = dataclasses.replace(config.schedule, cbgs=True)
    balanced = dataclasses.replace(config, schedule=schedule)
    settings = dataloader_config(balanced, "synth_train", training=True, batch_size=2)
    assert settings["sampler"]["balanced"]
    val = dataloader_config(balanced, "synth_val", training=False, batch_size=2)
    assert not val["sampler"]["balanced"]
    data = DATASETS.build(settings["dataset"])
    by_class = data.samples_by_class()
    for label, samples in enumerate(by_class):
        for sample in range(len(data)):
            held = label in data.get_data_info(sample)["ann_info"]["gt_labels_3d"]
            assert held == (sample in samples)
    wanted = sum(map(len, by_class)) // sum(bool(len(s)) for s in by_class)
    assert epoch_samples(balanced, 6) == wanted * sum(bool(len(s)) for s in by_class) > 6


def test_boxes_are_trained_on_where_the_devkit_has_them(prepared_root: Path, nusc: Any) -> None:
    from mmdet3d.registry import DATASETS

    register_plugins()
    run = load_run("baseline", [f"data.root={str(prepared_root)!r}"])
    dataset = DATASETS.build(dataset_config(run, "synth_train", training=True))
    compared = 0
    for sample in range(len(dataset)):
        info = dataset.get_data_info(sample)
        _, boxes, _ = nusc.get_sample_data(info["lidar_points"]["sample_data_token"])
        devkits = np.array([box.center for box in boxes])
        ours = info["ann_info"]["gt_bboxes_3d"].gravity_center.numpy()
        away = np.abs(ours[:, None] - devkits).max(axis=2).min(axis=1)
        assert (away < 1e-4).all()
        compared += len(ours)
    assert compared > 20
