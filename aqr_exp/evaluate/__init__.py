"""The nuScenes detection benchmark: matching, metrics and records that can be resampled."""
