"""Our numbers are the devkit's own."""

import numpy as np
import pytest
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection import constants
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.splits import create_splits_scenes

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.data.nuscenes_tables import PREDEFINED_SPLITS
from aqr_exp.evaluate import protocol
from aqr_exp.evaluate.metric import TP_ERROR_NAMES
from aqr_exp.evaluate.scorer import Scores


def test_they_are_those_of_the_configuration():
    config = config_factory(protocol.NAME)
    ranges = dict(zip(CLASS_NAMES, protocol.ranges_m(NUSCENES).tolist(), strict=True))
    assert ranges == config.class_range
    assert list(protocol.MATCH_DISTANCES_M) == config.dist_ths
    assert protocol.MATCH_DISTANCES_M[protocol.ERROR_MATCH] == config.dist_th_tp
    assert config.min_recall * 100 + 1 == protocol.FIRST_RECALL_POINT
    assert config.min_precision == protocol.PRECISION_FLOOR
    assert config.max_boxes_per_sample == protocol.MAX_BOXES
    assert config.mean_ap_weight == protocol.MAP_WEIGHT
    assert config.dist_fcn == "center_distance"


def test_names_are_those_of_the_devkit():
    assert set(NUSCENES.attributes) == set(constants.ATTRIBUTE_NAMES)
    assert [TP_ERROR_NAMES[name] for name in constants.TP_METRICS] == list(protocol.ERROR_NAMES)
    for category, name in NUSCENES.class_of.items():
        assert category_to_detection_name(category) == name
    assert set(NUSCENES.class_of.values()) == set(CLASS_NAMES)
    for category in ("animal", "human.pedestrian.wheelchair", NUSCENES.racks):
        assert category_to_detection_name(category) is None
    assert set(PREDEFINED_SPLITS) == set(create_splits_scenes())


def test_nds_by_hand():
    ap = np.zeros((1, 10, 4))
    ap[0, 0] = [0.2, 0.4, 0.6, 0.8]
    errors = np.where(protocol.measured(NUSCENES), 1.0, np.nan)[None]
    errors[0, 0] = [0.5, 0.25, 3.0, 1.0, 0.0]
    scores = Scores(ap=ap, errors=errors, truths=np.ones((1, 10), dtype=int), samples=np.array([1]))
    assert scores.mean_ap()[0] == pytest.approx(0.05)
    # Ten classes have the first two errors, nine the third, eight the others.
    expected = [9.5 / 10, 9.25 / 10, 11 / 9, 8 / 8, 7 / 8]
    assert scores.mean_errors()[0] == pytest.approx(expected)
    assert scores.nds()[0] == pytest.approx((5 * 0.05 + 0.05 + 0.075 + 0 + 0 + 0.125) / 10)
    cones = scores.metrics([CLASS_NAMES.index("traffic_cone")])
    assert np.isnan(cones["mAOE"])
    assert np.isnan(cones["NDS"])
    assert list(cones)[-3:] == ["AP/traffic_cone", "gt/traffic_cone", "samples"]
