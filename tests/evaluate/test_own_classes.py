"""Scoring of data with classes of their own: against the devkit under other names, and by hand."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nuscenes import NuScenes
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.constants import TP_METRICS
from nuscenes.eval.detection.evaluate import DetectionEval

from aqr_exp.config.description import read_description
from aqr_exp.config.schema.description import NUSCENES, DataDescription, DetectionClass
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.evaluate.conditions import RunScorer, condition_metrics
from aqr_exp.evaluate.evaluation import make_records, score_results
from aqr_exp.evaluate.ground_truth import load_ground_truth
from aqr_exp.evaluate.predictions import read_predictions
from aqr_exp.evaluate.protocol import MATCH_DISTANCES_M, ranges_m
from aqr_exp.evaluate.records import read_records, write_records
from aqr_exp.evaluate.scorer import Scores
from aqr_exp.statistics.resampling import samples_digest

VERSION, SPLIT = "v1.0-synth", "synth_val"
# nuScenes' class that has the same errors, and a category of it.
TWINS = {
    "container": ("barrier", {"object.container": "movable_object.barrier"}),
    "forklift": ("car", {"vehicle.forklift": "vehicle.car"}),
    "worker": (
        "pedestrian",
        {"human.worker": "human.pedestrian.adult", "human.visitor": "human.pedestrian.child"},
    ),
    "pallet": ("traffic_cone", {"object.pallet": "movable_object.trafficcone"}),
}


@pytest.fixture(scope="module")
def results(depot_root: Path) -> dict[str, list[dict[str, Any]]]:
    """Detections near the ground truth, some far off, by sample."""
    rng = np.random.default_rng(0)
    nusc = NuScenes(version=VERSION, dataroot=str(depot_root), verbose=False)
    class_of = read_description(depot_root).class_of
    attributes = {row["token"]: row["name"] for row in nusc.attribute}
    found = {}
    for token in load_ground_truth(depot_root, VERSION, SPLIT).samples.tokens:
        boxes = found.setdefault(token, [])
        for annotation in nusc.get("sample", token)["anns"]:
            row = nusc.get("sample_annotation", annotation)
            kinds = [attributes[each] for each in row["attribute_tokens"]]
            for _ in range(int(rng.integers(0, 3))):
                shift = rng.normal(0, 1.0, 3) * [1, 1, 0.2]
                boxes.append(
                    {
                        "sample_token": token,
                        "translation": (np.array(row["translation"]) + shift).tolist(),
                        "size": (np.array(row["size"]) * rng.uniform(0.7, 1.3, 3)).tolist(),
                        "rotation": rng.normal(0, 1, 4).tolist(),
                        "velocity": rng.normal(0, 2, 2).tolist(),
                        "detection_name": class_of[row["category_name"]],
                        "detection_score": round(float(rng.random()), 6),
                        "attribute_name": kinds[0] if kinds else "",
                    }
                )
    return found


def _file(path: Path, results: Any) -> Path:
    path.write_text(json.dumps({"meta": {"use_camera": True}, "results": results}))
    return path


@pytest.fixture(scope="module")
def records(depot_root, results, tmp_path_factory):
    truth = load_ground_truth(depot_root, VERSION, SPLIT)
    path = _file(tmp_path_factory.mktemp("own") / "results.json", results)
    return make_records(truth, read_predictions(path, truth))


def test_every_class_is_scored_as_the_devkit_scores_its_twin(
    depot_root, results, records, tmp_path
):
    root = tmp_path / "twin"
    shutil.copytree(depot_root, root)
    (root / "dataset.yaml").unlink()
    table = root / VERSION / "category.json"
    text = table.read_text()
    for _, categories in TWINS.values():
        for old, new in categories.items():
            text = text.replace(json.dumps(old), json.dumps(new))
    table.write_text(text)
    renamed = {
        token: [{**box, "detection_name": TWINS[box["detection_name"]][0]} for box in boxes]
        for token, boxes in results.items()
    }
    config = config_factory("detection_cvpr_2019")
    own = ranges_m(records.description)
    for place, (twin, _) in enumerate(TWINS.values()):
        config.class_range[twin] = float(own[place])
    nusc = NuScenes(version=VERSION, dataroot=str(root), verbose=False)
    path = _file(tmp_path / "renamed.json", renamed)
    evaluation = DetectionEval(nusc, config, str(path), SPLIT, str(tmp_path / "out"), verbose=False)
    theirs, scores = evaluation.evaluate()[0], RunScorer(records).scores()
    for place, (twin, _) in enumerate(TWINS.values()):
        aps = [theirs.get_label_ap(twin, distance) for distance in MATCH_DISTANCES_M]
        np.testing.assert_allclose(scores.ap[0, place], aps, rtol=0, atol=1e-9)
        errors = [theirs.get_label_tp(twin, each) for each in TP_METRICS]
        np.testing.assert_allclose(scores.errors[0, place], errors, rtol=0, atol=1e-9)
        counted = sum(box.detection_name == twin for box in evaluation.gt_boxes.all)
        assert scores.truths[0, place] == counted > 0
    metrics = scores.metrics()
    assert 0.02 < metrics["mAP"] < 1.0
    assert metrics["mAP"] == pytest.approx(float(scores.class_ap()[0].mean()), abs=1e-12)
    # Over the four classes, of which two have velocities and attributes, three a heading.
    assert metrics["mAVE"] == pytest.approx(float(np.mean(scores.errors[0, [1, 2], 3])), abs=1e-12)
    assert metrics["mAOE"] == pytest.approx(float(np.mean(scores.errors[0, :3, 2])), abs=1e-12)


def test_metrics_and_conditions_are_of_its_classes(records):
    metrics = RunScorer(records).scores().metrics()
    names = [f"AP/{name}" for name in ("container", "forklift", "worker", "pallet")]
    assert [name for name in metrics if name.startswith("AP/")] == names
    parts = condition_metrics(records)

    def classes(part):
        return [name[3:] for name in parts[part] if name.startswith("gt/")]

    assert classes("small") == ["worker", "pallet"]
    assert classes("large") == ["container", "forklift"]
    assert classes("20-30m") == ["container", "forklift", "worker"]
    assert classes("30-50m") == ["container", "forklift"]


def test_the_records_file_holds_the_description(records, tmp_path):
    write_records(tmp_path / "records.npz", records)
    kept = read_records(tmp_path / "records.npz")
    assert kept.description == records.description != NUSCENES
    assert RunScorer(kept).scores().metrics() == RunScorer(records).scores().metrics()


@pytest.mark.parametrize("damage", [{}, {"classes": [], "cameras": ["A"]}, 5, {"classes": 1}])
def test_records_of_other_classes_than_their_header_says_are_damaged(records, tmp_path, damage):
    from dataclasses import replace

    header = {**records.header, "description": damage}
    write_records(tmp_path / "records.npz", replace(records, header=header))
    with pytest.raises(AqrExpError, match="is damaged"):
        read_records(tmp_path / "records.npz")


def test_the_same_samples_under_other_classes_are_other_samples(records):
    assert samples_digest(records.samples, records.description) != samples_digest(records.samples)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("detection_name", "car", "container, forklift, worker, pallet"),
        ("attribute_name", "cycle.with_rider", "vehicle.moving, vehicle.parked"),
    ],
)
def test_names_of_nuscenes_are_refused_with_those_allowed(
    depot_root, results, tmp_path, key, value, allowed
):
    token = next(token for token, boxes in results.items() if boxes)
    wrong = {**results, token: [{**results[token][0], key: value}]}
    path = _file(tmp_path / "wrong.json", wrong)
    with pytest.raises(RequestError, match=f"{key}: Invalid enum value '{value}'") as caught:
        score_results(path, depot_root, VERSION, SPLIT)
    assert allowed in str(caught.value)


def test_an_unknown_category_is_named_without_any_preparation(depot_root, tmp_path):
    root = tmp_path / "raw"
    shutil.copytree(depot_root / VERSION, root / VERSION)
    text = (depot_root / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(text.replace("vehicle.forklift", "vehicle.forklit"))
    rule = (
        r"dataset.yaml: classes\[1\].categories\[0\]='vehicle.forklit': is not in category.json"
        r": did you mean 'vehicle.forklift'\?"
    )
    with pytest.raises(RequestError, match=rule):
        load_ground_truth(root, VERSION, SPLIT)


def test_ground_truth_is_not_taken_from_a_cache_of_another_description(depot_root, tmp_path):
    root = tmp_path / "raw"
    shutil.copytree(depot_root / VERSION, root / VERSION)
    shutil.copy(depot_root / "dataset.yaml", root)
    whole = load_ground_truth(root, VERSION, SPLIT)
    text = (root / "dataset.yaml").read_text()
    (root / "dataset.yaml").write_text(text.replace("range_m: 45.0", "range_m: 12.0"))
    nearer = load_ground_truth(root, VERSION, SPLIT)
    assert (nearer.boxes.label == 0).sum() < (whole.boxes.label == 0).sum()
    assert nearer.description.classes[0].range_m == 12.0


def test_errors_that_no_class_has_are_in_no_score():
    description = DataDescription(
        classes=(
            DetectionClass(
                name="post", categories=("post",), range_m=9.0, heading="none", velocity=False
            ),
        ),
        cameras=("CAM",),
    )
    scores = Scores(
        ap=np.full((1, 1, 4), 0.5),
        errors=np.array([[[0.2, 0.4, np.nan, np.nan, np.nan]]]),
        truths=np.array([[3]]),
        samples=np.array([1]),
        description=description,
    )
    metrics = scores.metrics()
    assert metrics["NDS"] == pytest.approx((5 * 0.5 + 0.8 + 0.6) / 7)
    assert not {"mAOE", "mAVE", "mAAE"} & metrics.keys()
