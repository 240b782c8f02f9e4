"""Corruptions of sensor data: missing, late, displaced, dirty or noisy (after Robo3D and nuScenes-C)."""
