"""A made-up nuScenes version, written once for all tests that evaluate detections."""

import pytest
from made_up_tables import write_version
from small_world import SAMPLES_A_SCENE, SCENES, SPLITS, World, small_world

VERSION = "v1.0-mini"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The small world; `mini_val` is nuScenes' own split of its first two scenes, the others custom."""
    from nuscenes import NuScenes

    root = tmp_path_factory.mktemp("small world") / "it's a; data set"
    scenes, boxes = small_world()
    names = [scene.name for scene in SCENES]
    custom = {
        split: [names[index] for index in members]
        for split, members in SPLITS.items()
        if split != "mini_val"
    }
    write_version(root, VERSION, scenes, boxes, custom)
    steps = range(SAMPLES_A_SCENE)
    return World(
        root=root,
        version=VERSION,
        nusc=NuScenes(version=VERSION, dataroot=str(root), verbose=False),
        boxes=boxes,
        samples={
            split: [index * SAMPLES_A_SCENE + step for index in members for step in steps]
            for split, members in SPLITS.items()
        },
    )
