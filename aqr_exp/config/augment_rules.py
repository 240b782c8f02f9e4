"""The rules of training augmentation, wherever it is configured."""

from collections.abc import Iterator

from aqr_exp.config.schema.data import AugmentConfig


def augment_rules(augment: AugmentConfig, where: str) -> Iterator[str]:
    """One line for each rule that augmentation breaks.

    Args:
        augment: The augmentation.
        where: What its keys begin with in messages, such as `data.augment`.
    """
    for key, (low, high) in (("resize", augment.resize), ("scale", augment.scale)):
        if not 0 < low <= high:
            yield f"{where}.{key}={[low, high]}: must be positive, lowest first"
    if any(std < 0 for std in augment.translate_std_m):
        yield f"{where}.translate_std_m={list(augment.translate_std_m)}: must not be negative"
    dropped = augment.drop_camera + augment.drop_lidar
    if dropped > 1:
        rule = "must add up to at most 1: a sample loses one sensor or none"
        yield f"{where}.drop_camera + {where}.drop_lidar = {dropped:g}: {rule}"
