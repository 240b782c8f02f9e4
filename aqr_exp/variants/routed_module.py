"""The base of variants with a query router.

Letters: B samples, Q queries (denoising ones first). The last axis of weights is (lidar, camera).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from aqr_exp.aqr import Pairs
from aqr_exp.aqr.router import Router, sample_level_loss
from aqr_exp.aqr.windows import gather_windows
from aqr_exp.cmt.variant_module import ForwardContext, Targets, VariantModule


class RoutedModule(VariantModule):
    """A variant whose query weights come from a router.

    Args:
        router: Arguments of `Router`.
        router_window: Sizes and view policy of `gather_windows`.
        auxiliary_loss: Weight of the sample-level loss on the weights; 0 is without.
    """

    def __init__(
        self,
        *,
        router: Mapping[str, Any],
        router_window: Mapping[str, Any],
        auxiliary_loss: float,
    ) -> None:
        super().__init__()
        self.router = Router(**router)
        self.router_window = dict(router_window)
        self.auxiliary_loss = auxiliary_loss

    def query_weights(self, context: ForwardContext) -> Pairs:
        """Weigh every query by the tokens around it."""
        windows = gather_windows(context.places(), context.layout, **self.router_window)
        weights: Tensor = self.router(
            context.query_pos, context.memory, context.key_pos, windows, context.first_query
        )
        return weights

    def losses(self, outputs: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """The sample-level loss, where it is wanted.

        Raises:
            ValueError: It is wanted and the usable sensors are not known.
        """
        if self.auxiliary_loss == 0.0:
            return {}
        if targets.usable is None:
            raise ValueError("the sample-level loss needs `modal_dropout` in the metas")
        return {
            "loss_sample_level": self.auxiliary_loss
            * sample_level_loss(
                outputs["aqr_weights"].float(), targets.usable, activation=self.router.activation
            )
        }

    def watched_scalars(self, gradients: Mapping[str, Tensor]) -> dict[str, float]:
        """The norm of the router's gradient."""
        squares = [
            float(gradient.square().sum())
            for name, gradient in gradients.items()
            if name.startswith("router.")
        ]
        return {"router_gradient": sum(squares) ** 0.5} if squares else {}
