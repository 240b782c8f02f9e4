"""Names and random generators that depend on the seed and on what they are for, on nothing else."""

import hashlib

import numpy as np


def token(*parts: object) -> str:
    """A nuScenes token: 32 hex digits, the same for the same parts.

    Args:
        *parts: What is named, such as ("sample", seed, scene, keyframe).
    """
    text = "/".join(["aqr-exp synthetic", *map(str, parts)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def generator(seed: int, scene: int, purpose: str) -> np.random.Generator:
    """A random generator of its own for one purpose in one scene.

    Args:
        seed: The data set's seed.
        scene: The scene's index.
        purpose: What is drawn; other purposes do not disturb it.
    """
    words = np.frombuffer(hashlib.sha256(purpose.encode()).digest()[:8], dtype="<u4")
    return np.random.default_rng([seed, scene, *(int(word) for word in words)])
