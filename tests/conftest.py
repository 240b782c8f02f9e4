"""Fixtures shared by all tests."""

import gc
import logging
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import campaign
import pytest
from hypothesis import settings
from ideas_at_hand import forget_ideas

import aqr_exp  # noqa: F401  lets mmdet3d be imported without compiled operators
from aqr_exp.errors import STOPPING

# The same examples every time: a failure here is a failure everywhere. `make soak` draws fresh ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("fresh", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# A shell's background processes, and all their children, are told to ignore Ctrl-C; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The stream a library's logger was made with is an earlier test's, closed since; that is no news.
logging.raiseExceptions = False

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_report_header() -> str:
    """The line that a failed campaign is repeated with."""
    return campaign.HEADER


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real trainings first, in whatever order: the last of them would leave the other cores idle."""
    items.sort(key=lambda item: "end_to_end" not in item.path.parts)


def pytest_collection_finish() -> None:
    """Nothing loaded so far is garbage: the collections of mmengine's data sets need not look at it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _caches_of_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What tests cache is not among the user's own files."""
    os.environ["AQR_EXP_CACHE"] = str(tmp_path_factory.mktemp("caches") / "made when needed")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that runs in this process silences what loads for it; the next test hears again."""
    yield
    logging.disable(logging.NOTSET)
    if "mmengine.logging" in sys.modules:
        logger = sys.modules["mmengine.logging"].MMLogger.get_current_instance()
        logger.setLevel(logger.level)  # Makes all of its loggers forget what was enabled.


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """What runs in this process as a worker does ignores signals; children of the next test must not."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _ideas_of_one_test() -> Iterator[None]:
    """Ideas and metrics that were imported have their folders on Python's path: not in the next test."""
    yield
    module = sys.modules.get("aqr_exp.config.idea_spec")
    if module is not None and module._EXECUTED:
        forget_ideas()


@pytest.fixture(scope="session")
def real_frame_dir() -> Path:
    """The folder of the one real nuScenes frame; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("AQR_EXP_REAL_FRAME", REPOSITORY.parent / "shared" / "real_frame"))
    if not list(folder.glob("*.pkl")):
        pytest.skip(f"no real nuScenes frame in {folder} (its licence keeps it out of the project)")
    return folder


@pytest.fixture(scope="session")
def second_frame_dir() -> Path:
    """`sample0` of github.com/LCH1238/bevdet-tensorrt-cpp: another keyframe of the same car."""
    folder = Path(os.environ.get("AQR_EXP_SECOND_FRAME", REPOSITORY.parent / "real_frame_2"))
    if not list(folder.glob("*.yaml")):
        pytest.skip(
            f"no second nuScenes frame in {folder} (its licence keeps it out of the project)"
        )
    return folder


@pytest.fixture(scope="session")
def real_frame_root(real_frame_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real frame laid out as nuScenes stores it, with an info file of the split `frame`."""
    root = tmp_path_factory.mktemp("real frame")
    info = pickle.loads(next(real_frame_dir.glob("*.pkl")).read_bytes())
    (sample,) = info["data_list"]
    files = {name: camera["img_path"] for name, camera in sample["images"].items()}
    files["LIDAR_TOP"] = sample["lidar_points"]["lidar_path"]
    for sensor, name in files.items():
        (root / "samples" / sensor).mkdir(parents=True)
        shutil.copyfile(real_frame_dir / name, root / "samples" / sensor / name)
    (root / "aqr_infos").mkdir()
    (root / "aqr_infos" / "frame.pkl").write_bytes(pickle.dumps(info))
    return root


@pytest.fixture(scope="session")
def tiny_settings() -> Any:
    """The settings of `synth_root`: one night and one rainy training scene, one val scene."""
    from aqr_exp.synth.settings import SynthSettings

    return SynthSettings(
        seed=3,
        train_scenes=2,
        val_scenes=1,
        keyframes=3,
        image_width=160,
        image_height=90,
        azimuth_steps=300,
        night_fraction=0.5,
        rain_fraction=0.5,
    )


@pytest.fixture(scope="session")
def synth_root(tmp_path_factory: pytest.TempPathFactory, tiny_settings: Any) -> Path:
    """A generated data set, made once for all tests that read one; read only."""
    from aqr_exp.synth.generate import generate_dataset

    # A folder name that shell strings and naive parsing would trip over.
    root = tmp_path_factory.mktemp("synth") / "it's a; data set"
    generate_dataset(root, tiny_settings, workers=2)
    return root


@pytest.fixture(scope="session")
def nusc(synth_root: Path) -> Any:
    """The devkit's view of `synth_root`."""
    from nuscenes import NuScenes

    return NuScenes(version="v1.0-synth", dataroot=str(synth_root), verbose=False)


@pytest.fixture(scope="session")
def prepared_root(synth_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `synth_root` with a GT database of its training split; read only."""
    from aqr_exp.data.gt_database.build import build_database

    root = tmp_path_factory.mktemp("prepared") / "it's a; data set"
    shutil.copytree(synth_root, root, copy_function=os.link)
    build_database(root, "synth_train", workers=1)
    return root


@pytest.fixture(scope="session")
def depot_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set of other classes and cameras, with a GT database; read only."""
    from aqr_exp.data.gt_database.build import build_database
    from aqr_exp.synth.generate import generate_dataset
    from aqr_exp.synth.settings import SynthSettings

    root = tmp_path_factory.mktemp("depot") / "it's a; depot"
    settings = SynthSettings(
        set="depot",
        train_scenes=1,
        val_scenes=2,
        keyframes=3,
        image_width=160,
        image_height=120,
        azimuth_steps=300,
    )
    generate_dataset(root, settings, workers=1)
    build_database(root, "synth_train", workers=1)
    return root
