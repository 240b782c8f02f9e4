"""Calls of a variant's hooks: which are overridden, and what they must give.

Letters: B samples, Q queries (denoising ones first).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from torch import Tensor

from aqr_exp.aqr.bias import GlobalBias, LocalBias
from aqr_exp.cmt.attention import ScoreBias
from aqr_exp.cmt.transformer import BiasForLayer
from aqr_exp.cmt.variant_module import ForwardContext, Recentre, VariantModule
from aqr_exp.files.own_code import call_own, fail_in, kind_of


class Hooks:
    """The hooks that a module overrides: `name in hooks`; every other one is never called.

    A hook that fails, or gives something else than it must, is named with its file and line.

    Args:
        module: None overrides nothing.

    Attributes:
        read_context: One of them takes a `ForwardContext`.
    """

    def __init__(self, module: VariantModule | None) -> None:
        self.module = module
        self.overridden = {
            name
            for name, default in vars(VariantModule).items()
            if module is not None and getattr(type(module), name, default) is not default
        }
        self.read_context = not self.overridden.isdisjoint(VariantModule.forward_hooks[1:])
        self._given: list[tuple[str, Tensor]] = []
        self._maps: Sequence[Tensor | None] = ()

    def __contains__(self, name: str) -> bool:
        return name in self.overridden

    def begin(self, *maps: Tensor | None) -> None:
        """Begin a forward pass of these maps."""
        self._given.clear()
        self._maps = maps

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a hook.

        Raises:
            RunFailedError: The hook raised something.
        """
        return call_own(getattr(self.module, name), name, *arguments)

    def tensors(self, name: str, shapes: Sequence[Sequence[int]], *arguments: Any) -> list[Tensor]:
        """Call a hook that gives floating tensors of these shapes: one, or a tuple of several.

        Raises:
            RunFailedError: It gave something else.
        """
        given = self.call(name, *arguments)
        several = given if len(shapes) > 1 else (given,)
        if not isinstance(several, tuple | list) or len(several) != len(shapes):
            self.fail(name, f"must return {len(shapes)} tensors, not {kind_of(given)}")
        for value, shape in zip(several, shapes, strict=True):
            self.check(name, value, tuple(shape))
        return list(several)

    def biases(self, context: ForwardContext, recentre: Recentre) -> BiasForLayer | None:
        """Call `bias_for_layer`, and check the bias of each layer when it is asked for."""
        source = self.call("bias_for_layer", context, recentre)
        if source is not None and not callable(source):
            self.fail("bias_for_layer", f"must return a function or None, not {kind_of(source)}")

        def bias(layer: int, previous: Tensor | None) -> ScoreBias | None:
            term = call_own(source, "bias_for_layer", layer, previous)
            if isinstance(term, LocalBias | GlobalBias):
                shape = (*context.points_m.shape[:2], *term.value.shape[2:])
                self.check("bias_for_layer", term.value, shape)
            elif term is not None:
                rule = f"must give a LocalBias, a GlobalBias or None, not {kind_of(term)}"
                self.fail("bias_for_layer", rule)
            return term

        return None if source is None else bias

    def losses(self, *arguments: Any, taken: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Call `losses`; a loss that is not finite fails here.

        Args:
            taken: The detector's own losses, whose names are taken.
        """
        given = self.call("losses", *arguments)
        if not isinstance(given, Mapping):
            self.fail("losses", f"must return a dict of losses by name, not {kind_of(given)}")
        for name, value in given.items():
            # Other names are logged and not trained.
            if not isinstance(name, str) or not name.startswith("loss_") or name in taken:
                self.fail("losses", f"{name!r}: a name must begin with loss_ and be a new one")
            self.check("losses", value, ())
        return dict(given)

    def scalars(self, name: str, taken: Sequence[str], *arguments: Any) -> dict[str, Any]:
        """Call a hook that gives finite numbers by name, or lists of them.

        Args:
            taken: Names that mean something else where the numbers are stored.
        """
        given = self.call(name, *arguments)
        if not isinstance(given, Mapping):
            self.fail(name, f"must return a dict of numbers by name, not {kind_of(given)}")
        found: dict[str, Any] = {}
        for key, value in given.items():
            if not isinstance(key, str) or key in taken:
                self.fail(name, f"{key!r} cannot be a scalar's name")
            try:
                plain = [float(each) for each in value] if isinstance(value, list) else float(value)
            except (TypeError, ValueError, RuntimeError):
                self.fail(name, f"{key} must be a number, not {kind_of(value)}")
            if not all(map(math.isfinite, plain if isinstance(plain, list) else [plain])):
                self.fail(name, f"{key} is not finite")
            found[key] = plain
        return found

    def check_finite(self) -> None:
        """Name the hook that made numbers which are not finite out of finite ones.

        The look at them waits for the device: once for a pass, when its results are needed anyway.

        Raises:
            RunFailedError: Names it.
        """
        given, maps = self._given.copy(), self._maps
        self.begin()
        for name, value in given:
            if _finite(value) or not all(_finite(each) for each in maps if each is not None):
                continue
            assert self.module is not None  # noqa: S101  # it has given something
            lost = [key for key, each in self.module.named_parameters() if not _finite(each)]
            cause = f" (so is its parameter {lost[0]})" if lost else ""
            self.fail(name, f"gave numbers that are not finite{cause}")

    def fail(self, name: str, rule: str) -> NoReturn:
        """Fail, naming a hook with its file and line.

        Raises:
            RunFailedError: Always.
        """
        fail_in(getattr(type(self.module), name), name, rule)

    def check(self, name: str, value: Any, shape: tuple[int, ...]) -> None:
        """Check what a hook gave; whether it is finite, `check_finite` says.

        Raises:
            RunFailedError: It is no floating tensor of this shape.
        """
        if not isinstance(value, Tensor) or not value.is_floating_point():
            self.fail(name, f"must return a floating tensor, not {kind_of(value)}")
        if value.shape != shape:
            self.fail(name, f"must return the shape {list(shape)}, not {list(value.shape)}")
        self._given.append((name, value.detach()))


def _finite(value: Tensor) -> bool:
    return bool(value.detach().isfinite().all())
