"""The variants from the command line to one table; fine-tuning; the monitored history."""

import json
from pathlib import Path

import pytest
import torch
from workplace import SMOKE, Workplace

from aqr_exp.cli.main import main

VARIANTS = ("baseline", "renderer_modulator", "attention_bias")


@pytest.fixture(scope="module")
def place(place_with) -> Workplace:
    """A completed smoke run of every variant."""
    return place_with(*VARIANTS)


def _run(place: Workplace, variant: str) -> Path:
    (run,) = (run for run in place.runs() if run.name.startswith(f"{variant}-"))
    return run


def _history(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "epoch_1.pth", weights_only=True)["model"]


def test_one_table_holds_all_variants(place):
    rows = json.loads(place.aqr_exp("table", "--format", "json").stdout)["rows"]
    assert [row["variant"] for row in rows] == ["baseline", "attention_bias", "renderer_modulator"]
    shown = place.aqr_exp("table", "--format", "md").stdout
    assert "one seed: no interval" in shown
    metrics = json.loads((_run(place, "attention_bias") / "metrics.json").read_text())
    assert 0.5 <= metrics["aqr/final_scale"] <= 5.0


def test_the_same_data_reach_every_variant(place):
    """Before the first step the arms are equal, so its denoising losses differ only by the arm."""
    first = {variant: _history(_run(place, variant))[0] for variant in VARIANTS}
    # tanh starts at zero weights: the first losses are the baseline's.
    assert first["attention_bias"]["loss"] == pytest.approx(first["baseline"]["loss"], rel=1e-5)
    assert first["renderer_modulator"]["loss"] != first["baseline"]["loss"]
    dense = "loss_dense_offset"
    assert first["attention_bias"][dense] == pytest.approx(first["baseline"][dense], rel=1e-5)


def test_the_arm_is_watched(place):
    lines = [line for line in _history(_run(place, "attention_bias")) if line["kind"] == "arm"]
    assert lines[0]["step"] == 1
    assert lines[0]["weight_lidar_mean"] == 0.0
    assert lines[0]["scale"] == pytest.approx(2.5)
    assert lines[0]["scale_of_max"] == pytest.approx(0.5)
    assert lines[-1]["router_gradient"] > 0
    assert lines[-1]["weight_lidar_std"] > 0
    assert 0 < lines[-1]["mass_in_window"] < 1
    assert not any(line["kind"] == "arm" for line in _history(_run(place, "baseline")))


def test_a_run_is_drawn(place):
    run = _run(place, "attention_bias")
    told = place.aqr_exp(
        "analyze", "bias", run.name, "--samples", "2", "--queries", "2", "--sample", "1"
    )
    files = [Path(line) for line in told.stdout.splitlines()]
    names = [path.name for path in files]
    assert names[:2] == ["training.png", "scale.png"]
    assert sum(name.startswith("bias_query") for name in names) == 2
    assert {"weights_by_class.png", "weights_by_distance.png"} <= set(names)
    assert all(path.parent == run / "figures" for path in files)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files)

    other = _run(place, "renderer_modulator").name
    drawn = place.aqr_exp("analyze", "bias", other, "--samples", "1", "--queries", "1").stdout
    assert "bias_query" not in drawn
    assert "weights_by_class.png" in drawn

    refused = place.aqr_exp("analyze", "bias", _run(place, "baseline").name, code=2).stderr
    assert "variant 'baseline' has no modality weights" in refused


def test_windows_are_drawn(place):
    told = place.aqr_exp("analyze", "windows", "attention_bias", "--boxes", "3")
    assert told.stdout.splitlines() == ["windows_bev.png", "windows_cameras.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["attention_bias", "--sample", "99"],
            "sample 99: the split 'synth_val' has samples 0 to 2",
        ),
        (["attention_bias", "--split", "mini"], "there are no info files of the split 'mini'"),
        (["baseline"], "variant 'baseline' has no bias"),
        (["attention_bias", "--output", "nowhere"], "there is no folder nowhere"),
    ],
)
def test_windows_of_what_is_not_there_are_refused(
    data, tmp_path, monkeypatch, capsys, arguments, said
):
    monkeypatch.setenv("AQR_EXP_DATA", str(data))
    monkeypatch.chdir(tmp_path)
    assert main(["analyze", "windows", *arguments]) == 2
    refused = capsys.readouterr().err
    assert said in refused
    assert len(refused.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_fine_tuning_starts_from_the_checkpoint_and_keeps_what_is_frozen(place, data, tmp_path):
    checkpoint = _run(place, "baseline") / "checkpoints" / "epoch_1.pth"
    tuned = Workplace(tmp_path / "tuned", data).run_variant(
        "attention_bias",
        f"start.load_from={str(checkpoint)!r}",
        "start.freeze=[img_backbone,pts_backbone]",
    )
    before, after = _weights(_run(place, "baseline")), _weights(tuned)
    frozen = [name for name in before if name.startswith(("img_backbone", "pts_backbone"))]
    assert any("running_mean" in name for name in frozen)
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    moved = "pts_bbox_head.task_heads.0.cls_logits.0.weight"
    assert not torch.equal(before[moved], after[moved])
    assert "new here: pts_bbox_head.aqr." in (tuned / "logs" / "train.log").read_text()


def test_a_checkpoint_of_another_model_is_refused_by_name(place, data, tmp_path):
    checkpoint = _run(place, "baseline") / "checkpoints" / "epoch_1.pth"
    wide = "model.head.ffn_channels=512"
    refused = Workplace(tmp_path / "refused", data).aqr_exp(
        "run",
        "baseline",
        *SMOKE,
        wide,
        f"start.load_from={str(checkpoint)!r}",
        code=2,
    )
    assert "epoch_1.pth does not fit the model: misshapen" in refused.stderr
    assert "ffns.0.layers.0.0.weight [256, 128]" in refused.stderr
    assert not (tmp_path / "refused" / "results" / "runs").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("window_size=0", "window_size=0"),
        ("window_size=99", "larger than"),
        ("variant.bias.scale.minimum=6", "minimum"),
        ("bias_scale=nan", "bias_scale"),
        ("variant.bias.scale.constraint=clip", "clamp"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(data, tmp_path, override, said):
    place = Workplace(tmp_path / "wrong", data)
    refused = place.aqr_exp("run", "attention_bias", *SMOKE, override, code=2)
    assert said in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert place.runs() == []
