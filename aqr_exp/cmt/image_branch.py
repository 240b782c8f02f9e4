"""VoVNetV2-99, the image backbone of CMT's largest model, under the names of its published weights.

One-shot aggregation: a block concatenates its input and the outputs of five convolutions, and a 1x1
convolution mixes them (Lee et al., arXiv 1904.09730); effective squeeze-excitation and the residual
connection are VoVNetV2's (Lee and Park, arXiv 1911.06667).

Letters: N images, H and W rows and columns, C channels.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import ModuleList, functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

STAGE_CHANNELS = (256, 512, 768, 1024)
"""Channels that leave each stage; the first comes out at a stride of 4, each other at twice the last."""

# (input channels, output channels, stride) of each convolution.
_STEM = ((3, 64, 2), (64, 64, 1), (64, 128, 2))
_LAYER_CHANNELS = (128, 160, 192, 224)
_BLOCKS = (1, 3, 9, 3)
_LAYERS = 5


def _convolution(
    inputs: int, outputs: int, name: str, *, size: int, stride: int = 1
) -> nn.Sequential:
    """Convolution, batch norm, ReLU; published names hold the block's name and a slash."""
    conv = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
    parts = {"conv": conv, "norm": nn.BatchNorm2d(outputs), "relu": nn.ReLU(inplace=True)}
    return nn.Sequential(OrderedDict((f"{name}/{part}", module) for part, module in parts.items()))


class _SqueezeExcitation(nn.Module):
    """Scales each channel by a gate that one linear map makes of all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        gate = functional.hardsigmoid(self.fc(features.mean(dim=(2, 3), keepdim=True)))
        return features * gate


class _AggregationBlock(nn.Module):
    """One-shot aggregation; residual where input and output have the same channels by design."""

    def __init__(
        self, inputs: int, hidden: int, outputs: int, name: str, *, residual: bool
    ) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.ModuleList(
            [
                _convolution(hidden if index else inputs, hidden, f"{name}_{index}", size=3)
                for index in range(_LAYERS)
            ]
        )
        self.concat = _convolution(inputs + _LAYERS * hidden, outputs, f"{name}_concat", size=1)
        self.ese = _SqueezeExcitation(outputs)

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n out h w"]:
        outputs = [features]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        mixed = self.ese(self.concat(torch.cat(outputs, dim=1)))
        return mixed + features if self.residual else mixed


def _stage(index: int, inputs: int) -> nn.Sequential:
    """A stage; all but the first halve the resolution (rounded up) before their blocks."""
    outputs, number = STAGE_CHANNELS[index], index + 2
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    if index:
        modules["Pooling"] = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    for block in range(_BLOCKS[index]):
        name = f"OSA{number}_{block + 1}"
        modules[name] = _AggregationBlock(
            outputs if block else inputs, _LAYER_CHANNELS[index], outputs, name, residual=block > 0
        )
    return nn.Sequential(modules)


@MODELS.register_module()
class VoVNet99(BaseModule):
    """VoVNetV2-99 with effective squeeze-excitation in every block, as published (`V-99-eSE`).

    Args:
        out_stages: Stages (0-based) whose maps are returned.
        frozen_stages: The stem and stages up to this one are not trained; -1 trains all, 0 freezes
            the stem alone.
        norm_eval: Keep batch statistics fixed while training.
        checkpointing: Recompute a stage's activations in the backward pass to save memory.
    """

    def __init__(
        self,
        *,
        out_stages: Sequence[int],
        frozen_stages: int = -1,
        norm_eval: bool = True,
        checkpointing: bool = False,
    ) -> None:
        super().__init__(init_cfg={"type": "Kaiming", "layer": "Conv2d"})
        self.out_stages = tuple(out_stages)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.checkpointing = checkpointing
        stem: OrderedDict[str, nn.Module] = OrderedDict()
        for index, (inputs, outputs, stride) in enumerate(_STEM, start=1):
            part = _convolution(inputs, outputs, f"stem_{index}", size=3, stride=stride)
            stem.update(part.named_children())
        self.stem = nn.Sequential(stem)
        for index, inputs in enumerate((_STEM[-1][1], *STAGE_CHANNELS[:-1])):
            self.add_module(f"stage{index + 2}", _stage(index, inputs))
        self._freeze()

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> list[Float[Tensor, "n _ _ _"]]:
        """Maps of the wanted stages, finest first."""
        features = self.stem(images)
        maps = []
        for index in range(max(self.out_stages) + 1):
            stage = self.get_submodule(f"stage{index + 2}")
            if self.checkpointing and self.training and features.requires_grad:
                features = checkpoint(stage, features, use_reentrant=False)
            else:
                features = stage(features)
            if index in self.out_stages:
                maps.append(features)
        return maps

    def train(self, mode: bool = True) -> "VoVNet99":
        """Set the mode; norms that are to keep their statistics, and frozen stages, stay as they are."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _freeze(self) -> None:
        names = ("stem", *(f"stage{index + 2}" for index in range(len(STAGE_CHANNELS))))
        for name in names[: self.frozen_stages + 1]:
            module = self.get_submodule(name)
            module.eval()
            module.requires_grad_(requires_grad=False)


@MODELS.register_module()
class ImageNeck(BaseModule):
    """FPN without the unused levels: all laterals, and the output convolution of the finest.

    Args:
        in_channels: Channels of the backbone's maps, finest first.
        norm: Batch norm after the output convolution.
    """

    def __init__(
        self, *, in_channels: Sequence[int], out_channels: int, norm: bool = False
    ) -> None:
        super().__init__(init_cfg={"type": "Xavier", "layer": "Conv2d", "distribution": "uniform"})
        self.lateral_convs = ModuleList(
            [ConvModule(channels, out_channels, 1, act_cfg=None) for channels in in_channels]
        )
        norm_cfg = {"type": "BN2d"} if norm else None
        output = ConvModule(
            out_channels, out_channels, 3, padding=1, norm_cfg=norm_cfg, act_cfg=None
        )
        self.fpn_convs = ModuleList([output])

    def forward(
        self, features: Sequence[Float[Tensor, "images _ _ _"]]
    ) -> Float[Tensor, "images channels height width"]:
        """Merge maps, finest first, into one of the finest resolution by nearest-neighbour upsampling.

        Raises:
            ValueError: If the number of maps is not what the neck was built for.
        """
        if len(features) != len(self.lateral_convs):
            raise ValueError(f"expected {len(self.lateral_convs)} maps, got {len(features)}")
        merged = self.lateral_convs[-1](features[-1])
        for conv, feature in zip(self.lateral_convs[-2::-1], features[-2::-1], strict=True):
            lateral = conv(feature)
            merged = lateral + functional.interpolate(merged, size=lateral.shape[-2:])
        output: Tensor = self.fpn_convs[0](merged)
        return output
