"""Importing this module registers every CMT module with mmdet3d's `MODELS`.

mmengine configurations name it in `custom_imports`; code calls `register_modules()`.
"""

from aqr_exp.cmt.detector import CmtDataPreprocessor, CmtDetector
from aqr_exp.cmt.head import CmtHead
from aqr_exp.cmt.image_branch import ImageNeck, VoVNet99
from aqr_exp.cmt.lidar_branch import PillarEncoder
from aqr_exp.cmt.task_head import SeparateTaskHead
from aqr_exp.cmt.transformer import CmtTransformer

__all__ = [
    "CmtDataPreprocessor",
    "CmtDetector",
    "CmtHead",
    "CmtTransformer",
    "ImageNeck",
    "PillarEncoder",
    "SeparateTaskHead",
    "VoVNet99",
    "register_modules",
]


def register_modules() -> None:
    """Register CMT's modules and the stock ones it is built from.

    Registration happens on import, once; calling this makes the dependency visible.
    """
    import mmdet3d.models  # noqa: F401
