"""The generator of synthetic data in the nuScenes schema."""
