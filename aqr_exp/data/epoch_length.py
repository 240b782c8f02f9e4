"""How many samples an epoch draws."""

from aqr_exp.config.schema import RunConfig
from aqr_exp.data.pipeline import dataset_config
from aqr_exp.data.sampling import balanced_draws


def epoch_samples(config: RunConfig, split_samples: int) -> int:
    """Samples of a training epoch: the split's, or the draws of class-balanced resampling.

    Args:
        config: The run; with `schedule.cbgs` its info file is read.
        split_samples: Samples of the training split.
    """
    if not config.schedule.cbgs:
        return split_samples
    from mmdet3d.registry import DATASETS

    dataset = DATASETS.build(dataset_config(config, config.data.train_split, training=True))
    return balanced_draws(dataset.samples_by_class())
