import dataclasses
import pickle

import pytest
from made_up_data import made_up_info, write_identity

from aqr_exp.config.load import load_run
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.launch import measuring
from aqr_exp.launch.measuring import outline_of
from aqr_exp.launch.preflight import check_ready, gpu_faults
from aqr_exp.launch.run_plan import CURVE_POINTS, backbone_notes, plan_of


def _config(root, *overrides):
    return load_run("baseline", [f"data.root={str(root)!r}", *overrides])


def test_steps_stages_and_rates(tmp_path):
    root = tmp_path / "it's data"
    write_identity(root)
    stages = "schedule.stages=[{epochs:3},{epochs:1,drop_camera:0}]"
    config = _config(root, "schedule.batch_size=3", stages)
    plan = plan_of(config, tmp_path / "results")
    assert plan.samples is not None
    assert plan.steps_per_epoch == plan.samples // 3
    assert plan.steps == 4 * plan.steps_per_epoch
    assert [words.split(";")[0] for words in plan.stages] == [
        "stage 1 (epochs 1-3",
        "stage 2 (epoch 4",
    ]
    assert len(plan.learning_rates) == CURVE_POINTS
    assert plan.learning_rates[0] == pytest.approx(config.schedule.learning_rate)
    assert max(plan.learning_rates) == pytest.approx(6 * config.schedule.learning_rate, rel=0.01)
    assert plan.peak_share == pytest.approx(config.schedule.warm_fraction, abs=0.001)
    assert plan.faults == ()
    assert not (tmp_path / "results").exists()


def test_missing_data_are_a_fault_and_leave_the_rest_known(tmp_path):
    plan = plan_of(_config(tmp_path), tmp_path / "results")
    assert (plan.samples, plan.steps_per_epoch, plan.steps) == (None, None, None)
    assert plan.epochs == 4
    (fault,) = plan.faults
    assert fault.startswith(f"data.root={tmp_path}: no data set there: make it with `aqr-exp data")


@pytest.mark.parametrize(
    ("data", "overrides", "note"),
    [
        # 28,130 // 16 = 1758; of 123,580 draws 7723 with 20 epochs.
        (
            "nuscenes",
            ["schedule.batch_size=16", "schedule.epochs=2"],
            "with the 28,130 samples of the official split train: 1,758 steps an epoch, 3,516 in all",
        ),
        (
            "nuscenes",
            ["preset=paper_r50"],
            (
                "with the 28,130 samples of the official split train, 123,580 an epoch by published "
                "class-balanced resampling: 7,723 steps an epoch, 154,460 in all"
            ),
        ),
        (
            "nuscenes_mini",
            ["schedule.batch_size=2", "schedule.epochs=1"],
            "with the 323 samples of the official split mini_train: 161 steps an epoch, 161 in all",
        ),
    ],
)
def test_official_splits_that_are_missing_say_how_long_it_would_be(tmp_path, data, overrides, note):
    config = load_run("baseline", [f"data={data}", f"data.root={str(tmp_path)!r}", *overrides])
    plan = plan_of(config, tmp_path / "results")
    assert plan.notes[0] == note
    assert plan.steps is None


def test_no_published_number_of_draws_is_promised_where_other_boxes_are_counted(tmp_path):
    typed = [f"data.root={str(tmp_path)!r}", "preset=paper_r50", "data.balance_by=trained"]
    notes = plan_of(load_run("baseline", typed), tmp_path / "results").notes
    assert not [note for note in notes if "123,580" in note]


def _write_infos(root, *samples):
    """An info file whose samples hold so many boxes with points of the named classes."""
    instances = [
        [{"bbox_label_3d": label, "num_lidar_pts": 1, "num_radar_pts": 0} for label in labels]
        for labels in samples
    ]
    instances[0].append({"bbox_label_3d": 2, "num_lidar_pts": 0, "num_radar_pts": 0})
    categories = {"car": 0, "truck": 1, "bus": 2}
    content = {
        "metainfo": {"categories": categories},
        "data_list": list(map(made_up_info, instances)),
    }
    (root / "aqr_infos" / "synth_train.pkl").write_bytes(pickle.dumps(content))


def test_resampling_decides_the_steps(tmp_path):
    write_identity(tmp_path)
    # Six samples hold a car and one a truck: 7 shared out evenly are 3 draws of each. The bus has no
    # points, and is not trained on.
    _write_infos(tmp_path, [0, 0, 1], *([0] for _ in range(5)))
    config = _config(tmp_path, "schedule.cbgs=true", "schedule.batch_size=2")
    plan = plan_of(config, tmp_path / "results")
    assert (plan.samples, plan.samples_per_epoch, plan.steps_per_epoch, plan.steps) == (
        10,
        6,
        3,
        12,
    )
    assert plan.faults == ()


@pytest.mark.parametrize(
    ("overrides", "drawn"),
    [
        ([], 10),  # (6 + 4) // 2 for each of car and truck
        (["data.box_points=lidar"], 6),
        (["data.min_box_points=2"], 0),
        (["data.balance_by=annotated"], 12),  # (6 + 4 + 4) // 3 for each, the bus too
        (["data.box_points=lidar", "data.balance_by=annotated", "data.min_box_points=9"], 12),
    ],
)
def test_resampling_counts_the_boxes_that_it_is_told_to(tmp_path, overrides, drawn):
    """Six samples hold a car, four of them a truck that radar alone saw and a bus that nothing saw."""
    write_identity(tmp_path)
    car, truck, bus = (
        {"bbox_label_3d": label, "num_lidar_pts": lidar, "num_radar_pts": radar}
        for label, lidar, radar in ((0, 1, 0), (1, 0, 1), (2, 0, 0))
    )
    samples = [[car, truck, bus]] * 4 + [[car]] * 2
    categories = {"car": 0, "truck": 1, "bus": 2}
    content = {
        "metainfo": {"categories": categories},
        "data_list": [made_up_info(instances) for instances in samples],
    }
    (tmp_path / "aqr_infos" / "synth_train.pkl").write_bytes(pickle.dumps(content))
    config = _config(tmp_path, "schedule.cbgs=true", "schedule.batch_size=2", *overrides)
    assert plan_of(config, tmp_path / "results").samples_per_epoch == drawn


def test_info_files_that_resampling_cannot_read_are_a_fault(tmp_path):
    write_identity(tmp_path)
    config = _config(tmp_path, "schedule.cbgs=true")
    path = tmp_path / "aqr_infos" / "synth_train.pkl"
    plan = plan_of(config, tmp_path / "results")
    assert plan.faults == (f"{path} is missing",)
    assert (plan.samples, plan.samples_per_epoch, plan.steps_per_epoch) == (10, None, None)
    path.write_bytes(pickle.dumps(print))
    assert plan_of(config, tmp_path / "results").faults == (
        f"{path} is damaged: holds 'builtins.print', which is no data",
    )


def test_what_the_inputs_really_are_is_a_fault_before_anything_starts(tmp_path):
    write_identity(tmp_path)
    checkpoint = tmp_path / "cmt.pth"
    checkpoint.write_text("<!DOCTYPE html><html>")
    infos = tmp_path / "aqr_infos" / "synth_val.pkl"
    infos.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n")
    config = _config(tmp_path, f"start.load_from='{checkpoint}'")
    faults = (
        f"{infos} is a Git LFS pointer: `git lfs pull` fetches the file itself",
        f"start.load_from={checkpoint}: is a web page, not what was to be fetched from there",
    )
    assert plan_of(config, tmp_path / "results").faults == faults
    with pytest.raises(RequestError) as caught:
        check_ready(config, tmp_path / "results")
    assert str(caught.value).splitlines()[:2] == list(faults)
    assert not (tmp_path / "results").exists()


def test_a_backbone_that_begins_at_random_at_a_small_rate_is_noted(tmp_path):
    def notes(*overrides):
        return list(backbone_notes(load_run("baseline", list(overrides))))

    (note,) = notes("preset=paper_r50")
    assert "begins at random" in note
    assert "schedule.img_backbone_lr_mult=0.01" in note
    checkpoint = tmp_path / "r50.pth"
    checkpoint.write_bytes(b"weights")
    trained = [f"start.load_from={checkpoint}", "start.parts=[img_backbone]"]
    assert notes("preset=paper_r50", *trained) == []
    assert notes("preset=quick") == []
    lidar = ["data.augment.drop_camera=0", "data.augment.drop_lidar=0"]
    assert notes("model=cmt_lidar", "schedule=published", "gt_sampling=cmt", *lidar) == []


def test_what_needs_a_gpu():
    published = load_run("baseline", ["preset=paper_r50"])
    both = "the sparse encoder of model=cmt_r50_800x320 and schedule.amp=true trains on a CUDA GPU"
    assert gpu_faults(published, []) == [f"{both}, and this machine has none"]
    assert gpu_faults(published, ["NVIDIA H200"]) == []
    cameras = load_run("baseline", ["model=cmt_camera"])
    assert gpu_faults(cameras, []) == []
    on_cpu = dataclasses.replace(
        load_run("baseline", ["model=cmt_lidar"]),
        launcher=dataclasses.replace(cameras.launcher, device="cpu"),
    )
    assert gpu_faults(on_cpu, ["NVIDIA H200"]) == [
        "the sparse encoder of model=cmt_lidar trains on a CUDA GPU, and launcher.device=cpu"
    ]


def test_the_memory_comes_from_a_process_of_its_own():
    (found,) = outline_of([load_run("baseline", ["model.head.queries=50"])], memory=True)
    sizes = found["memory"]
    assert sizes["total_gb"] == pytest.approx(sizes["weights_gb"] + sizes["activations_gb"])
    assert 0.01 < sizes["total_gb"] < 1


def test_a_process_that_fails_says_why(monkeypatch):
    monkeypatch.setattr(measuring, "OUTLINE_MODULE", "aqr_exp.train.nothing_of_the_kind")
    with pytest.raises(AqrExpError, match=r"cannot be built: .*No module named"):
        outline_of([load_run("baseline")])
