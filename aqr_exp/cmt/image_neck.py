"""A feature pyramid that builds only the level CMT reads.

Letters: N images, H and W rows and columns.
"""

from collections.abc import Sequence

from jaxtyping import Float
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor
from torch.nn import ModuleList, functional


@MODELS.register_module()
class ImageNeck(BaseModule):
    """FPN without the unused levels: all laterals, and the output convolution of the finest.

    Args:
        in_channels: Channels of the backbone's maps, finest first.
        out_channels: Channels of the output.
        norm: Batch norm after the output convolution.
    """

    def __init__(
        self, *, in_channels: Sequence[int], out_channels: int, norm: bool = False
    ) -> None:
        super().__init__(init_cfg={"type": "Xavier", "layer": "Conv2d", "distribution": "uniform"})
        self.lateral_convs = ModuleList(
            [ConvModule(channels, out_channels, 1, act_cfg=None) for channels in in_channels]
        )
        self.fpn_convs = ModuleList(
            [
                ConvModule(
                    out_channels,
                    out_channels,
                    3,
                    padding=1,
                    norm_cfg={"type": "BN2d"} if norm else None,
                    act_cfg=None,
                )
            ]
        )

    def forward(
        self, features: Sequence[Float[Tensor, "images _ _ _"]]
    ) -> list[Float[Tensor, "images channels height width"]]:
        """Merge coarse maps into the finest by nearest-neighbour upsampling.

        Args:
            features: The backbone's maps, finest first.

        Returns:
            One map, at the finest resolution.

        Raises:
            ValueError: If the number of maps is not what the neck was built for.
        """
        if len(features) != len(self.lateral_convs):
            raise ValueError(f"expected {len(self.lateral_convs)} maps, got {len(features)}")
        merged = self.lateral_convs[-1](features[-1])
        for conv, feature in zip(self.lateral_convs[-2::-1], features[-2::-1], strict=True):
            lateral = conv(feature)
            merged = lateral + functional.interpolate(
                merged, size=lateral.shape[-2:], mode="nearest"
            )
        return [self.fpn_convs[0](merged)]
