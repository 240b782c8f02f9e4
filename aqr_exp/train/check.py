"""A quick check of a variant: what its hooks do to the tiny model on two samples, beside the baseline."""

import hashlib
import io
import json
import multiprocessing
import pkgutil
import queue
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner
from torch import Tensor, nn

from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.cmt.variant_module import VariantRecord
from aqr_exp.config import BASELINE
from aqr_exp.config.inputs import info_path
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.variant_spec import spec_of
from aqr_exp.data.dataset import SampleKey
from aqr_exp.data.pipeline import dataloader_config, dataset_config
from aqr_exp.data.workers import loader_workers
from aqr_exp.errors import AqrExpError, cut
from aqr_exp.synth.generate import generate_dataset
from aqr_exp.synth.settings import SynthSettings
from aqr_exp.train.hooks import seed_step
from aqr_exp.train.measure_cost import peak_beyond_mb
from aqr_exp.train.runner_config import optimizer_config

Bits = Mapping[str, Tensor]
STEPS = 3
ROUNDS = 3
PATIENCE_S = 600
COST = "cost beside the baseline"
INTENSITY = 3  # its column of the points


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of a check.

    Attributes:
        ok: None of what was not checked.
        figures: Measured numbers by name.
    """

    check: str
    ok: bool | None
    detail: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The finding in one line."""
        word = {True: "ok", False: "WRONG", None: "not checked"}[self.ok]
        return ": ".join(filter(None, (f"{word:<11} {self.check}", self.detail)))


class _WrongError(AqrExpError):
    """A check that failed, with what is wrong."""


class _NoTruth(dict[str, Any]):
    """The metas of a sample, of which ground truth must not be read."""

    def __getitem__(self, key: str) -> Any:
        if key.startswith("gt_"):
            raise _WrongError(f"{key} was read in evaluation")
        return super().__getitem__(key)

    get = __getitem__  # type: ignore[assignment]


class Subject:
    """A variant with two training samples.

    Attributes:
        model: After `STEPS` training steps, made when it is first asked for.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.data = DATASETS.build(dataset_config(config, config.data.train_split, training=True))
        self.batch = pseudo_collate([self.data[SampleKey(i, 0, i)] for i in range(2)])

    def fresh(self) -> nn.Module:
        """The model before its first step; the same bits every time."""
        seed_step(self.config.seed, 0)
        model: Any = MODELS.build(detector_config(self.config))
        model.init_weights()
        hooks = model.pts_bbox_head.hooks
        if "set_epoch" in hooks:
            hooks.call("set_epoch", 0)
        return model.train()

    def wrapper(self, model: nn.Module) -> Any:
        """The optimiser of a model."""
        return build_optim_wrapper(
            model, optimizer_config(self.config.schedule, self.config.variant)
        )

    def prepared(self, model: Any, batch: Any = None) -> tuple[Any, Any]:
        """Inputs and samples as the model takes them."""
        data = model.data_preprocessor(deepcopy(batch or self.batch), True)
        return data["inputs"], data["data_samples"]

    def losses(self, model: Any) -> dict[str, Tensor]:
        """Losses of a training pass, which leaves gradients."""
        seed_step(self.config.seed, 1)
        losses: dict[str, Tensor] = model.train().loss(*self.prepared(model))
        torch.stack([value.float() for value in losses.values()]).sum().backward()
        return {name: value.detach() for name, value in losses.items()}

    def evaluated(self, model: Any, batch: Any = None) -> dict[str, Tensor]:
        """The head's outputs in evaluation, of metas whose ground truth cannot be read."""
        inputs, samples = self.prepared(model, batch)
        metas = [_NoTruth(each.metainfo, gt_bboxes_3d=0, gt_labels_3d=0) for each in samples]
        with torch.no_grad():
            outputs = model.eval().head_outputs(inputs, metas)
        return {name: value for name, value in outputs.items() if isinstance(value, Tensor)}

    def step(self, model: Any, wrapper: Any, number: int) -> None:
        """Make one training step, drawn by its number."""
        seed_step(self.config.seed, number)
        model.train().train_step(deepcopy(self.batch), wrapper)

    @cached_property
    def trained(self) -> tuple[Any, set[str], list[bytes]]:
        """The model after some steps, its parameters with a gradient, and its state after each."""
        model: Any = self.fresh()
        moved: set[str] = set()
        wrapper, module = self.wrapper(model), model.pts_bbox_head.aqr

        def note(gradient: Tensor, name: str) -> None:
            if not bool(gradient.isfinite().all()):
                raise _WrongError(f"the gradient of {name} is not finite")
            if bool((gradient != 0).any()):
                moved.add(name)

        for name, parameter in () if module is None else module.named_parameters():
            if parameter.requires_grad:
                parameter.register_hook(partial(note, name=name))
        states = []
        for number in range(STEPS):
            self.step(model, wrapper, number)
            states.append(_stored({"model": model.state_dict(), "optim": wrapper.state_dict()}))
        return model, moved, states

    @property
    def model(self) -> Any:
        """The model after some training steps."""
        return self.trained[0]


def _stored(state: Any) -> bytes:
    target = io.BytesIO()
    torch.save(state, target)
    return target.getvalue()


def _loaded(stored: bytes) -> Any:
    return torch.load(io.BytesIO(stored), weights_only=True)


def _same(found: Bits, wanted: Bits, what: str) -> None:
    """Refuse tensors that are not those of another to the bit, as far as that has them."""
    for name, value in wanted.items():
        other = found.get(name)
        if other is None or not torch.equal(other, value):
            apart = "is missing" if other is None else f"differs by {_apart(other, value):.2g}"
            raise _WrongError(f"{what} {name} {apart}")


def _apart(one: Tensor, other: Tensor) -> float:
    return (
        float((one.float() - other.float()).abs().max())
        if one.shape == other.shape
        else float("inf")
    )


def _gradients(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def _off(subject: Subject, baseline: Subject) -> str:
    model: Any = subject.fresh()
    plain = baseline.fresh()
    _same(model.state_dict(), plain.state_dict(), "the start of")
    _same(subject.evaluated(model), baseline.evaluated(plain), "evaluation's")
    _same(subject.losses(model), baseline.losses(plain), "training's")
    _same(_gradients(model), _gradients(plain), "the gradient of")
    return ""


def _moved(subject: Subject) -> str:
    model, moved, _ = subject.trained
    module = model.pts_bbox_head.aqr
    named = {} if module is None else dict(module.named_parameters())
    still = [name for name, each in named.items() if each.requires_grad and name not in moved]
    if still:
        raise _WrongError(f"no gradient within {STEPS} steps: {', '.join(still)}")
    return f"{len(named)} parameter{'s' if len(named) != 1 else ''}"


def _watched(subject: Subject) -> str:
    model = subject.model
    head, module = model.pts_bbox_head, model.pts_bbox_head.aqr
    head.observe(record := VariantRecord())
    subject.losses(model)
    head.observe(None)
    found = record.scalars()
    if "watched_scalars" in head.hooks:
        gradients = _gradients(module)
        found |= head.hooks.scalars("watched_scalars", ("kind", "epoch", "step"), gradients)
    if "final_metrics" in head.hooks:
        head.hooks.scalars("final_metrics", ())
    model.zero_grad()
    return f"{len(found)} scalar{'s' if len(found) != 1 else ''}"


def _no_truth_in_training(subject: Subject) -> str:
    """Learnable queries and features do not see what denoising queries are made of."""
    model, seen = subject.model, []
    handle = model.pts_bbox_head.register_forward_hook(lambda _m, _i, out: seen.append(out))
    for shift_m in (0.0, 2.0):
        inputs, samples = subject.prepared(model)
        for sample in samples:
            sample.gt_instances_3d.bboxes_3d.tensor[:, :2] *= 1.0 - shift_m / 20
        seed_step(subject.config.seed, 1)
        with torch.no_grad():
            model.train().loss(inputs, samples)
    handle.remove()
    for name in ("center", "height", "dim", "rot", "vel", "cls_logits"):
        if _apart(seen[0][name], seen[1][name]) > 1e-5:
            raise _WrongError(f"{name} of learnable queries depends on where the boxes are")
    return ""


def _alone(subject: Subject) -> str:
    """What a sample gives is the same to the bit, whatever the other one shows in the same shapes."""
    wanted = subject.evaluated(subject.model)
    for index in range(2):
        changed = deepcopy(subject.batch)
        changed["inputs"]["img"][1 - index] = 255 - changed["inputs"]["img"][1 - index]
        changed["inputs"]["points"][1 - index][:, INTENSITY] += 1.0
        for name, value in subject.evaluated(subject.model, changed).items():
            axis = 0 if name == "aqr_weights" else 1
            if not torch.equal(value.select(axis, index), wanted[name].select(axis, index)):
                raise _WrongError(f"{name} of a sample depends on the other samples of the batch")
    return ""


def _state(subject: Subject) -> str:
    copy = subject.fresh()
    copy.load_state_dict(_loaded(_stored(subject.model.state_dict())))
    wanted = subject.evaluated(subject.model)
    _same(subject.evaluated(copy), wanted, "of the loaded model, evaluation's")
    return ""


def _resume(subject: Subject) -> str:
    *_, before, after = map(_loaded, subject.trained[2])
    copy = subject.fresh()
    wrapper, state = subject.wrapper(copy), before
    copy.load_state_dict(state["model"])
    wrapper.load_state_dict(state["optim"])
    subject.step(copy, wrapper, STEPS - 1)
    _same(copy.state_dict(), after["model"], "of the resumed step,")
    return ""


def _bf16(subject: Subject) -> str:
    model = subject.fresh()
    with torch.autocast("cpu", torch.bfloat16):
        losses = subject.losses(model)
    for name, value in {**losses, **_gradients(model)}.items():
        if not bool(value.isfinite().all()):
            raise _WrongError(f"{name} is not finite")
    return ""


def _loading(subject: Subject) -> str:
    config, drawn = subject.config, []
    split = config.data.train_split
    for workers in (0, 2):
        loader = Runner.build_dataloader(
            dataloader_config(config, split, training=True, batch_size=1, workers=workers)
        )
        with loader_workers():
            drawn.append(list(islice(loader, 2)))
    for place, (batch, other) in enumerate(zip(*drawn, strict=True)):
        for name in ("points", "img"):
            for one, two in zip(batch["inputs"][name], other["inputs"][name], strict=True):
                _same({name: two}, {name: one}, f"sample {place}:")
        boxes = [
            each["data_samples"][0].gt_instances_3d.bboxes_3d.tensor for each in (batch, other)
        ]
        _same(
            {"boxes": boxes[1].nan_to_num()}, {"boxes": boxes[0].nan_to_num()}, f"sample {place}:"
        )
    return ""


def _rank(subject: Subject, rank: int, meeting: str, answers: Any) -> None:
    """One of two training processes: two steps on its own sample, then a hash of the weights."""
    warnings.simplefilter("ignore")
    torch.distributed.init_process_group("gloo", f"file://{meeting}", world_size=2, rank=rank)
    try:
        model = MMDistributedDataParallel(subject.fresh(), broadcast_buffers=False)
        wrapper = subject.wrapper(model)
        batch = pseudo_collate([subject.data[SampleKey(rank, 0, rank)]])
        for number in range(2):
            seed_step(subject.config.seed, number)
            model.train_step(deepcopy(batch), wrapper)
        weights = [p.detach().numpy().tobytes() for p in model.parameters()]
        answers.put((hashlib.sha256(b"".join(weights)).hexdigest(), ""))
    except Exception as error:
        answers.put(("", _words(error)))


def _two_processes(subject: Subject) -> str:
    context = multiprocessing.get_context("fork")
    answers: Any = context.Queue()
    with tempfile.TemporaryDirectory() as folder, loader_workers():
        for rank in range(2):
            arguments = (subject, rank, f"{folder}/meeting", answers)
            context.Process(target=_rank, args=arguments, daemon=True).start()
        try:
            given = [answers.get(timeout=PATIENCE_S) for _ in range(2)]
        except queue.Empty:
            raise _WrongError(f"they did not end within {PATIENCE_S} s") from None
    if fault := next((words for _, words in given if words), ""):
        raise _WrongError(fault)
    if given[0] != given[1]:
        raise _WrongError("the weights of the two processes differ after two steps")
    return ""


def _cost(subject: Subject, baseline: Subject) -> Finding:
    """Parameters, step time and memory, in turn with the baseline's."""
    times: tuple[list[float], list[float]] = ([], [])
    models = [each.fresh() for each in (subject, baseline)]
    steps = [
        partial(each.step, model, each.wrapper(model), 0)
        for each, model in zip((subject, baseline), models, strict=True)
    ]
    for step in steps:
        step()
    for number in range(ROUNDS):
        for place in (0, 1) if number % 2 else (1, 0):
            started = time.perf_counter()
            steps[place]()
            times[place].append(time.perf_counter() - started)
    peaks = [peak_beyond_mb(step, torch.device("cpu")) for step in steps]
    counts = [sum(p.numel() for p in model.parameters()) for model in models]
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    figures = {"parameters": counts[0] - counts[1], "step_time_ratio": round(ratio, 3)}
    words = f"{figures['parameters']:,} more parameters, step time x {ratio:.2f}"
    if peaks[0] and peaks[1]:
        figures["memory_ratio"] = round(peaks[0] / peaks[1], 3)
        words += f", memory x {figures['memory_ratio']:.2f}"
    return Finding(check=COST, ok=True, detail=words, figures=figures)


CHECKS: dict[str, Callable[[Subject], str]] = {
    "every parameter gets a finite gradient": _moved,
    "what it watches is finite": _watched,
    "no ground truth in evaluation": lambda subject: str(subject.evaluated(subject.model) and ""),
    "no ground truth through denoising queries": _no_truth_in_training,
    "samples do not depend on each other": _alone,
    "its state is stored as a whole": _state,
    "a resumed step is the unbroken one": _resume,
    "autocast in bf16": _bf16,
    "two data-loading processes": _loading,
    "two training processes": _two_processes,
}


def _words(error: Exception) -> str:
    text = str(error) if isinstance(error, AqrExpError) else f"{type(error).__name__}: {error}"
    return cut(text.strip().split("\n", 1)[0], 170)


def found(name: str, call: Callable[[], str]) -> Finding:
    """The finding of a check, which raises what is wrong and otherwise returns a detail."""
    try:
        return Finding(check=name, ok=True, detail=call())
    except Exception as error:
        return Finding(check=name, ok=False, detail=_words(error))


def off_settings(config: RunConfig) -> list[str] | None:
    """The overrides with which a variant says that it changes nothing; None where it says none."""
    module = spec_of(config.variant).module
    off = {} if module is None else pkgutil.resolve_name(module).off
    return None if off is None else [f"{key}={json.dumps(value)}" for key, value in off.items()]


def check_variant(config: RunConfig, off: RunConfig | None) -> Iterator[Finding]:
    """Check a variant on the data of its run.

    Args:
        off: The same, so that it changes nothing; None where it does not say how.

    Raises:
        AqrExpError: Its module or its training samples cannot be made.
    """
    baseline = replace(config, variant=load_run(BASELINE).variant)
    subject, plain = Subject(config), Subject(baseline)
    subject.fresh()
    name = "off, it is the baseline to the bit"
    if off is None:
        yield Finding(
            check=name, ok=None, detail="its module does not say by `off` what switches it off"
        )
    else:
        yield found(name, lambda: _off(Subject(off), plain))
    for each, call in CHECKS.items():
        yield found(each, partial(call, subject))
    try:
        yield _cost(subject, plain)
    except Exception as error:
        yield Finding(check=COST, ok=False, detail=_words(error))


def with_data(config: RunConfig, folder: Path) -> RunConfig:
    """The run with data to be trained on: its own, or two synthetic samples made in a folder."""
    if info_path(Path(config.data.root), config.data.train_split).is_file():
        return config
    made = folder / "data"
    if not made.exists():
        sizes = SynthSettings(
            seed=0, train_scenes=1, val_scenes=1, keyframes=2,
            image_width=160, image_height=90, azimuth_steps=300,
        )  # fmt: skip
        generate_dataset(made, sizes, workers=1)
    data = load_run(BASELINE, ["preset=smoke"]).data
    return replace(config, data=replace(data, root=str(made)))
