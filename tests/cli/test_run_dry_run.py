import json
import pickle

from made_up_data import made_up_info, write_identity

from aqr_exp.cli.main import main


def test_a_dry_run_shows_the_plan_and_does_nothing(tmp_path, capsys, monkeypatch):
    write_identity(tmp_path / "data")
    monkeypatch.setenv("AQR_EXP_RESULTS", str(tmp_path / "results"))
    root = f"data.root={tmp_path / 'data'}"
    assert main(["run", "baseline", root, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "baseline, model cmt_tiny, data synth, schedule quick, seed 0"
    assert lines[2].startswith("epochs: 4, steps an epoch: ")
    assert lines[3].startswith("learning rate: 0.00016, at its highest 0.000959 after 15 %")
    assert lines[5] == "learning rates of the parts:"
    assert "  x 0: pts_bbox_head.bev_embedding (49,408 parameters)" in lines
    assert lines[-1].startswith("memory of a step: about 0.")
    assert not (tmp_path / "results").exists()


def test_a_dry_run_knows_what_class_balanced_resampling_draws(tmp_path, capsys, monkeypatch):
    write_identity(tmp_path / "data")
    boxes = [{"bbox_label_3d": label, "num_lidar_pts": 1, "num_radar_pts": 0} for label in (0, 1)]
    content = {
        "metainfo": {"categories": {"car": 0, "truck": 1}},
        "data_list": [made_up_info(boxes), made_up_info(boxes[:1]), made_up_info(boxes[:1])],
    }
    path = tmp_path / "data" / "aqr_infos" / "synth_train.pkl"
    path.write_bytes(pickle.dumps(content))
    monkeypatch.setenv("AQR_EXP_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr("aqr_exp.cli.run.estimate_memory", lambda _: {})
    root = f"data.root={tmp_path / 'data'}"
    assert main(["run", "baseline", root, "schedule.cbgs=true", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "samples: 10, class-balanced 4 an epoch, batch size 2"
    assert lines[2] == "epochs: 4, steps an epoch: 2, steps in all: 8"


def test_what_is_missing_is_refused_after_the_plan(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path))
    monkeypatch.setattr("aqr_exp.launch.preflight.gpu_models", list)
    typed = ["run", "baseline", "preset=paper_r50", "--dry-run", "--json"]
    assert main(typed) == 2
    told = capsys.readouterr()
    plan = json.loads(told.out)
    assert plan["stages"] == [
        "stage 1 (epochs 1-15; as data says)",
        "stage 2 (epochs 16-20; gt_sampling=false)",
    ]
    assert plan["memory"]["total_gb"] > 5
    rates = {rate["module"]: (rate["multiplier"], rate["parameters"]) for rate in plan["rates"]}
    # torchvision's ResNet-50 has 23,508,032 without its classifier.
    assert rates["img_backbone"] == (0.01, 23_508_032)
    assert len(plan["learning_rates"]) > 40
    assert [line[:48] for line in told.err.splitlines() if line.startswith("note: ")] == [
        "note: with the 28,130 samples of the official sp",
        "note: the image backbone begins at random, with ",
    ]
    faults = [line for line in told.err.splitlines() if line.startswith("aqr-exp: ")]
    assert faults == [f"aqr-exp: {fault}" for fault in plan["faults"]]
    assert any("no data set there" in fault for fault in faults)
    assert any("trains on a CUDA GPU, and this machine has none" in fault for fault in faults)


def test_a_dry_run_shows_the_typed_rates_and_the_parts_of_a_step(tmp_path, capsys, monkeypatch):
    write_identity(tmp_path / "data")
    monkeypatch.setenv("AQR_EXP_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr("aqr_exp.cli.run.estimate_memory", lambda _: {})
    typed = [
        f"data.root={tmp_path / 'data'}",
        "schedule.batch_size=4",
        "schedule.accumulate=2",
        "schedule.lr_mult={img_neck: 2, img_bakbone: 0}",
    ]
    assert main(["run", "baseline", *typed, "--dry-run"]) == 2
    told = capsys.readouterr()
    assert told.out.splitlines()[1] == "samples: 10, batch size 4 in 2 parts"
    (refused,) = (line for line in told.err.splitlines() if line.startswith("aqr-exp: "))
    assert refused == (
        "aqr-exp: schedule.lr_mult[img_bakbone]=0: the detector has no such module with parameters: "
        "did you mean 'img_backbone'?"
    )
    # Nor does the run begin.
    assert main(["run", "baseline", *typed]) == 2
    assert capsys.readouterr().err.splitlines() == [refused]
    assert not list(tmp_path.glob("results/runs/*"))
