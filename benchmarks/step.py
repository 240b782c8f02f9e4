"""Time of a whole training step of each variant beside the baseline's, interleaved in one process.

Run `make bench`, or `python benchmarks/step.py [steps]`. The model is cmt_tiny with batches of two
samples of random numbers, each with twelve boxes; a step is forward, backward, clipping and AdamW.
Prints a table, and with `--json` one line of JSON a variant.
"""

import json
import logging
import math
import statistics
import sys
import time
from typing import Any

import torch

import aqr_exp  # noqa: F401 - gives mmcv its operators, which mmdet3d asks for

# isort: split
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from aqr_exp.cmt.detector import register_modules
from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.config import BASELINE
from aqr_exp.config.load import load_run
from aqr_exp.config.variant_spec import variant_specs

SAMPLES, BOXES, POINTS = 2, 12, 20000
HEIGHT_PX, WIDTH_PX = 96, 256
EXTENT_M = torch.tensor([17.0, 35.0])


def rig() -> torch.Tensor:
    """lidar2img [6, 4, 4] of cameras 60 degrees apart, 70 degrees wide."""
    focal = WIDTH_PX / 2 / math.tan(math.radians(35))
    intrinsics = torch.tensor([[focal, 0, WIDTH_PX / 2], [0, focal, HEIGHT_PX / 2], [0, 0, 1]])
    matrices = []
    for view in range(6):
        sine, cosine = math.sin(math.pi / 3 * view), math.cos(math.pi / 3 * view)
        rotation = torch.tensor([[sine, -cosine, 0, 0], [0, 0, -1, 0], [cosine, sine, 0, 0]])
        matrices.append(torch.cat((intrinsics @ rotation, torch.eye(4)[3:])))
    return torch.stack(matrices)


def boxes(generator: torch.Generator) -> torch.Tensor:
    """[BOXES, 9], cars by size, on the ground."""
    place = (torch.rand(BOXES, 2, generator=generator) * 2 - 1) * EXTENT_M
    size = torch.tensor([4.6, 1.9, 1.7]) * (0.8 + 0.4 * torch.rand(BOXES, 3, generator=generator))
    yaw = (torch.rand(BOXES, 1, generator=generator) * 2 - 1) * math.pi
    speed = torch.randn(BOXES, 2, generator=generator)
    return torch.cat((place, torch.full((BOXES, 1), -1.8), size, yaw, speed), dim=1)


def batch(seed: int) -> tuple[dict[str, Any], list[Det3DDataSample]]:
    """Inputs and samples as the pipeline gives them."""
    generator = torch.Generator().manual_seed(seed)
    clouds, samples = [], []
    for number in range(SAMPLES):
        flat = torch.randn(POINTS, 2, generator=generator) * EXTENT_M / 2
        rest = torch.rand(POINTS, 3, generator=generator) * torch.tensor([3.0, 255.0, 0.5])
        clouds.append(torch.cat((flat, rest - torch.tensor([2.0, 0.0, 0.0])), dim=1))
        sample = Det3DDataSample()
        sample.set_metainfo(
            {
                "lidar2img": rig().double().numpy(),
                "pad_shape": (HEIGHT_PX, WIDTH_PX),
                "box_type_3d": LiDARInstance3DBoxes,
                "sample_idx": number,
            }
        )
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(boxes(generator), box_dim=9),
            labels_3d=torch.randint(10, (BOXES,), generator=generator),
        )
        samples.append(sample)
    images = torch.randn(SAMPLES, 6, 3, HEIGHT_PX, WIDTH_PX, generator=generator)
    return {"points": clouds, "imgs": images}, samples


class Trained:
    """A variant in training."""

    def __init__(self, variant: str) -> None:
        torch.manual_seed(0)
        self.detector = MODELS.build(detector_config(load_run(variant, ["model=cmt_tiny"])))
        self.detector.init_weights()
        self.detector.train()
        self.optimizer = torch.optim.AdamW(self.detector.parameters(), lr=1e-4)
        self.ms: list[float] = []

    def step(self, seed: int) -> None:
        """One training step, timed without the making of its batch."""
        inputs, samples = batch(seed)
        torch.manual_seed(seed)
        started = time.perf_counter()
        losses = self.detector.loss(inputs, samples)
        total = sum(loss for name, loss in losses.items() if "loss" in name)
        self.optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.detector.parameters(), 2.0)
        self.optimizer.step()
        self.ms.append((time.perf_counter() - started) * 1e3)


def main() -> None:
    """Measure and print."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    steps = int(arguments[0]) if arguments else 30
    register_modules()
    logging.disable(logging.INFO)
    trained = {variant: Trained(variant) for variant in variant_specs()}
    runs = [*trained.values()]
    for seed in range(steps + 3):
        # Each takes its turn at coming first: what ran before leaves caches and threads behind.
        for place in range(len(runs)):
            runs[(seed + place) % len(runs)].step(seed)
    base = trained[BASELINE].ms[3:]
    if "--json" not in sys.argv:
        print(f"cmt_tiny, {SAMPLES} samples, {torch.get_num_threads()} threads, {steps} steps each")
    for variant, run in trained.items():
        ms = run.ms[3:]  # the first ones compile kernels and warm caches
        ratio = statistics.median(one / other for one, other in zip(ms, base, strict=True))
        row = {"variant": variant, "ms": round(statistics.median(ms), 1), "ratio": round(ratio, 3)}
        if "--json" in sys.argv:
            print(json.dumps(row | {"threads": torch.get_num_threads(), "steps": steps}))
        else:
            print(f"  {variant:20s} {row['ms']:8.1f} ms   {row['ratio']:.3f} x baseline")


if __name__ == "__main__":
    main()
