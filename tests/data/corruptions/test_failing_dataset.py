"""Failures through the evaluation pipeline, on a small synthetic set and on the real frame."""

import hashlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

from aqr_exp.config.load import load_run
from aqr_exp.data.corruptions.cases import CorruptionCase, read_cases, standard_cases
from aqr_exp.data.corruptions.effects import stale_data
from aqr_exp.data.dataset import SampleKey
from aqr_exp.data.geometry import inside_boxes, read_points
from aqr_exp.data.pipeline import dataset_config, loading_steps

SPLIT = "synth_val"


def _loaded(root, case, split=SPLIT, variant="baseline", words=(), *, sweeps=10):
    """The data set as it loads files, before anything is resized or packed."""
    from mmdet3d.registry import DATASETS

    from aqr_exp.train.runner_config import register_plugins

    register_plugins()
    config = load_run(variant, [f"data.root={str(root)!r}", f"data.sweeps={sweeps}", *words])
    settings = dataset_config(config, split, training=False, corruption=case)
    return DATASETS.build({**settings, "pipeline": loading_steps(config, case)})


def _case(name: str) -> CorruptionCase:
    (case,) = read_cases(name)
    return case


def _first(root, name, **options):
    return _loaded(root, name and _case(name), **options)[SampleKey(0, 0, 0)]


def _points(results) -> np.ndarray:
    return results["points"].tensor.numpy()


def _digest(results) -> str:
    content = [_points(results), *results["img"], results["lidar2img"]]
    return hashlib.sha256(b"".join(part.tobytes() for part in content)).hexdigest()


@pytest.mark.parametrize(("severity", "rings"), [("16", 2), ("8", 4), ("4", 8)])
def test_rings_go_from_the_keyframe_and_from_every_sweep(synth_root, severity, rings):
    dataset = _loaded(synth_root, _case(f"beams@{severity}"))
    key = SampleKey(2, 0, 0)
    points = _points(dataset[key])
    info = dataset.get_data_info(2)
    files = [info, *info["lidar_sweeps"]]
    wanted = []
    for number, entry in enumerate(files[:11]):
        stored = read_points(entry["lidar_points"]["lidar_path"])
        stored = stored[stored[:, 4].astype(int) % rings == 1]
        if number:  # sweeps lose what is seen of the vehicle itself
            stored = stored[(np.abs(stored[:, :2]) >= 1.0).any(axis=1)]
        wanted.append(len(stored))
    assert len(wanted) > 1
    assert len(points) == sum(wanted)
    times, counts = np.unique(points[:, 4], return_counts=True)
    assert counts.tolist() == wanted[: len(times)]


def test_every_case_leaves_annotations_and_calibration_as_they_are(synth_root):
    clean = _loaded(synth_root, None, sweeps=1)[SampleKey(1, 0, 0)]
    assert len(clean["instances"]) > 0
    heaviest = {case.corruption: case for case in standard_cases(None)}
    for case in heaviest.values():
        failed = _loaded(synth_root, case, sweeps=1)[SampleKey(1, 0, 0)]
        for kept, own in zip(failed["instances"], clean["instances"], strict=True):
            assert kept["bbox_3d"] == own["bbox_3d"]
            assert kept["num_lidar_pts"] == own["num_lidar_pts"]
        assert failed["lidar2ego"] == clean["lidar2ego"]
        assert failed["timestamp"] == clean["timestamp"]
        moved = (failed["lidar2img"] != clean["lidar2img"]).any()
        assert moved == (case.corruption == "nr_extrinsics")  # where that is the failure itself
        assert [image.shape for image in failed["img"]] == [i.shape for i in clean["img"]]


def test_variants_seeds_and_processes_get_the_same_bytes(synth_root):
    names = ["noise@2", "view_drop@0.4", "spatial_misalignment@3"]
    ours = [_digest(_first(synth_root, name)) for name in names]
    other = ["seed=7"]
    assert ours == [
        _digest(_first(synth_root, name, variant="attention_bias", words=other)) for name in names
    ]
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import test_failing_dataset as t;"
        "print(*[t._digest(t._first(sys.argv[2], n, words=['seed=3'])) for n in sys.argv[3:]])"
    )
    folder = str(__file__).rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", code, folder, str(synth_root), *names],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-len(names) :] == ours
    assert len(set(ours)) == len(ours)


@pytest.mark.parametrize("name", ["stuck_lidar@4", "stuck_cameras@4"])
def test_a_stuck_sensor_delivers_the_scenes_first_frame(synth_root, name):
    clean, failing = _loaded(synth_root, None), _loaded(synth_root, _case(name))
    first, late = clean[SampleKey(0, 0, 0)], failing[SampleKey(2, 0, 0)]
    own = clean[SampleKey(2, 0, 0)]
    from_lidar, from_cameras = (first, own) if "lidar" in name else (own, first)
    np.testing.assert_array_equal(_points(late), _points(from_lidar))
    for image, wanted in zip(late["img"], from_cameras["img"], strict=True):
        np.testing.assert_array_equal(image, wanted)
    assert _digest(late) != _digest(own)


def test_a_late_sensor_delivers_the_previous_frame_of_the_same_scene(synth_root):
    case = _case("temporal_misalignment@0.6")
    clean = _loaded(synth_root, None, split="synth_train")
    failing = _loaded(synth_root, case, split="synth_train")
    previous = [None, 0, 1, None, 3, 4]
    assert failing._previous == previous
    late = 0
    for sample in range(6):
        found, own = failing[SampleKey(sample, 0, 0)], clean[SampleKey(sample, 0, 0)]
        stale = stale_data(case, sample, own["token"], previous)
        if not stale:
            assert _digest(found) == _digest(own)
            continue
        late += 1
        assert set(stale.values()) == {previous[sample]}
        before = clean[SampleKey(previous[sample], 0, 0)]
        source = before if "LIDAR_TOP" in stale else own
        np.testing.assert_array_equal(_points(found), _points(source))
        source = before if "CAM_FRONT" in stale else own
        np.testing.assert_array_equal(found["img"][0], source["img"][0])
    assert late > 0


@pytest.mark.real_frame
class TestRealFrame:
    """Counted in the files themselves."""

    @pytest.fixture(scope="class")
    def stored(self, real_frame_root):
        (path,) = (real_frame_root / "samples" / "LIDAR_TOP").iterdir()
        return read_points(path)

    def _real(self, root, name):
        return _first(root, name, split="frame", sweeps=0)

    @pytest.mark.parametrize(("severity", "step"), [("16", 2), ("8", 4), ("4", 8)])
    def test_rings(self, real_frame_root, stored, severity, step):
        points = _points(self._real(real_frame_root, f"beams@{severity}"))
        kept = stored[np.isin(stored[:, 4], range(1, 32, step))]
        assert len(np.unique(kept[:, 4])) == int(severity)
        np.testing.assert_array_equal(points[:, :4], kept[:, :4])

    @pytest.mark.parametrize("severity", ["0.7"])
    def test_points(self, real_frame_root, stored, severity):
        points = _points(self._real(real_frame_root, f"points_drop@{severity}"))
        assert len(stored) == 34_688
        assert len(points) == 34_688 - round(float(severity) * 34_688)
        assert {row.tobytes() for row in points[:, :4]} <= {row.tobytes() for row in stored[:, :4]}

    @pytest.mark.parametrize("severity", ["90", "60"])
    def test_angles(self, real_frame_root, stored, severity):
        points = _points(self._real(real_frame_root, f"limited_fov@{severity}"))
        forward = np.hypot(stored[:, 0], stored[:, 1]) * np.cos(np.radians(float(severity)))
        assert 0 < len(points) == (stored[:, 1] >= forward).sum() < len(stored)
        if severity == "90":
            assert (points[:, 1] >= 0).all()

    def test_nothing_and_the_origin(self, real_frame_root):
        assert len(_points(self._real(real_frame_root, "lidar_drop@empty"))) == 0
        points = _points(self._real(real_frame_root, "lidar_drop@origin"))
        assert points.shape == (34_688, 5)
        assert not points.any()

    def test_objects(self, real_frame_dir, stored, real_frame_root):
        (sample,) = pickle.loads(next(real_frame_dir.glob("*.pkl")).read_bytes())["data_list"]
        boxes = np.array([instance["bbox_3d"] for instance in sample["instances"]])
        inside = inside_boxes(stored[:, :3], boxes).any(axis=0)
        assert inside.sum() > 500
        case = _case("object_failure@0.5")
        points = _points(self._real(real_frame_root, case.name))
        hit = case.rng(sample["token"]).random() < 0.5
        assert len(points) == (~inside).sum() if hit else len(stored)

    @pytest.mark.parametrize("name", ["camera_drop@all", "view_drop@back+front"])
    def test_zero_pixels(self, real_frame_root, name):
        images = self._real(real_frame_root, name)["img"]
        zero = [int((image == 0).all(axis=2).sum()) for image in images]
        if name == "camera_drop@all":
            assert zero == [900 * 1600] * 6
        else:
            whole = [view for view, count in enumerate(zero) if count == 900 * 1600]
            assert whole == [0, 3]

    def test_light(self, real_frame_root):
        own = self._real(real_frame_root, None)["img"][0].astype(np.float32)
        dark = self._real(real_frame_root, "dark@3")["img"][0]
        assert np.abs(dark - 0.1 * own).max() <= 0.5001
        foggy = self._real(real_frame_root, "fog@2")["img"][0]
        assert np.abs(foggy - (0.4 * own + 120)).max() <= 0.5001
