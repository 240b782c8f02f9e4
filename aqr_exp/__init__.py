"""aqr-exp: find out whether an idea in LiDAR-camera 3D detection really helps."""

from aqr_exp import mmcv_operators

__version__ = "0.1.0"

mmcv_operators.provide()
