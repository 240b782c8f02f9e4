"""The attention bias, weaker from layer to layer of the decoder."""

from dataclasses import dataclass, replace
from typing import Annotated

from torch import Tensor

from aqr_exp.ideas import BiasForLayer, Context, LocalBias, Range, Recentre, RunConfig
from aqr_exp.variants.attention_bias import AttentionBiasSettings, module_arguments
from aqr_exp.variants.attention_bias.module import AttentionBiasModule

# The options, short names and rules of this variant hold here too: bias_scale=3.5, bias=aggressive.
based_on = "attention_bias"


@dataclass(frozen=True, kw_only=True)
class MyIdeaSettings(AttentionBiasSettings):
    """What is typed as variant.KEY=VALUE, besides the settings of the attention bias.

    Attributes:
        fade: The bias of a layer over that of the layer before; 1 is the attention bias as it is.
    """

    fade: Annotated[float, Range(0.0, 1.0)] = 0.8


class MyIdeaModule(AttentionBiasModule):
    """The module of the attention bias with one hook of its own."""

    def __init__(self, settings: MyIdeaSettings, run: RunConfig) -> None:
        super().__init__(**module_arguments(settings, run))
        self.fade = settings.fade

    def bias_for_layer(self, context: Context, recentre: Recentre) -> BiasForLayer:
        """Make the bias of a layer, counted from 0; None would leave its scores as they are."""
        whole = super().bias_for_layer(context, recentre)

        def faded(layer: int, previous: Tensor | None) -> LocalBias:
            bias = whole(layer, previous)
            return replace(bias, value=bias.value * self.fade**layer)

        return faded
