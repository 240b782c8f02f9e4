"""Mean distance between the centres of detections and objects, along the ray from the vehicle (m)."""

import numpy as np

from aqr_exp.evaluate.own_metrics import Sample

better = "less"


def measure(sample: Sample) -> tuple[float, int]:
    """Sum of the distances of what is matched at 2 m, and how many they are."""
    at = sample.matches[:, 2]
    found = sample.predictions.centre[at >= 0, :2]
    real = sample.truths.centre[at[at >= 0], :2]
    ray = real - sample.vehicle
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    return np.abs(((found - real) * ray).sum(axis=1)).sum(), len(found)
