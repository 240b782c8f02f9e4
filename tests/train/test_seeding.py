import random

import numpy as np
import torch

from aqr_exp.train.hooks import seed_step, step_seed


def _draws():
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002, S311


def test_a_step_draws_the_same_whatever_came_before():
    seed_step(7, 41)
    first = _draws()
    _draws()
    seed_step(7, 41)
    assert _draws() == first


def test_seeds_and_steps_differ():
    seeds = {step_seed(seed, step) for seed in range(20) for step in range(200)}
    assert len(seeds) == 4000


def test_processes_differ_and_the_first_draws_as_one_alone():
    assert step_seed(7, 41, rank=0) == step_seed(7, 41)
    assert len({step_seed(7, step, rank) for step in range(50) for rank in range(8)}) == 400
