"""What training starts from: a checkpoint, and parameters that stay as they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from aqr_exp.cmt.checkpoint import load_state_dict_file, load_strictly
from aqr_exp.config.schema.run import StartConfig
from aqr_exp.errors import RunFailedError
from aqr_exp.train.checkpoint import unwrapped

NEW_PARTS = ("pts_bbox_head.aqr.",)
"""What a checkpoint of the baseline lacks; it starts as it would without the checkpoint."""


def start_from(model: nn.Module, start: StartConfig) -> list[str]:
    """Load a checkpoint and freeze parameters, as configured.

    Args:
        model: The detector, changed in place.
        start: Where it starts.

    Returns:
        Names of the parameters and buffers that were not taken from the checkpoint.

    Raises:
        RequestError: The checkpoint cannot be read, or does not fit key for key.
        RunFailedError: A prefix to take or to freeze begins no parameter's name.
    """
    state = load_state_dict_file(Path(start.load_from))
    may_miss: tuple[str, ...] = NEW_PARTS
    if start.parts:
        _check_prefixes("start.parts", start.parts, list(model.state_dict()))
        state = {name: value for name, value in state.items() if name.startswith(start.parts)}
        may_miss = tuple(name for name in model.state_dict() if not name.startswith(start.parts))
    new = load_strictly(model, state, may_miss=may_miss)
    freeze(model, start.freeze)
    return new


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Stop training parameters.

    Args:
        model: Changed in place.
        prefixes: Parameters whose names begin with one of these.

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
    """Starts from a checkpoint, and keeps frozen what is frozen.

    Batch norms with frozen parameters also keep their statistics, which training mode would move.

    Args:
        start: Where training starts.
    """

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

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any | None = None
    ) -> None:
        """The Runner puts the whole model into training mode every epoch."""
        del batch_idx, data_batch
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm) and not any(
                parameter.requires_grad for parameter in module.parameters()
            ):
                module.eval()
