"""Loading weights strictly: every name and every shape, or nothing.

Published checkpoints wrap the state dict, prefix names with `module.`, and hold the sparse
convolutions' weights in spconv 2's layout, [out, z, y, x, in]; without spconv, mmdet3d builds
mmcv's, whose weights are [z, y, x, in, out]. Both load into both.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from aqr_exp.errors import RequestError
from aqr_exp.files.foreign import BESIDE_WEIGHTS, PassedOver, checkpoint_fault

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_PARALLEL_PREFIX = "module."
_LISTED = 10


def load_state_dict_file(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's state dict, to the CPU, without executing anything in the file.

    Args:
        path: A file that `torch.save` wrote: a state dict, or a dict that holds one. What mmengine
            saves besides (its logs, NumPy's numbers, another average of the weights) is passed over.

    Raises:
        RequestError: If the file cannot be read with `weights_only` or holds no state dict.
    """
    try:
        fault = checkpoint_fault(path)
        if fault is None:
            with torch.serialization.safe_globals([(PassedOver, name) for name in BESIDE_WEIGHTS]):
                content = torch.load(path, map_location="cpu", weights_only=True)
            return unwrap_state_dict(content, str(path))
    except (RequestError, FileNotFoundError) as error:
        if isinstance(error, RequestError):
            raise
        fault = "does not exist"
    except Exception as error:  # torch raises what the unpickler, zip or the file system raise
        fault = f"cannot be read as weights ({type(error).__name__})"
    raise RequestError(f"checkpoint {path} {fault}")


def unwrap_state_dict(content: object, source: str) -> dict[str, Tensor]:
    """Find the tensors of the state dict in the content of a checkpoint, and drop `module.` prefixes.

    Raises:
        RequestError: If there is none; names the checkpoint, `source`.
    """
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    items = content.items() if isinstance(content, Mapping) else ()
    tensors = {
        str(name).removeprefix(_PARALLEL_PREFIX): value
        for name, value in items
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise RequestError(f"checkpoint {source} holds no state dict of tensors")
    return tensors


def load_strictly(
    model: nn.Module, state: Mapping[str, Tensor], may_miss: tuple[str, ...] = ()
) -> list[str]:
    """Load a state dict into a model, key for key.

    Args:
        model: The model; untouched if anything is wrong.
        state: Parameters and buffers by name; sparse convolutions in either layout.
        may_miss: Beginnings of names that may be absent and keep their values: the parts that a
            checkpoint of the baseline does not have.

    Returns:
        Names of the model's parameters and buffers that were absent.

    Raises:
        RequestError: Naming every missing, unexpected and misshapen key.
    """
    wanted = model.state_dict()
    sparse = sparse_weight_names(model)
    given = {name: _to_layout(value, wanted, name, sparse) for name, value in state.items()}
    faults = []
    new = [name for name in wanted if name not in given and name.startswith(may_miss)]
    if missing := [name for name in wanted if name not in given and name not in new]:
        faults.append(f"missing {_some(missing)}")
    if unexpected := [name for name in given if name not in wanted]:
        faults.append(f"unexpected {_some(unexpected)}")
    misshapen = [
        f"{name} {list(state[name].shape)} (allowed: {list(wanted[name].shape)})"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    if misshapen:
        faults.append(f"misshapen {_some(misshapen)}")
    if faults:
        raise RequestError("weights do not fit the model: " + "; ".join(faults))
    # spconv would turn weights of checkpoints without its version mark; ours are turned already.
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name in given:
                tensor.copy_(given[name])
    return new


def sparse_weight_names(model: nn.Module) -> frozenset[str]:
    """Names of the weights of sparse convolutions."""
    return frozenset(
        f"{name}.weight"
        for name, module in model.named_modules()
        if any(base.__name__ == "SparseConvolution" for base in type(module).__mro__)
    )


def _to_layout(
    value: Tensor, wanted: Mapping[str, Tensor], name: str, sparse: frozenset[str]
) -> Tensor:
    """Turn a sparse weight to the model's layout; other shapes are left for the check to refuse."""
    if name not in sparse or value.dim() != 5 or value.shape == wanted[name].shape:
        return value
    for order in ((1, 2, 3, 4, 0), (4, 0, 1, 2, 3)):
        if value.permute(order).shape == wanted[name].shape:
            return value.permute(order)
    return value


def _some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
