"""nuScenes-format data: info files, checks, the training data set, transforms and corruptions."""
