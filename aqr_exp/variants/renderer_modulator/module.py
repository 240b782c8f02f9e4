"""The weights as maps that multiply the features.

Letters: B samples, Q queries (denoising ones first). The last axis of weights is (lidar, camera).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from aqr_exp.aqr import BevMap, CameraMaps
from aqr_exp.aqr.modulator import FeatureModulator
from aqr_exp.aqr.renderer import WeightRenderer
from aqr_exp.cmt.variant_module import ForwardContext
from aqr_exp.variants.routed_module import RoutedModule


class RendererModulatorModule(RoutedModule):
    """The weights as maps that multiply the features.

    Args:
        renderer: Arguments of `WeightRenderer`.
        modulator: Arguments of `FeatureModulator`, for each of the two maps.
        routed: Arguments of `RoutedModule`.
    """

    off: ClassVar = {"variant.modulator.residual": 1.0}

    def __init__(
        self, *, renderer: Mapping[str, Any], modulator: Mapping[str, Any], **routed: Any
    ) -> None:
        super().__init__(**routed)
        self.renderer = WeightRenderer(**renderer)
        self.bev_modulator = FeatureModulator(**modulator)
        self.camera_modulator = FeatureModulator(**modulator)

    def features(
        self, context: ForwardContext, bev: BevMap, camera: CameraMaps
    ) -> tuple[Tensor, Tensor]:
        """Both maps times what the learnable queries render."""
        bev_map, camera_map = self.renderer(context.weights, context.places(), context.layout)
        # The features of a switched-off modality stay as they are: even a weight of one would
        # dim the cells that no query reaches.
        lidar_off, camera_off = self.router.switched_off.tolist()
        return (
            bev if lidar_off else self.bev_modulator(bev, bev_map),
            camera if camera_off else self.camera_modulator(camera, camera_map),
        )
