"""Which sample comes when: a function of (seed, epoch, position) alone.

Nothing about the order or the augmentation lives in a worker's or a process's random state, so it does
not depend on the number of loader workers and a resumed run draws what an unbroken one would have drawn.
"""

from collections.abc import Iterator, Sized
from typing import NamedTuple

import numpy as np
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler


class SampleKey(NamedTuple):
    """What a sampler asks a data set for.

    Attributes:
        sample: Position in the info file.
        epoch: Epoch the sample is drawn for.
        draw: Position in the epoch's order; tells repeated draws of one sample apart.
    """

    sample: int
    epoch: int
    draw: int


def epoch_order(samples: int, *, seed: int, epoch: int, shuffle: bool) -> np.ndarray:
    """The order in which an epoch visits its samples.

    Args:
        samples: Number of samples.
        seed: The run's seed.
        epoch: Zero-based epoch.
        shuffle: False gives 0, 1, 2, ...

    Returns:
        Integer array of shape [samples].
    """
    if not shuffle:
        return np.arange(samples)
    return np.random.default_rng((seed, epoch)).permutation(samples)


def augmentation_rng(seed: int, key: SampleKey) -> np.random.Generator:
    """The random generator one drawn sample is augmented with."""
    return np.random.default_rng((seed, 1, key.epoch, key.draw, key.sample))


@DATA_SAMPLERS.register_module()
class KeyedSampler(Sampler[SampleKey]):
    """Yields `SampleKey`s of this process's share of an epoch.

    In training the order is padded by its own beginning to a multiple of the processes, so that all take
    the same number of steps; at evaluation nothing is repeated.

    Args:
        dataset: Anything with a length.
        shuffle: Whether the order is random.
        seed: The run's seed.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int = 0) -> None:
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self.done = 0
        self.rank, self.world_size = get_dist_info()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch the next iteration runs through, from its beginning."""
        self.epoch = epoch
        self.done = 0

    def leave_out(self, samples: int) -> None:
        """Begin the next iteration after so many samples of this process's share of the epoch."""
        self.done = samples

    def _order(self) -> np.ndarray:
        order = epoch_order(
            len(self.dataset), seed=self.seed, epoch=self.epoch, shuffle=self.shuffle
        )
        if self.shuffle and len(order) % self.world_size:
            order = np.concatenate([order, order[: -len(order) % self.world_size]])
        return order

    def __iter__(self) -> Iterator[SampleKey]:
        order = self._order()
        first = self.rank + self.done * self.world_size
        for draw in range(first, len(order), self.world_size):
            yield SampleKey(sample=int(order[draw]), epoch=self.epoch, draw=draw)

    def __len__(self) -> int:
        return len(range(self.rank, len(self._order()), self.world_size))
