"""A tiny synthetic data set, made once for all tests that read one."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from aqr_exp.data.gt_database.build import build_database
from aqr_exp.synth.generate import generate_dataset
from aqr_exp.synth.settings import SynthSettings

TINY = SynthSettings(
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
def tiny_settings() -> SynthSettings:
    """What `synth_root` was made from: one night and one rainy training scene, one val scene."""
    return TINY


@pytest.fixture(scope="session")
def synth_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated data set; read only."""
    # A folder name that shell strings and naive parsing would trip over.
    root = tmp_path_factory.mktemp("synth") / "it's a; data set"
    generate_dataset(root, TINY, workers=2)
    return root


@pytest.fixture(scope="session")
def nusc(synth_root: Path) -> Any:
    """The devkit's view of `synth_root`."""
    from nuscenes import NuScenes

    return NuScenes(version="v1.0-synth", dataroot=str(synth_root), verbose=False)


@pytest.fixture(scope="session")
def prepared_root(synth_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `synth_root` whose training objects are cut out; read only."""
    root = tmp_path_factory.mktemp("prepared") / "it's a; data set"
    shutil.copytree(synth_root, root, copy_function=os.link)
    build_database(root, "synth_train", workers=1)
    return root
