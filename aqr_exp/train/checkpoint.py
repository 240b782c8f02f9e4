"""Checkpoints of a training: saved when it is asked to stop, continued from, and started from."""

import contextlib
import os
import re
import signal
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from aqr_exp.cmt.checkpoint import Fit, fit, in_own_names, load, load_state_dict_file
from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.cmt.ranks import agreed, rank, ranks
from aqr_exp.config.schema import RunConfig, StartConfig
from aqr_exp.config.schema.run import Device
from aqr_exp.errors import STOPPING, RunFailedError, interrupt, stop_reason
from aqr_exp.files.atomic import writes
from aqr_exp.files.checksum import Covers
from aqr_exp.files.foreign import checkpoint_fault
from aqr_exp.store.run_files import RunPaths


class StopRequest:
    """A request to stop: the first waits for the step's end and a checkpoint, the second does not.

    Args:
        pressing: True when a request must not wait now: nothing may be saved any more.
        one_request: True when several signals may be one request: that of `aqr-exp cancel` is written
            down, and both the launcher and this process act on it; and one to the whole group reaches
            both, of which the launcher passes it on.

    Attributes:
        asked: The process was asked to stop.
        number: The signal that says why, as `stop_reason` has it.
    """

    def __init__(
        self,
        pressing: Callable[[], bool] = lambda: False,
        one_request: Callable[[], bool] = lambda: False,
    ) -> None:
        self.asked = False
        self.number: int | None = None
        self._pressing = pressing
        self._one_request = one_request

    def receive(self, number: int = signal.SIGINT) -> None:
        """Note a request.

        Raises:
            KeyboardInterrupt: It must not wait.
        """
        self.number = stop_reason(self.number, number)
        if self._pressing() or (self.asked and not self._one_request()):
            self.obey()
        self.asked = True

    def obey(self) -> NoReturn:
        """End what is done now.

        Raises:
            KeyboardInterrupt: As `interrupt` has it.
        """
        interrupt(self.number or signal.SIGINT)


@contextlib.contextmanager
def stops_wait(request: StopRequest) -> Iterator[None]:
    """Send signals that mean stop to `request` instead of interrupting the training anywhere."""

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        request.receive(number)

    kept = {
        number: signal.signal(number, handle)
        for number in STOPPING
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, previous in kept.items():
            signal.signal(number, previous)


RUN, AVERAGE = "run", "average"
"""The keys of the name of the run that a checkpoint is of, and of the average of its weights."""
DEVICE = "device"
"""The key of the kind of device that it was trained on: `cpu` or `cuda`."""
# After whole epochs, or within one: the whole epochs, and all steps.
_NAME = re.compile(r"epoch_(\d+)(?:_step_(\d+))?\.pth")


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint beside its place and move it there when it is safely on disk."""
    beside = path.with_name(f".{path.name}.tmp")
    try:
        with writes(path), beside.open("wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:
                # torch tells what it found after the system had refused a write, and not of that.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from error
                raise
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def checkpoints(folder: Path) -> list[Path]:
    """The folder's checkpoints, newest first."""
    found = [
        (int(match[1]), int(match[2] or 0), path)
        for path in folder.glob("*.pth")
        if (match := _NAME.fullmatch(path.name)) and path.is_file() and not path.is_symlink()
    ]
    return [path for _, _, path in sorted(found, reverse=True)]


def read_checked(path: Path) -> dict[str, Any]:
    """Read a checkpoint: tensors and numbers only, nothing is executed.

    Raises:
        Exception: It is truncated or damaged, or holds something else.
    """
    if fault := checkpoint_fault(path):
        raise ValueError(fault)
    with zipfile.ZipFile(path) as archive:  # torch itself does not compare the checksums
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} is wrong")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if not {"epoch", "step", "model", "optimizer", "schedulers"} <= state.keys():
        raise ValueError("it is not the state of a training")
    return state


def load_newest(folder: RunPaths, *, averaged: bool = False) -> dict[str, Any] | None:
    """Read a run's newest intact checkpoint; damaged ones and other runs' are logged and skipped.

    Args:
        averaged: Whether one without the average of the weights is skipped as well.
    """
    for path in checkpoints(folder.checkpoints_dir):
        try:
            state = _of_run(folder, read_checked(path))
            if averaged and AVERAGE not in state:
                raise ValueError("it has no average of the weights")
            return state
        except Exception as error:
            print_log(f"{path} cannot be read ({error}): the one before is taken", "current")
    return None


def _of_run(folder: RunPaths, state: dict[str, Any]) -> dict[str, Any]:
    run = state.get(RUN)
    # Those of older versions do not say of which run they are; only runs of these versions have them.
    if run != folder.name and not (run is None and folder.covers() is not Covers.PLACE):
        raise ValueError(f"it is not of {folder.name} but of {run or 'another run'}")
    return state


def required_state(folder: RunPaths) -> dict[str, Any]:
    """Read a run's newest intact checkpoint.

    Raises:
        RunFailedError: There is none.
    """
    state = load_newest(folder)
    if state is None:
        raise RunFailedError(f"{folder.checkpoints_dir} holds no checkpoint that can be read")
    return state


def detector_of(
    config: RunConfig, state: Mapping[str, Any], device: torch.device | str
) -> nn.Module:
    """The run's detector with the weights of a checkpoint, ready to predict."""
    detector: nn.Module = MODELS.build(detector_config(config))
    detector.load_state_dict(state["model"])
    return detector.to(device).eval()


class KeepCheckpoints(Hook):
    """Saves after every epoch, and within one when asked to stop or when none was saved for long.

    A run continues from its newest intact checkpoint. Together with seeds per step and keyed samples, it
    computes from there on exactly the numbers of an unbroken one.

    Args:
        keep: Number of newest checkpoints of whole epochs that are kept; of those within an epoch the
            last is, until the epoch has ended.
        every_s: Seconds without a checkpoint after which one is saved; 0 saves none for that.
        averaged: The average of the weights, saved and continued with them.
        device: As it was asked for: a run goes on on another device only where it is named.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        run: RunPaths,
        keep: int,
        stop: StopRequest,
        every_s: float = 0.0,
        averaged: nn.Module | None = None,
        device: Device = "auto",
    ) -> None:
        self.run = run
        self.device = device
        self.averaged = averaged
        self.folder = run.checkpoints_dir
        self.keep = keep
        self.stop = stop
        self.every_s = every_s
        self.saved_at = time.monotonic()
        self.steps_done = 0

    def before_train(self, runner: Runner) -> None:
        """Load the newest intact checkpoint, if there is one.

        Raises:
            RunFailedError: It was saved on another device than this one, which was not asked for.
        """
        for torn in self.folder.glob(".*.pth.tmp"):
            if not torn.is_dir():
                torn.unlink(missing_ok=True)
        self.saved_at = time.monotonic()
        state = load_newest(self.run, averaged=self.averaged is not None)
        if state is None:
            return
        here, before = _device_of(runner), state.get(DEVICE)
        if before not in {None, here} and here != self.device:
            raise RunFailedError(
                f"it was trained on {before} and would go on on {here}: "
                f"`aqr-exp run ... launcher.device={here}` says that this is wanted"
            )
        unwrapped(runner).load_state_dict(state["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state[AVERAGE])
        runner.optim_wrapper.load_state_dict(state["optimizer"])
        for scheduler, saved in zip(runner.param_schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        runner.train_loop._epoch = state["epoch"]  # noqa: SLF001 - mmengine's own resume does so
        runner.train_loop._iter = state["step"]  # noqa: SLF001
        self.steps_done = state["step"] - state["epoch"] * _steps_per_epoch(runner)
        within = f" and {self.steps_done} steps" if self.steps_done else ""
        print_log(f"continues after epoch {state['epoch']}{within}", "current")

    def before_train_epoch(self, runner: Runner) -> None:
        """Leave out samples that the epoch had trained on before it was interrupted."""
        loader = runner.train_dataloader
        if self.steps_done:
            loader.sampler.leave_out(self.steps_done * loader.batch_size)
            self.steps_done = 0

    def after_train_iter(self, runner: Runner, **_: Any) -> None:
        """Save when it is time to, and when asked to stop; end then, all ranks after the same step.

        Raises:
            KeyboardInterrupt: The process was asked to stop; everything is saved.
        """
        late = self.every_s > 0 and time.monotonic() - self.saved_at >= self.every_s
        due, asked = agreed(late, self.stop.asked)
        if not (due or asked):
            return
        step = runner.iter + 1
        # The epoch's last step is saved when the epoch has ended.
        if step < (runner.epoch + 1) * _steps_per_epoch(runner):
            self._save(runner, runner.epoch, step, f"epoch_{runner.epoch}_step_{step}.pth")
            if asked:
                self.stop.obey()

    def after_train_epoch(self, runner: Runner) -> None:
        """Save.

        Raises:
            KeyboardInterrupt: The process was asked to stop; everything is saved.
        """
        epoch = runner.epoch + 1
        self._save(runner, epoch, runner.iter, f"epoch_{epoch}.pth")
        if agreed(self.stop.asked)[0]:
            self.stop.obey()

    def after_val_iter(self, _runner: Runner, **_: Any) -> None:
        """Evaluation between epochs has nothing to save; several ranks are ended by the watching process.

        Raises:
            KeyboardInterrupt: The process was asked to stop.
        """
        if ranks() == 1 and self.stop.asked:
            self.stop.obey()

    def _save(self, runner: Runner, epoch: int, step: int, name: str) -> None:
        self.saved_at = time.monotonic()
        if rank():
            return  # all ranks have the same state
        state = {
            RUN: self.run.name,
            DEVICE: _device_of(runner),
            "epoch": epoch,
            "step": step,
            "model": unwrapped(runner).state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
        }
        if self.averaged is not None:
            state[AVERAGE] = self.averaged.state_dict()
        save_atomically(state, self.folder / name)
        self.saved_at = time.monotonic()
        found = checkpoints(self.folder)
        # Newer ones are of no use either: this training did not continue from them.
        found = found[found.index(self.folder / name) :]
        # One within an epoch is of no use after a later one, and must not displace one of an epoch.
        whole = [path for path in found if "_step_" not in path.name]
        for path in found[1:]:
            if path not in whole[: self.keep]:
                path.unlink()


def _device_of(runner: Runner) -> str:
    return next(iter(runner.model.parameters())).device.type


def _steps_per_epoch(runner: Runner) -> int:
    return int(runner.max_iters // runner.max_epochs)


def unwrapped(runner: Runner) -> torch.nn.Module:
    """The runner's model, without a wrapper for several processes."""
    model = runner.model
    return model.module if is_model_wrapper(model) else model


NEW_PARTS = ("pts_bbox_head.aqr.",)
"""Parameters that a checkpoint of the baseline lacks; they start as without a checkpoint."""


def start_from(model: nn.Module, start: StartConfig) -> list[str]:
    """Load a checkpoint into a detector and freeze parameters, as configured.

    Returns:
        Names of the parameters and buffers that were not taken from the checkpoint.

    Raises:
        RequestError: The checkpoint cannot be read, or does not fit key for key.
        RunFailedError: A prefix to take or to freeze begins no parameter's name.
    """
    found = fitted(model, start)
    load(model, found)
    freeze(model, start.freeze)
    return list(found.new)


def fitted(model: nn.Module, start: StartConfig) -> Fit:
    """Compare a start's checkpoint with a detector, which it leaves as it is.

    Raises:
        RequestError: The checkpoint cannot be read, or a rule on its names has no use.
        RunFailedError: A prefix to take begins no parameter's name.
    """
    state = load_state_dict_file(Path(start.load_from))
    may_miss: tuple[str, ...] = NEW_PARTS
    if start.parts:
        _check_prefixes("start.parts", start.parts, list(model.state_dict()))
        may_miss = tuple(name for name in model.state_dict() if not name.startswith(start.parts))
    own = in_own_names(state, start)
    taken = {own[name]: value for name, value in state.items() if name in own}
    return fit(model, taken, may_miss, [name for name in state if name not in own])


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Stop training the parameters whose names begin with one of the prefixes.

    Raises:
        RunFailedError: A prefix begins no parameter's name.
    """
    _check_prefixes("start.freeze", prefixes, [name for name, _ in model.named_parameters()])
    for name, parameter in model.named_parameters():
        if name.startswith(tuple(prefixes)):
            parameter.requires_grad = False


def _check_prefixes(key: str, prefixes: Sequence[str], names: Sequence[str]) -> None:
    idle = [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in names)]
    if idle:
        raise RunFailedError(f"{key}: no parameter begins with {', '.join(idle)}")


class LoadCheckpointHook(Hook):
    """Starts from a checkpoint, and keeps frozen parameters frozen.

    Batch norms with frozen parameters also keep their statistics, which training mode would change.
    """

    priority = "VERY_HIGH"

    def __init__(self, start: StartConfig) -> None:
        self.start = start

    def before_train(self, runner: Runner) -> None:
        """Load and freeze: the Runner initialises the model's weights just before."""
        new = start_from(unwrapped(runner), self.start)
        taken = ", ".join(self.start.parts) or "all"
        print_log(
            f"{self.start.load_from} loaded ({taken}); new here: {', '.join(new) or 'nothing'}",
            "current",
        )

    def before_train_iter(self, runner: Runner, **_: Any) -> None:
        """The Runner puts the whole model into training mode every epoch."""
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm) and not any(
                parameter.requires_grad for parameter in module.parameters()
            ):
                module.eval()
