"""Processor time that a training sample takes to load, in this edition and another, interleaved.

Run `python benchmarks/loading.py FRAME --base CHECKOUT`: FRAME is a folder with one nuScenes keyframe
(six images, a cloud, and an info file of mmdet3d), CHECKOUT another edition of this repository (`git
worktree add`). The keyframe gets ten sweeps, which are its own cloud, driven on. Each edition is one
process, as a loader worker is, with one thread. A sample is read, augmented as published, packed,
collated, and copied once as the hand-over of a worker copies it. Ground-truth sampling is off. This
edition is measured thrice: as it is, with merged sweeps, and with images decoded at half size as well.
Ratios are medians over rounds of neighbours in time.
"""

import argparse
import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from aqr_exp.data.merged_sweeps import merge_split
from aqr_exp.files.foreign import read_pickle

MODELS = ("cmt_r50_800x320", "cmt_vov_1600x640")
HALF = "data.half_decode=true"

CHILD = """
import json, sys, time
answers, sys.stdout = sys.stdout, sys.stderr
import cv2, torch
import aqr_exp
from mmdet3d.registry import DATASETS
from mmengine.dataset import pseudo_collate
from aqr_exp.config.load import load_run
from aqr_exp.data.dataset import SampleKey
from aqr_exp.data.pipeline import dataset_config
from aqr_exp.train.runner_config import register_plugins
cv2.setNumThreads(0)
torch.set_num_threads(1)
register_plugins()
data = DATASETS.build(dataset_config(load_run("baseline", sys.argv[2:]), "frame", training=True))
for line in sys.stdin:
    first, count = map(int, line.split())
    started = time.process_time()
    for epoch in range(first, first + count):
        batch = pseudo_collate([data[SampleKey(0, epoch, 0)]])
        copies = [x.clone() for key in ("points", "img") for x in batch["inputs"][key]]
    ms = (time.process_time() - started) * 1e3 / count
    size = sum(x.nbytes for x in copies) / 1e6
    print(json.dumps([ms, size]), file=answers, flush=True)
"""


def make_root(root: Path, frame: Path) -> None:
    """The frame as nuScenes stores it, with ten sweeps and the split `frame`."""
    info = read_pickle(next(frame.glob("*.pkl")))
    (sample,) = info["data_list"]
    files = {name: camera["img_path"] for name, camera in sample["images"].items()}
    cloud = files["LIDAR_TOP"] = sample["lidar_points"]["lidar_path"]
    for sensor, name in files.items():
        (root / "samples" / sensor).mkdir(parents=True)
        shutil.copyfile(frame / name, root / "samples" / sensor / name)
    (root / "sweeps" / "LIDAR_TOP").mkdir(parents=True)
    sample["lidar_sweeps"] = []
    for number in range(1, 11):
        name = f"sweeps/LIDAR_TOP/{number}.bin"
        shutil.copyfile(frame / cloud, root / name)
        pose = [
            [1.0, 0.0, 0.0, 0.3 * number],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
            [0, 0, 0, 1],
        ]
        points = {"lidar_path": name, "lidar2sensor": pose}
        time_s = sample["timestamp"] - 0.05 * number
        sample["lidar_sweeps"].append({"timestamp": time_s, "lidar_points": points})
    (root / "aqr_infos").mkdir()
    (root / "aqr_infos" / "frame.pkl").write_bytes(pickle.dumps(info))


class Edition:
    """A process that loads with the package in a checkout."""

    def __init__(self, name: str, checkout: Path, root: Path, *typed: str) -> None:
        self.name = name
        overrides = ["data=nuscenes", f"data.root={str(root)!r}", *typed]
        variables = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(checkout), *overrides],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=variables, cwd=checkout, text=True,
        )  # fmt: skip
        self.ms: list[float] = []
        self.megabytes = 0.0

    def load(self, first: int, count: int) -> None:
        """Load samples of some epochs, and keep the time of one."""
        streams: Any = self.process
        streams.stdin.write(f"{first} {count}\n")
        streams.stdin.flush()
        ms, self.megabytes = json.loads(streams.stdout.readline())
        self.ms.append(ms)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frame", type=Path)
    parser.add_argument("--base", type=Path, help="checkout of the edition to compare with")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--samples", type=int, default=4, help="samples of a round")
    parser.add_argument("--models", nargs="+", default=MODELS)
    given = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as place:
        plain, merged = Path(place, "plain"), Path(place, "merged")
        make_root(plain, given.frame)
        make_root(merged, given.frame)
        merge_split(merged, "frame", workers=1)
        for model in given.models:
            typed = f"model={model}"
            editions = [
                *([Edition("base", given.base.resolve(), plain, typed)] if given.base else []),
                Edition("here", here, plain, typed),
                Edition("merged sweeps", here, merged, typed),
                Edition("merged sweeps, half size", here, merged, typed, HALF),
            ]
            for number in range(-1, given.rounds):
                for step in range(len(editions)):
                    edition = editions[(number + step) % len(editions)]
                    edition.load(max(number, 0) * given.samples, given.samples)
            print(f"{model}: {given.rounds} rounds of {given.samples} samples")
            for edition in editions:
                edition.process.communicate()
                pairs = zip(edition.ms[1:], editions[0].ms[1:], strict=True)
                ratio = statistics.median(one / other for one, other in pairs)
                middle = statistics.median(edition.ms[1:])  # the first warms caches
                print(
                    f"  {edition.name:26s}{middle:8.1f} ms {edition.megabytes:6.1f} MB {ratio:7.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
