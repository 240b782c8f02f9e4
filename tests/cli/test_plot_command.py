from pathlib import Path

import pytest

from aqr_exp.cli.main import main
from aqr_exp.config.identity import to_yaml
from aqr_exp.launch.record import build_record
from aqr_exp.store.store import Store
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.plan import plan_sweep


@pytest.fixture
def swept(data: Path, store: Store) -> Path:
    """A finished sweep over the scale, one run failed."""
    plan = plan_sweep(sweep_request("bias_scale", ["bias_scale=1,2.5", "seed=0,1"]))
    for place, run in enumerate(plan.runs):
        folder = store.folder(run.name)
        folder.create(
            to_yaml(run.config), build_record(run.config, overrides=run.overrides, argv=[])
        )
        line = {"kind": "train", "epoch": 1, "step": 10, "loss": 3.0}
        folder.append_history(line)
        folder.append_history({**line, "kind": "arm", "scale": 2.5})
        metrics = {"mAP": 0.2 + place / 100, "AP/car": 0.5, "gt/car": 9, "split": "synth_val"}
        if place == 5:
            folder.write_state("failed", reason="the loss is not finite")
            continue
        folder.write_metrics(metrics)
        folder.write_state("completed")
    return Path(store.root)


@pytest.mark.parametrize(
    ("typed", "stem"),
    [
        (["sweep", "bias_scale"], "sweep-bias_scale-mAP"),
        (["curves"], "curves-loss-mAP"),
        (["classes", "--width", "page"], "classes"),
        (["scale", "--of", "attention_bias"], "scale"),
    ],
)
def test_figures_go_to_the_results(
    swept: Path, typed: list[str], stem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", *typed]) == 0
    out, _ = capsys.readouterr()
    paths = [swept / "figures" / f"{stem}.{form}" for form in ("pdf", "png")]
    assert out.splitlines() == list(map(str, paths))
    assert [path.read_bytes()[:4] for path in paths] == [b"%PDF", b"\x89PNG"]


def test_what_is_not_drawn_is_said(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", "sweep", "bias_scale"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("not drawn: attention_bias-")
    assert line.endswith(": failed: the loss is not finite")


@pytest.mark.parametrize("name", ["mine; echo $HOME", "mine.pdf", "mine.png"])
def test_a_name_of_ones_own(
    swept: Path, place: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", "classes", "--output", name]) == 0
    stem = name.removesuffix(".pdf").removesuffix(".png")
    assert (place / f"{stem}.pdf").is_file()
    assert (place / f"{stem}.png").is_file()


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        (
            ["sweep", "bias_scal"],
            "no run has the parameter 'bias_scal': did you mean 'bias_scale'?",
        ),
        (["sweep", "bias_scale", "--metric", "mAPP"], "unknown metric 'mAPP': did you mean 'mAP'?"),
        (
            ["classes", "--of", "basline"],
            "no sweep and no run begins with 'basline': did you mean 'ba",
        ),
        (["classes", "--output", "absent/figure"], "absent/figure.pdf: there is no folder absent"),
        (["curves", "--loss", "none"], "no training history has 'none' (available: loss)"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(
    swept: Path, typed: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", *typed]) == 2
    out, err = capsys.readouterr()
    assert err.splitlines()[-1].startswith(f"aqr-exp: {fault}")
    assert out == ""
    assert not (swept / "figures").exists()
