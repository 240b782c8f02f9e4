import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from devkit_verdict import Verdict, write_file
from made_up_tables import MadeUpBox, MadeUpScene, write_version
from small_world import World, small_world

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.evaluate import ground_truth
from aqr_exp.evaluate.ground_truth import GroundTruth, cache_path, load_ground_truth
from aqr_exp.files.cache import cache_of

VERSION, SPLIT = "v1.0-tiny", "all of it"
CAR = "vehicle.car"


def _tiny(root: Path, boxes: list[MadeUpBox]) -> None:
    scene = MadeUpScene(name="scene", description="", ego=[(0, 0), (1, 0), (2, 0)])
    write_version(root, VERSION, [scene], boxes, {SPLIT: ["scene"]})


def _assert_same(first: GroundTruth, second: GroundTruth) -> None:
    assert first.samples.arrays().keys() == second.samples.arrays().keys()
    for part in ("samples", "boxes", "racks"):
        for name, value in vars(getattr(first, part)).items():
            np.testing.assert_array_equal(value, getattr(getattr(second, part), name))
    np.testing.assert_array_equal(first.ego_xy, second.ego_xy)


@pytest.fixture
def copied(world: World, tmp_path: Path) -> Path:
    """The small world's tables alone, in a folder of their own."""
    root = tmp_path / "copy"
    shutil.copytree(world.root / world.version, root / world.version)
    return root


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by a split whenever tables are read."""
    splits: list[str] = []
    honest = ground_truth.read_ground_truth

    def counted(tables, split, *others):
        splits.append(split)
        return honest(tables, split, *others)

    monkeypatch.setattr(ground_truth, "read_ground_truth", counted)
    return splits


@pytest.mark.parametrize("split", ["mini_val", "everything", "night only"])
def test_every_box_is_the_devkits(world, tmp_path, split):
    truth = world.truth(split)
    results = {token: [] for token in truth.samples.tokens}
    token = truth.samples.tokens[0]
    box = {"sample_token": token, "translation": [0, 0, 0], "size": [1, 1, 1], "velocity": [0, 0]}
    box |= {"rotation": [1, 0, 0, 0], "detection_name": "car", "attribute_name": ""}
    results[token] = [box | {"detection_score": 0.5}]
    theirs = Verdict(world.nusc, write_file(tmp_path / "r.json", results), split).evaluation
    assert tuple(theirs.gt_boxes.sample_tokens) == truth.samples.tokens
    assert len(theirs.gt_boxes.all) == len(truth.boxes) > 30
    for index, box in enumerate(theirs.gt_boxes.all):
        ours = {name: value[index] for name, value in vars(truth.boxes).items()}
        assert truth.samples.tokens[ours["sample"]] == box.sample_token
        assert CLASS_NAMES[ours["label"]] == box.detection_name
        attribute = NUSCENES.attributes[ours["attribute"]] if ours["attribute"] >= 0 else ""
        assert attribute == box.attribute_name
        np.testing.assert_array_equal(ours["centre"], box.translation)
        np.testing.assert_array_equal(ours["size"], box.size)
        np.testing.assert_array_equal(ours["rotation"], box.rotation)
        np.testing.assert_array_equal(ours["velocity"], box.velocity)
    assert np.isnan(truth.boxes.velocity).any()
    assert (truth.boxes.attribute < 0).any()


def test_filters_by_hand(tmp_path):
    rack = MadeUpBox(
        sample=0, category="static_object.bicycle_rack", centre=(10, 0, 0), size=(2, 4, 2)
    )
    boxes = [
        rack,
        MadeUpBox(sample=0, category=CAR, centre=(30, 40, 0)),
        MadeUpBox(sample=0, category=CAR, centre=(29.99, 40, 0)),
        MadeUpBox(sample=0, category=CAR, centre=(1, 0, 0), points=0),
        MadeUpBox(sample=0, category="animal", centre=(1, 0, 0)),
        MadeUpBox(sample=0, category="vehicle.bicycle", centre=(12, 1, 1)),
        MadeUpBox(sample=0, category="vehicle.motorcycle", centre=(8, -1, -1)),
        MadeUpBox(sample=0, category="vehicle.bicycle", centre=(12.001, 1, 1)),
        MadeUpBox(sample=1, category="vehicle.bicycle", centre=(11, 0, 0)),
        MadeUpBox(sample=0, category=CAR, centre=(10, 0, 0)),
        MadeUpBox(sample=0, category="movable_object.barrier", centre=(30, 0, 0)),
        MadeUpBox(sample=0, category="movable_object.barrier", centre=(29, 0, 0)),
    ]
    _tiny(tmp_path, boxes)
    truth = load_ground_truth(tmp_path, VERSION, SPLIT)
    kept = [tuple(row) for row in truth.boxes.centre[:, :2].tolist()]
    assert kept == [(29.99, 40), (12.001, 1), (10, 0), (29, 0), (11, 0)]


def test_velocities_by_hand(tmp_path):
    def track(name: str, *places: tuple[int, float]) -> list[MadeUpBox]:
        return [
            MadeUpBox(sample=sample, category=CAR, centre=(x, 0, 0), track=name)
            for sample, x in places
        ]

    _tiny(tmp_path, track("a", (0, 0), (1, 2), (2, 10)) + track("b", (1, 5)))
    truth = load_ground_truth(tmp_path, VERSION, SPLIT)
    # Half a second between samples: forwards, on both sides, alone, backwards.
    np.testing.assert_array_equal(truth.boxes.velocity[:, 0], [4, 10, np.nan, 16])


def test_it_is_read_once(copied, reads):
    first = load_ground_truth(copied, "v1.0-mini", "mini_val")
    second = load_ground_truth(copied, "v1.0-mini", "mini_val")
    assert reads == ["mini_val"]
    _assert_same(first, second)
    load_ground_truth(copied, "v1.0-mini", "everything")
    assert reads == ["mini_val", "everything"]
    names = sorted(path.name for path in cache_of(copied).iterdir())
    assert names == ["v1.0-mini_everything.truth.npz", "v1.0-mini_mini_val.truth.npz"]


@pytest.mark.parametrize("table", ["sample_annotation", "splits", "ego_pose"])
def test_a_changed_table_is_read_again(copied, reads, table):
    load_ground_truth(copied, "v1.0-mini", "everything")
    path = copied / "v1.0-mini" / f"{table}.json"
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    load_ground_truth(copied, "v1.0-mini", "everything")
    load_ground_truth(copied, "v1.0-mini", "everything")
    assert len(reads) == 2


def test_a_changed_annotation_shows(copied):
    before = load_ground_truth(copied, "v1.0-mini", "everything")
    path = copied / "v1.0-mini" / "sample_annotation.json"
    rows = json.loads(path.read_text())
    for row in rows:
        row["num_lidar_pts"] = row["num_radar_pts"] = 0
    path.write_text(json.dumps(rows))
    assert len(before.boxes)
    assert not len(load_ground_truth(copied, "v1.0-mini", "everything").boxes)


def test_a_damaged_cache_is_made_anew(copied, reads):
    first = load_ground_truth(copied, "v1.0-mini", "everything")
    path = cache_path(copied, "v1.0-mini", "everything")
    content = path.read_bytes()
    damages = [
        b"",
        content[:100],
        content[:-1],
        content + b"x",
        content.replace(b"scene", b"SCENE"),
    ]
    damages += [
        content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]
        for place in range(0, len(content), len(content) // 20)
    ]
    for count, damage in enumerate(damages, start=2):
        path.write_bytes(damage)
        _assert_same(first, load_ground_truth(copied, "v1.0-mini", "everything"))
        assert len(reads) == count
        assert path.read_bytes() == content


def test_where_nothing_can_be_kept_it_is_read_every_time(copied, reads):
    cache_of(copied).parent.mkdir(parents=True, exist_ok=True)
    cache_of(copied).write_text("a file where the folder should be")
    load_ground_truth(copied, "v1.0-mini", "everything")
    load_ground_truth(copied, "v1.0-mini", "everything")
    assert len(reads) == 2


def test_unknown_and_unfitting_splits(copied, tmp_path):
    with pytest.raises(RequestError, match=r"no split evrything in .*: it holds dry only, ever"):
        load_ground_truth(copied, "v1.0-mini", "evrything")
    with pytest.raises(RequestError, match=r"split val is of v1.0-trainval, not of v1.0-mini"):
        load_ground_truth(copied, "v1.0-mini", "val")
    (copied / "v1.0-mini" / "splits.json").unlink()
    with pytest.raises(
        RequestError, match=r"split mine is none of nuScenes' own, and .* is missing"
    ):
        load_ground_truth(copied, "v1.0-mini", "mine")
    _tiny(tmp_path / "other", [])
    (tmp_path / "other" / VERSION / "splits.json").write_text('{"nothing": []}')
    with pytest.raises(RequestError, match="split nothing has no samples in"):
        load_ground_truth(tmp_path / "other", VERSION, "nothing")


@pytest.mark.parametrize(
    ("table", "content", "fault"),
    [
        ("scene", None, "is missing"),
        ("sample", "[{", "is damaged: Input data was truncated"),
        ("category", '[{"token": "a"}]', "is damaged: Object missing required field `name`"),
        ("instance", "[]", "lacks the token"),
        ("ego_pose", "[]", "lacks the token sample0"),
        ("sample_data", "[]", "sample sample00000000000000000000000000 has no LIDAR_TOP keyframe"),
        ("attribute", "[]", "lacks the token t-"),
    ],
)
def test_a_damaged_table_is_named(copied, table, content, fault):
    path = copied / "v1.0-mini" / f"{table}.json"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(AqrExpError) as caught:
        load_ground_truth(copied, "v1.0-mini", "everything")
    assert str(caught.value).startswith(str(path))
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"attribute_tokens": ["t-vehicle.parked"] * 2}, "has 2 attributes (at most one is"),
        ({"next": "nowhere"}, "lacks the token nowhere"),
    ],
)
def test_an_annotation_that_cannot_be_is_named(tmp_path, change, fault):
    _tiny(tmp_path, [MadeUpBox(sample=0, category=CAR, centre=(0, 0, 0))])
    path = tmp_path / VERSION / "sample_annotation.json"
    (row,) = json.loads(path.read_text())
    path.write_text(json.dumps([row | change]))
    with pytest.raises(AqrExpError) as caught:
        load_ground_truth(tmp_path, VERSION, SPLIT)
    assert str(caught.value).startswith(str(path))
    assert fault in str(caught.value)


def test_the_world_is_the_same_every_time():
    scenes, boxes = small_world()
    again, _ = small_world()
    assert [scene.name for scene in scenes] == [scene.name for scene in again]
    assert len(boxes) > 150
