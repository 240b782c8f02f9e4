"""nuScenes-format data: info files, the training data set, transforms and the synthetic generator."""
