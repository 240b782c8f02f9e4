"""A synthetic driving data set in the real nuScenes schema: traffic, two sensors, tables, maps."""
