"""The evaluation step of the Runner: what it writes, and that both evaluators say the same."""

import json

import numpy as np
import pytest
import torch
from in_ranks import in_ranks
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.structures import InstanceData
from small_world import World

from aqr_exp.evaluate.evaluation import score_results
from aqr_exp.evaluate.metric import NuScenesResultMetric
from aqr_exp.evaluate.records import BANDS_M, WHOLE, read_records


def _sample(world: World, token: str, truth_xy: np.ndarray) -> dict[str, object]:
    """Two boxes at one ground truth's place, in a frame whose origin is there."""
    ego2global = np.eye(4)
    ego2global[:2, 3] = truth_xy
    instances = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(
            torch.tensor([[0.0, 0, 0, 4, 2, 1.5, 0.3, 1, 0], [0.3, 0, 0, 4, 2, 1.5, 0.3, 0, 0]]),
            box_dim=9,
        ),
        scores_3d=torch.tensor([0.9, 0.4]),
        labels_3d=torch.tensor([0, 8]),
    )
    return {
        "token": token,
        "pred_instances_3d": instances,
        "ego2global": ego2global,
        "lidar2ego": np.eye(4),
    }


def _metrics(
    world: World, folder, evaluator: str, *, records: bool, share: slice = slice(None)
) -> dict[str, float]:
    truth = world.truth("mini_val")
    metric = NuScenesResultMetric(
        str(world.root),
        world.version,
        "mini_val",
        str(folder / "mini_val.json"),
        evaluator=evaluator,
        records_path=str(folder / "records.npz") if records else None,
    )
    places = [truth.boxes.centre[truth.boxes.sample == place][0, :2] for place in range(10)]
    samples = zip(truth.samples.tokens, places, strict=True)
    metric.process(None, [_sample(world, token, place) for token, place in [*samples][share]])
    return metric.evaluate(10)


@pytest.mark.parametrize("records", [True, False])
def test_both_evaluators_score_the_same_file(world, tmp_path, records):
    found = {}
    for evaluator in ("aqr", "official"):
        (tmp_path / evaluator).mkdir()
        found[evaluator] = _metrics(world, tmp_path / evaluator, evaluator, records=records)
        assert (tmp_path / evaluator / "records.npz").exists() == records
    assert found["aqr"] == pytest.approx(found["official"], abs=1e-9)
    assert found["aqr"].keys() == found["official"].keys()
    assert found["aqr"]["NDS"] > 0


def test_the_records_are_those_of_the_file_and_hold_the_range_bands(world, tmp_path):
    metrics = _metrics(world, tmp_path, "aqr", records=True)
    records = read_records(tmp_path / "records.npz")
    assert set(records.tables) == {WHOLE, *BANDS_M}
    path = tmp_path / "mini_val.json"
    assert metrics == score_results(path, world.root, world.version, "mini_val")
    assert sum(map(len, json.loads(path.read_text())["results"].values())) == 20


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_shares_of_processes_give_the_same_file_and_numbers(world, tmp_path, ranks, monkeypatch):
    """Uneven ones, gathered beside the result file and nowhere else; the first has the metrics."""
    alone = _metrics(world, _folder(tmp_path / "alone"), "aqr", records=True)
    folder = _folder(tmp_path / "together")
    monkeypatch.chdir(_folder(tmp_path / "here"))

    def act(rank):
        return _metrics(world, folder, "aqr", records=True, share=slice(rank, None, ranks))

    # What a killed evaluation has left.
    (folder / ".mini_val.json.0").write_text("[")
    first, *others = in_ranks(ranks, act)
    assert first == alone
    assert others == [{}] * (ranks - 1)
    assert sorted(path.name for path in folder.iterdir()) == ["mini_val.json", "records.npz"]
    assert not list((tmp_path / "here").iterdir())
    for name in ("mini_val.json", "records.npz"):
        assert (folder / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def _folder(path):
    path.mkdir()
    return path


def test_an_unknown_evaluator_is_refused():
    with pytest.raises(ValueError, match="'devkit' is not a valid Evaluator"):
        NuScenesResultMetric("", "", "", "", evaluator="devkit")
