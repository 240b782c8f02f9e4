"""Checks of a nuScenes-format data set; each fault has a file and a cause."""
