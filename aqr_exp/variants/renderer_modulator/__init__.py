"""The renderer and the feature modulator."""
