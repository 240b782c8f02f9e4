"""Cost of a bias in windows: forward and backward beside attention without a bias, interleaved.

Run `make bench`, or `python benchmarks/attention.py [rounds] [--json] [--big] [--device cuda]`. Every
round times every way once; a figure is the median over the rounds, a ratio the median of the rounds'
ratios. Memory is the growth of the peak over the inputs, each way in a process of its own. On CUDA inputs
are in bfloat16 and FlexAttention takes the place of the corrected kernel; no GPU was at hand to run that.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from aqr_exp.aqr.attention.api import attend, attend_dense
from aqr_exp.aqr.bias import LocalBias
from aqr_exp.aqr.layout import QueryCells, TokenLayout
from aqr_exp.aqr.windows import Windows, gather_windows


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A model's maps and heads; `camera` is its (rows, columns) of a view, `bev` its side."""

    bev: tuple[int, int]
    camera: tuple[int, int]
    queries: int
    heads: int

    def layout(self) -> TokenLayout:
        """The token layout."""
        return TokenLayout(
            bev_rows=self.bev[0], bev_columns=self.bev[1], bev_origin_m=(-54.0, -54.0),
            bev_pitch_m=(0.8, 0.8), views=6, camera_rows=self.camera[0],
            camera_columns=self.camera[1],
            image_size_px=(self.camera[0] * 16, self.camera[1] * 16),
        )  # fmt: skip


SHAPES = {
    "tiny": Shape(bev=(48, 24), camera=(6, 16), queries=360, heads=4),
    "r50": Shape(bev=(128, 128), camera=(20, 50), queries=900, heads=8),
    "vov": Shape(bev=(180, 180), camera=(40, 100), queries=900, heads=8),
}
WIDTH = 32
# (shape, batch, window in BEV cells, in camera tokens)
CASES = [("tiny", 2, 8, 3), ("r50", 1, 5, 5), ("r50", 1, 8, 8), ("r50", 1, 15, 15)]
BIG_CASES = [("r50", 2, 8, 8), ("vov", 1, 8, 8), ("vov", 2, 8, 8)]
# Beyond it the ways that hold a matrix are left out: they need several of it.
MOST_SCORES = 3 * 10**8


def random_windows(shape: Shape, batch: int, bev: int, camera: int) -> Windows:
    """Windows of queries anywhere on the map, each seen by one camera."""
    layout, n = shape.layout(), shape.queries
    sizes = torch.tensor([layout.bev_rows, layout.bev_columns])
    tokens = torch.tensor([layout.camera_rows, layout.camera_columns])
    view = torch.randint(layout.views, (batch, 1, n))
    seen = torch.arange(layout.views)[None, :, None] == view
    places = QueryCells(
        bev=torch.rand(batch, n, 2) * sizes,
        bev_inside=torch.ones(batch, n, dtype=torch.bool),
        camera=torch.rand(batch, layout.views, n, 2) * tokens * seen[..., None],
        seen=seen,
    )
    return gather_windows(places, layout, bev_size=bev, camera_size=camera, view_policy="first")


class Case:
    """Inputs, and the ways to attend."""

    def __init__(self, name: str, batch: int, bev: int, camera: int, device: str = "cpu") -> None:
        torch.manual_seed(0)
        self.device = torch.device(device)
        shape = SHAPES[name]
        windows = random_windows(shape, batch, bev, camera)
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        self.scores = batch * shape.heads * shape.queries * windows.keys
        self.inputs = [
            torch.randn(batch, n, shape.heads, WIDTH)
            .to(self.device, dtype)
            .transpose(1, 2)
            .requires_grad_()
            for n in (shape.queries, windows.keys, windows.keys)
        ]
        self.value = torch.randn(windows.index.shape).masked_fill(~windows.valid, 0.0)
        self.value = self.value.to(self.device).requires_grad_()
        self.bias = LocalBias(
            index=windows.index.to(self.device), valid=windows.valid.to(self.device),
            value=self.value, grid=windows.grid,
        )  # fmt: skip
        wanted = torch.randn(batch, shape.queries, shape.heads, WIDTH)
        self.wanted = wanted.to(self.device, dtype).transpose(1, 2)

    def ways(self) -> dict[str, Callable[[], Tensor]]:
        """What is compared; the first is what the others are measured against."""
        query, key, value = self.inputs
        ways: dict[str, Callable[[], Tensor]] = {
            "unbiased": lambda: attend(query, key, value, None),
            "windowed" if self.device.type == "cpu" else "flex": lambda: attend(
                query, key, value, self.bias
            ),
        }
        if self.scores <= MOST_SCORES:
            ways["dense mask"] = self._masked
            ways["softmax"] = lambda: attend_dense(query, key, value, self.bias)
        return ways

    def _masked(self) -> Tensor:
        query, key, value = self.inputs
        mask = self.bias.dense(key.shape[2])[:, None].to(query.dtype)
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)

    def time(self, way: str) -> tuple[float, float]:
        """Milliseconds forward, and forward with backward."""
        leaves = [*self.inputs] if way == "unbiased" else [*self.inputs, self.value]
        started = self._now()
        output = self.ways()[way]()
        half = self._now()
        torch.autograd.grad(output, leaves, self.wanted)
        return (half - started) * 1e3, (self._now() - started) * 1e3

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def peak_mb(case: tuple[str, int, int, int], way: str, device: str) -> float:
    """Growth of peak memory in one forward and backward pass: of a fresh process, or of the CUDA device."""
    if device == "cuda":
        inputs = Case(*case, device)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        inputs.time(way)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    command = [sys.executable, __file__, "--memory", json.dumps([*case, way])]
    threads = ["--threads", str(torch.get_num_threads())]
    done = subprocess.run([*command, *threads], check=True, capture_output=True, text=True)
    return float(done.stdout)


def print_peak(name: str, batch: int, bev: int, camera: int, way: str) -> None:
    """What `peak_mb` reads. A small case first, so that compiled code does not count."""
    Case("tiny", 1, 3, 3).time(way)
    case = Case(name, batch, bev, camera)
    before = high_water_mb()
    case.time(way)
    print(high_water_mb() - before)


def high_water_mb() -> float:
    """This process's peak memory (Linux; getrusage would start from the parent's)."""
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    )
    return int(line.split()[1]) / 1024


def measure(case: tuple[str, int, int, int], rounds: int, device: str) -> list[dict[str, Any]]:
    """A row for every way."""
    inputs = Case(*case, device)
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in inputs.ways()}
    for _ in range(rounds + 1):
        for way, measured in times.items():
            measured.append(inputs.time(way))
    base, rows = [both for _, both in times["unbiased"][1:]], []
    for way, measured in times.items():
        forward, both = zip(*measured[1:], strict=True)  # the first compiles and warms
        rows.append(
            {
                "shape": case[0], "batch": case[1], "window": case[2], "way": way,
                "keys": inputs.inputs[1].shape[2], "slots": inputs.value.shape[-1],
                "forward_ms": round(statistics.median(forward), 2),
                "both_ms": round(statistics.median(both), 2),
                "ratio": round(
                    statistics.median(a / b for a, b in zip(both, base, strict=True)), 3
                ),
                "peak_mb": round(peak_mb(case, way, device)), "device": device,
                "threads": torch.get_num_threads(), "rounds": rounds,
            }
        )  # fmt: skip
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=7)
    parser.add_argument("--json", action="store_true", help="one line of JSON a row")
    parser.add_argument("--big", action="store_true", help="batch 2 and 56,400 keys as well")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.memory:
        print_peak(*json.loads(options.memory))
        return
    if not options.json:
        left_out = "; FlexAttention has no backward pass on CPUs and is left out"
        print(f"{torch.get_num_threads()} threads, {options.device}, torch {torch.__version__}"
              f"{left_out if options.device == 'cpu' else ''}")  # fmt: skip
        print(
            f"{'':23s}{'way':12s}{'forward':>11s}{'with backward':>15s}{'ratio':>8s}{'peak':>10s}"
        )
    for case in CASES + (BIG_CASES if options.big else []):
        for row in measure(case, options.rounds, options.device):
            if options.json:
                print(json.dumps(row), flush=True)
                continue
            name = f"{row['shape']} batch {row['batch']} window {row['window']}"
            print(
                f"{name:23s}{row['way']:12s}{row['forward_ms']:8.1f} ms{row['both_ms']:12.1f} ms"
                f"{row['ratio']:8.3f}{row['peak_mb']:7d} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
