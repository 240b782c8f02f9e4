"""Seeds as functions of (run seed, step): a resumed step draws what the unbroken one drew."""

import random

import numpy as np
import torch


def step_seed(seed: int, step: int) -> int:
    """The seed of everything random inside one training step (dropout, denoising noise, grid mask).

    Args:
        seed: The run's seed.
        step: Zero-based step, counted over all epochs.
    """
    return int(np.random.SeedSequence((seed, 2, step)).generate_state(1)[0])


def seed_step(seed: int, step: int) -> None:
    """Set every global random state for one step."""
    value = step_seed(seed, step)
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002 - the open-mmlab code draws from the global state
    torch.manual_seed(value)
