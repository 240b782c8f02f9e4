"""From predictions to nuScenes metrics."""
