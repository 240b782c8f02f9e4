import json
import pickle

import pytest
import torch
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
    root = f"data.root={tmp_path / 'data'}"
    assert main(["run", "baseline", root, "schedule.cbgs=true", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "samples: 10, class-balanced 4 an epoch, batch size 2"
    assert lines[2] == "epochs: 4, steps an epoch: 2, steps in all: 8"


def test_what_is_missing_is_refused_after_the_plan(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path))
    monkeypatch.setattr("aqr_exp.launch.preflight.gpu_models", list)
    typed = ["run", "baseline", "preset=paper_r50", "start.random=true", "--dry-run", "--json"]
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


def test_a_dry_run_shows_what_a_checkpoint_gives_and_what_does_not_fit(
    tmp_path, capsys, monkeypatch
):
    write_identity(tmp_path / "data")
    monkeypatch.setenv("AQR_EXP_RESULTS", str(tmp_path / "results"))
    weights = {"conv1.weight": torch.zeros(16, 3, 7, 7), "fc.bias": torch.zeros(10)}
    torch.save(weights, tmp_path / "tv.pth")
    given = [f"start.load_from={tmp_path / 'tv.pth'}", "start.parts=[img_backbone]"]
    root = f"data.root={tmp_path / 'data'}"
    typed = [
        root,
        *given,
        "schedule.batch_size=4",
        "schedule.accumulate=2",
        "schedule.lr_mult={img_neck: 2}",
    ]
    assert main(["run", "baseline", *typed, "--dry-run"]) == 2
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[1] == "samples: 10, batch size 4 in 2 parts"
    assert "  x 2: img_neck (172,544 parameters)" in lines
    (begins,) = (line for line in lines if line.startswith("begins with "))
    assert begins.startswith(f"begins with {tmp_path / 'tv.pth'}: 1 of ")
    assert "  1 left in the file: fc.bias" in lines
    (fault,) = (line for line in lines if line.startswith("  missing img_backbone.bn1.weight, "))
    assert fault.endswith(" more")
    (refused,) = (line for line in told.err.splitlines() if line.startswith("aqr-exp: "))
    assert refused.startswith(
        "aqr-exp: tv.pth does not fit the model: missing img_backbone.bn1.weight"
    )
    assert len(refused) <= 200
    assert not (tmp_path / "results").exists()


REFUSED = (
    "start.load_from: the image backbone would begin at random, with fixed batch norms and a rate"
)


@pytest.mark.parametrize("preset", ["paper_r50", "paper_vov", "full_24e"])
@pytest.mark.parametrize(
    "words",
    [
        ["run", "baseline"],
        ["run", "baseline", "--dry-run"],
        ["sweep", "variants"],
        ["sweep", "baseline", "--dry-run"],
    ],
    ids=" ".join,
)
def test_a_recipe_without_its_backbone_is_refused_in_one_line(
    words, preset, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main([*words, f"preset={preset}"]) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert told.out == ""
    assert REFUSED in line
    assert line.endswith("start.random=true insists)")
    assert len(line) <= 200
    assert list(tmp_path.iterdir()) == []
