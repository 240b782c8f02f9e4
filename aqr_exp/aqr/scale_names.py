"""How the numbers of a bias scale are named; here so that it can be told without torch."""


def is_scale(name: str) -> bool:
    """Whether a number of `scale_scalars` is a scale itself, not what is said of one."""
    return name.startswith("scale") and not name.endswith(("_of_max", "_gradient"))
