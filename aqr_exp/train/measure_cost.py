"""`python -m aqr_exp.train.measure_cost`: parameters, FLOPs, latency and memory of detection.

torch's counter sees every such operation that torch executes. What it does not see is added from shapes:

- the fused attention of CPUs, and FlexAttention, which is counted as the matrices it stands for:
  2 B H Q K (c_k + c_v);
- our compiled loops over windows, the router's attention and the correction of a biased one:
  4 B Q S C each, all slots counted, whether a border cuts them off or not; H times that where every
  head of the router's attention reads whole tokens (`aqr.attention.gathered.mix_tokens`).

A multiplication and an addition are two operations. Element-wise operations, norms, softmax and sorting
are not counted; nor are sparse convolutions, whose products follow the points.

Letters: B samples, Q queries, K keys, S window slots, H heads, C = H c width.
"""

import argparse
import inspect
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from aqr_exp.aqr.attention import compiled
from aqr_exp.aqr.attention.api import choose
from aqr_exp.aqr.attention.gathered import GatheredAttention
from aqr_exp.aqr.bias import LocalBias
from aqr_exp.cmt.attention import MultiHeadAttention
from aqr_exp.config.identity import from_spec
from aqr_exp.config.inputs import with_data_identity
from aqr_exp.data.pipeline import dataloader_config
from aqr_exp.data.workers import trains_on_gpu
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train import memory
from aqr_exp.train.checkpoint import detector_of, required_state
from aqr_exp.train.runner_config import register_plugins
from aqr_exp.train.session import reason_for, set_up_torch
from aqr_exp.train.worker import json_responses

_FUSED_ON_CPU = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
SPARSE = "sparse convolutions"


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Operations of a forward pass.

    Attributes:
        by_formula: Those of `total` that our compiled loops make.
        not_counted: Names of parts of the detector that are left out.
    """

    total: int
    by_formula: int
    not_counted: tuple[str, ...] = ()


def count_flops(model: nn.Module, forward: Callable[[], Any]) -> Flops:
    """Count the operations of one forward pass; `forward` runs the model once."""
    added: list[int] = []
    mapping = {} if _FUSED_ON_CPU is None else {_FUSED_ON_CPU: _fused_attention_flops}
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, GatheredAttention):
                hook = _before(module, _add_gathered, added)
                stack.callback(hook.remove)
            elif isinstance(module, MultiHeadAttention):
                hook = _before(module, _add_corrected, added)
                stack.callback(hook.remove)
                stack.enter_context(_as_matrix(module))
        with torch.no_grad(), counter:
            forward()
    bases = {base.__name__ for module in model.modules() for base in type(module).__mro__}
    return Flops(
        total=int(counter.get_total_flops()) + sum(added),
        by_formula=sum(added),
        not_counted=(SPARSE,) if "SparseConvolution" in bases else (),
    )


def _window_flops(query: Tensor, index: Tensor) -> int:
    """4 B Q S C for scores and weighted sums, of queries [B, Q, C] and window slots [B, Q, S]."""
    return 4 * query.numel() * index.shape[-1]


def _fused_attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any
) -> int:
    """2 B H Q K (c_k + c_v) of shapes [B, H, Q or K, c]."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[2] * (width + value[3])


def _before(
    module: nn.Module, add: Callable[[list[int], Any, dict[str, Any]], None], added: list[int]
) -> RemovableHandle:
    """Let `add` see the arguments of each call of a module by name, however they were passed."""
    signature = inspect.signature(module.forward)

    def hook(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        add(added, module, signature.bind(*inputs, **named).arguments)

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _add_gathered(added: list[int], module: GatheredAttention, inputs: dict[str, Any]) -> None:
    """Add operations of the router's attention in windows, which no backend of it shows to torch."""
    wider = module.heads if module.absorbs(**inputs) else 1
    added.append(wider * _window_flops(inputs["query"], inputs["windows"].index))


def _add_corrected(added: list[int], module: MultiHeadAttention, inputs: dict[str, Any]) -> None:
    """Add operations of the compiled correction; the counter sees those of torch."""
    query, key, bias = inputs["query"], inputs["key"], inputs.get("bias")
    if not isinstance(bias, LocalBias) or not compiled.is_supported(query):
        return
    queries, keys = _split(query, module.heads), _split(key, module.heads)
    if choose(module.backend, queries, keys, bias, inputs.get("blocked")) == "windowed":
        added.append(_window_flops(query, bias.index))


def _split(tensor: Tensor, heads: int) -> Tensor:
    """[B, n, C] as [B, H, n, c]."""
    return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)


@contextmanager
def _as_matrix(module: MultiHeadAttention) -> Iterator[None]:
    """On CUDA, attend with the matrix: the counter does not see compiled FlexAttention."""
    backend = module.backend
    if module.in_proj_weight.device.type == "cuda":
        module.backend = "dense"
    try:
        yield
    finally:
        module.backend = backend


WARM_ROUNDS = 3
"""Passes of each run before any is timed, besides those whose operations and memory are counted."""


class Subject:
    """A run's detector with its samples, ready to be measured.

    Args:
        samples: Number of samples, the first ones of the validation split.
        threads: Torch threads of a run that does not set them.

    Attributes:
        latencies_ms: Of its timed passes.

    Raises:
        Exception: There is no intact checkpoint, no data, or they do not fit.
    """

    def __init__(self, folder: RunFolder, samples: int, threads: int) -> None:
        config = with_data_identity(from_spec(folder.read_spec()))
        state = required_state(folder)
        self.name = folder.name
        self.latencies_ms: list[float] = []
        self._epoch, self._step = state["epoch"], state["step"]
        self._split = config.data.val_split
        self._threads = config.launcher.threads or threads
        self.device = torch.device("cuda" if trains_on_gpu(config.launcher) else "cpu")
        self.model = detector_of(config, state, self.device)
        loader = Runner.build_dataloader(
            dataloader_config(config, self._split, training=False, batch_size=1, workers=0)
        )
        self._batches = list(islice(loader, samples))
        self.flops: Flops | None = None
        self.memory_mb: float | None = None

    def forward(self, number: int) -> None:
        """Detect in one sample, from loaded points and images to decoded boxes."""
        model: Any = self.model
        with torch.no_grad():
            model.test_step(self._batches[number % len(self._batches)])

    def weigh(self) -> None:
        """Count the operations and the memory of a pass, which warms it as well."""
        torch.set_num_threads(self._threads)
        self.flops = count_flops(self.model, lambda: self.forward(0))
        passes = [partial(self.forward, n) for n in range(WARM_ROUNDS + len(self._batches))]
        peaks = [peak_beyond_mb(detect, self.device) for detect in passes][WARM_ROUNDS:]
        known = [peak for peak in peaks if peak is not None]
        # Reuse by the allocator differs from pass to pass.
        self.memory_mb = median(known) if known else None

    def timed(self, number: int) -> float:
        """Milliseconds of one pass; on CUDA until the device has finished."""
        torch.set_num_threads(self._threads)
        _wait(self.device)
        started = time.perf_counter()
        self.forward(number)
        _wait(self.device)
        return 1000 * (time.perf_counter() - started)

    def finished(self) -> dict[str, Any]:
        """The measurements of a response."""
        assert self.flops is not None  # noqa: S101  # `weigh` comes first
        on_cuda = self.device.type == "cuda"
        return {
            "checkpoint": {"epoch": self._epoch, "step": self._step},
            "split": self._split,
            "samples": len(self._batches),
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(self.device) if on_cuda else "cpu",
            "threads": self._threads,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "flops": self.flops.total,
            "flops_by_formula": self.flops.by_formula,
            "flops_not_counted": list(self.flops.not_counted),
            "memory_mb": None if self.memory_mb is None else round(self.memory_mb, 2),
            "latencies_ms": [round(value, 4) for value in self.latencies_ms],
        }


def peak_beyond_mb(call: Callable[[], None], device: torch.device) -> float | None:
    """Peak memory of a call beyond what was held before it.

    Args:
        call: Called once; it should be warm.
        device: The GPU, or the CPU for the process's memory.

    Returns:
        Megabytes (10^6 bytes); None where the system does not report them.
    """
    memory.give_back_free_memory()
    if device.type == "cuda":
        _wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        _wait(device)
        return float(torch.cuda.max_memory_allocated(device) - before) / 1e6
    resident = memory.resident_bytes()
    if resident is None or not memory.forget_peak():
        return None
    call()
    peak = memory.resident_bytes(peak=True)
    return None if peak is None else max(0, peak - resident) / 1e6


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(
    folders: list[RunFolder], *, passes: int, samples: int, threads: int
) -> Iterator[dict[str, Any]]:
    """Measure runs together, pass by pass in turn.

    Args:
        passes: Timed passes of each run.
        samples: Samples that they go through.
        threads: Torch threads of a run that does not set them.

    Yields:
        The responses: `done` and `total` steps, and for each run `name` with its measurements or its
        `fault`.
    """
    total = len(folders) + WARM_ROUNDS + passes
    subjects: list[Subject] = []
    for folder in folders:
        try:
            subjects.append(Subject(folder, samples, threads))
        except Exception as error:
            traceback.print_exc()
            yield {"name": folder.name, "fault": reason_for(error)}
    if not subjects:
        return
    # Only when all are loaded: memory that loading one allocates would count for another.
    for subject in subjects:
        subject.weigh()
    yield {"done": len(folders), "total": total}
    for number in range(WARM_ROUNDS + passes):
        first = number % len(subjects)
        for subject in (*subjects[first:], *subjects[:first]):
            latency_ms = subject.timed(number)
            if number >= WARM_ROUNDS:
                subject.latencies_ms.append(latency_ms)
        yield {"done": len(folders) + number + 1, "total": total}
    for subject in subjects:
        yield {"name": subject.name, **subject.finished()}


def main(argv: list[str] | None = None) -> int:
    """Run the module; returns 0, also when runs failed."""
    parser = argparse.ArgumentParser(prog="python -m aqr_exp.train.measure_cost")
    parser.add_argument("folders", type=Path, nargs="+", help="runs' folders")
    parser.add_argument("--passes", type=int, required=True, help="timed passes of each run")
    parser.add_argument("--samples", type=int, required=True, help="samples of each run")
    parser.add_argument("--threads", type=int, required=True, help="where a run does not say")
    arguments = parser.parse_args(argv)
    set_up_torch(arguments.threads)
    folders = [RunFolder(path) for path in arguments.folders]
    counts = {name: getattr(arguments, name) for name in ("passes", "samples", "threads")}
    with json_responses() as respond:
        register_plugins()
        for response in measure(folders, **counts):
            respond(response)
    return 0


if __name__ == "__main__":
    sys.exit(main())
