"""What can be wrong with a nuScenes-format data set, found and named by file and cause."""
