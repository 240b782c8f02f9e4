"""Moving a batch to the device and stacking its images.

Letters: B samples, V views, N points, H and W image height and width (pixels).
"""

from typing import Any

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseDataPreprocessor


@MODELS.register_module()
class CmtDataPreprocessor(BaseDataPreprocessor):
    """Stacks images to [B, V, 3, H, W] and leaves points as a list.

    Images arrive normalised: blanking a sensor happens before normalisation, in the pipeline.
    """

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:  # noqa: ARG002
        """Prepare one collated batch.

        Args:
            data: `inputs` with `points` (a list of [N, 5] tensors) and `imgs` or `img` (a list of
                [V, 3, H, W] tensors, or one [B, V, 3, H, W]); and `data_samples`.
            training: Unused; part of mmengine's interface.

        Returns:
            `inputs` with `points` and `imgs` [B, V, 3, H, W] float32, and `data_samples`.
        """
        data = self.cast_data(data)
        inputs = data["inputs"]
        images = inputs["imgs"] if "imgs" in inputs else inputs["img"]
        if not isinstance(images, torch.Tensor):
            images = torch.stack(list(images))
        points = [sample.float() for sample in inputs["points"]]
        return {
            "inputs": {"points": points, "imgs": images.float()},
            "data_samples": data.get("data_samples"),
        }
