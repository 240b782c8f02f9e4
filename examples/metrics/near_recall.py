"""Share of the objects within 20 m that a detection with a score of at least 0.3 lies on."""

from aqr_exp.evaluate.own_metrics import Sample

better = "more"
bounds = (0.0, 1.0)


def measure(sample: Sample) -> tuple[float, float]:
    """How many of them are found, and how many they are."""
    near = sample.truths.distance < 20.0
    sure = sample.predictions.score >= 0.3
    found = sample.matches[sure, 2]  # of the ground truths, at 2 m
    return near[found[found >= 0]].sum(), near.sum()
