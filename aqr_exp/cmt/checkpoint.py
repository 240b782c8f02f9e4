"""Loading weights strictly: every name and every shape, or nothing.

Published checkpoints wrap the state dict, prefix names with `module.`, and hold the sparse
convolutions' weights in spconv 2's layout, [out, z, y, x, in]; without spconv, mmdet3d builds
mmcv's, whose weights are [z, y, x, in, out]. Both load into both.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from aqr_exp.config.rules import IMAGE_BACKBONE
from aqr_exp.config.schema import StartConfig
from aqr_exp.config.short_names import innermost, within
from aqr_exp.errors import Fault, RequestError
from aqr_exp.files.foreign import BESIDE_WEIGHTS, PassedOver, checkpoint_fault
from aqr_exp.files.suggest import did_you_mean

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_PARALLEL_PREFIX = "module."
_LISTED = 10
_COUNTER = ".num_batches_tracked"


def is_weight(name: str) -> bool:
    """Tell a weight in a state dict from the number of batches that a batch norm has counted."""
    return not name.endswith(_COUNTER)


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


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A checkpoint beside a model.

    Attributes:
        taken: Tensors for the model's parameters and buffers by name, sparse ones in its layout.
        left: Names in the checkpoint that are not taken.
        new: Names of the model that the checkpoint lacks and may lack: they keep their values.
        faults: What must be there, is unknown to the model, or has another shape.
    """

    taken: dict[str, Tensor]
    left: tuple[str, ...]
    new: tuple[str, ...]
    faults: tuple[str, ...]

    def check(self) -> None:
        """Refuse what does not fit.

        Raises:
            RequestError: Naming every missing, unexpected and misshapen key.
        """
        if self.faults:
            raise RequestError("weights do not fit the model: " + "; ".join(self.faults))


def fit(
    model: nn.Module,
    state: Mapping[str, Tensor],
    may_miss: tuple[str, ...] = (),
    left: Sequence[str] = (),
) -> Fit:
    """Compare a state dict with a model, key for key.

    Args:
        state: Parameters and buffers by name; sparse convolutions in either layout. The batches that
            batch norms have counted may be absent: nothing is computed from them.
        may_miss: Beginnings of other names that may be absent and keep their values: the parts that a
            checkpoint of the baseline does not have.
        left: Names of the file that are not in `state`.
    """
    wanted = model.state_dict()
    sparse = sparse_weight_names(model)
    given = {name: _to_layout(value, wanted, name, sparse) for name, value in state.items()}
    absent = [name for name in wanted if name not in given and is_weight(name)]
    new = tuple(name for name in absent if name.startswith(may_miss))
    faults = []
    if missing := [name for name in absent if name not in new]:
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
    taken = {
        name: value
        for name, value in given.items()
        if name in wanted and value.shape == wanted[name].shape
    }
    return Fit(taken=taken, left=tuple(left), new=new, faults=tuple(faults))


def load(model: nn.Module, found: Fit) -> None:
    """Put the tensors of a checkpoint that fits into the model it was compared with.

    Raises:
        RequestError: It does not fit.
    """
    found.check()
    # spconv would turn weights of checkpoints without its version mark; ours are turned already.
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name in found.taken:
                tensor.copy_(found.taken[name])


# The first convolution of an image backbone: VoVNet's, detectron2's ResNet's, and all others'.
_STEMS = ("stem.stem_1/conv.weight", "stem.conv1.weight", "conv1.weight")
# Classifiers of whole images, which no detector has.
_CLASSIFIERS = tuple(f"{IMAGE_BACKBONE}.{name}." for name in ("fc", "stem.fc", "linear"))
# From detectron2's names within a ResNet to all others'; its stages count from 2.
_DETECTRON2: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^stem\.(?=conv)", ""),
    (r"^res(\d)", lambda found: f"layer{int(found[1]) - 1}"),
    (r"\.shortcut\.norm\.", ".downsample.1."),
    (r"\.shortcut\.", ".downsample.0."),
    (r"conv(\d)\.norm\.", r"bn\1."),
)


def in_own_names(names: Collection[str], start: StartConfig) -> dict[str, str]:
    """The detector's names of what a checkpoint holds and `start` takes from it.

    Without `start.rename` a file that knows no `img_backbone` is searched for an image backbone, if that
    is wanted: what is around its first convolution. detectron2's names are understood.

    Returns:
        By the names in the file; what is not taken is left out.

    Raises:
        RequestError: A rule is of nothing in the file, or two names become one.
    """
    kept = [name for name in names if not name.startswith(start.ignore)]
    modules = {name[:end] for name in names for end in (at.start() for at in _DOT.finditer(name))}
    rules = {module.strip("."): own.strip(".") for module, own in start.rename.items()}
    for key, wanted, have in (
        ("rename", rules, lambda module: any(within(name, module) for name in kept)),
        ("ignore", start.ignore, lambda first: any(name.startswith(first) for name in names)),
    ):
        if idle := [each for each in wanted if not have(each)]:
            raise RequestError(
                Fault(f"start.{key}", idle[0], "nothing in the checkpoint has such a name",
                      did_you_mean(idle[0], modules))
            )  # fmt: skip
    if not rules and any(IMAGE_BACKBONE.startswith(part.split(".")[0]) for part in start.parts):
        rules = _found_backbone(kept)
    found: dict[str, str] = {}
    for name in kept:
        own = _translated(_renamed(name, rules))
        if own.startswith(start.parts or ("",)) and not own.startswith(_CLASSIFIERS):
            found[name] = own
    taken_from: dict[str, str] = {}
    for name, own in found.items():
        if (other := taken_from.setdefault(own, name)) != name:
            rule = f"{other} and {name} both become {own}"
            raise RequestError(Fault("start.rename", f"{dict(start.rename)}", rule))
    return found


_DOT = re.compile(r"\.")


def _found_backbone(names: Collection[str]) -> dict[str, str]:
    """The rule that renames a file's image backbone; none where it has the detector's name already."""
    if any(within(name, IMAGE_BACKBONE) for name in names):
        return {}
    for stem in _STEMS:
        homes = [name.removesuffix(stem) for name in names if f".{name}".endswith(f".{stem}")]
        if homes:
            return {min(homes, key=len).rstrip("."): IMAGE_BACKBONE}
    return {}


def _renamed(name: str, rules: Mapping[str, str]) -> str:
    module = innermost(name, rules)
    if module is None:
        return name
    rest = name.removeprefix(module).lstrip(".")
    return f"{rules[module]}.{rest}".strip(".")


def _translated(name: str) -> str:
    """A name in detectron2's ResNet in the names of all others; any other name as it is."""
    if not within(name, IMAGE_BACKBONE):
        return name
    rest = name.removeprefix(f"{IMAGE_BACKBONE}.")
    for pattern, form in _DETECTRON2:
        rest = re.sub(pattern, form, rest)
    return f"{IMAGE_BACKBONE}.{rest}"


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
