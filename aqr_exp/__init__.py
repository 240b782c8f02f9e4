"""aqr-exp: find out whether an idea in LiDAR-camera 3D detection really helps."""

__version__ = "0.1.0"
