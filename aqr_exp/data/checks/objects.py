"""Objects that were cut out for ground-truth sampling: whether all that the arrays name is there."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aqr_exp.data.checks.fault import Fault
from aqr_exp.data.info_files import info_path
from aqr_exp.data.objects.making import info_digest
from aqr_exp.data.objects.store import POINT_COLUMNS, ObjectStore, objects_folder, pack_name
from aqr_exp.errors import AqrExpError

_KIND = "objects"
_AGAIN = "run `aqr-exp data prepare`"


def object_faults(root: Path, split: str) -> Iterator[Fault]:
    """What is wrong with a split's objects; nothing where none were cut out.

    Args:
        root: The data set's folder.
        split: Which split.
    """
    folder = objects_folder(root, split)
    if not folder.is_dir():
        return
    index = folder / "index.json"
    if not index.exists():
        yield _fault(root, index, f"missing: the objects were not cut out to the end: {_AGAIN}")
        return
    try:
        store = ObjectStore(folder)
    except AqrExpError as error:
        yield _fault(root, folder, f"{str(error).replace(f'{folder}/', '')}: {_AGAIN}")
        return
    if info_path(root, split).is_file() and store.index.get("infos_sha256") != info_digest(
        root, split
    ):
        yield _fault(root, index, f"cut out of other data than {split}.pkl names: {_AGAIN}")
        return
    ends = store.objects["first_patch"].astype(np.int64) + store.objects["patches"]
    if ends.max(initial=0) > len(store.patches) or store.objects["first_patch"].min(initial=0) < 0:
        yield _fault(root, folder / "objects.npy", f"names patches that there are not: {_AGAIN}")
        return
    for scene, wanted in enumerate(_pack_bytes(store)):
        path = folder / pack_name(scene)
        if not path.exists():
            if wanted:
                yield _fault(root, path, f"missing: {_AGAIN}")
        elif (found := path.stat().st_size) < wanted:
            yield _fault(root, path, f"has {found} bytes, its objects need {wanted}: {_AGAIN}")


def _pack_bytes(store: ObjectStore) -> np.ndarray:
    """How long each scene's pack must at least be."""
    objects, patches = store.objects, store.patches
    needed = np.zeros(int(objects["scene"].max(initial=-1)) + 1, dtype=np.int64)
    points = objects["points"].sum(axis=1, dtype=np.int64) * POINT_COLUMNS * 4
    np.maximum.at(needed, objects["scene"], objects["offset"] + points)
    # The patches of an object lie one after the other; which object each is of:
    owner = np.repeat(np.arange(len(objects)), objects["patches"])
    place = np.arange(len(owner)) - np.repeat(
        np.cumsum(objects["patches"], dtype=np.int64) - objects["patches"], objects["patches"]
    )
    named = patches[objects["first_patch"][owner] + place]
    np.maximum.at(needed, objects["scene"][owner], named["offset"] + named["size"])
    return needed


def _fault(root: Path, path: Path, cause: str) -> Fault:
    return Fault(file=path.relative_to(root).as_posix(), kind=_KIND, cause=cause)
