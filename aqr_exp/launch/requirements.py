"""What has to be installed for what, found without importing it."""

import importlib.metadata
import importlib.util
from dataclasses import dataclass

TRAIN_REMEDY = "make setup (or pip install 'aqr-exp[train]')"


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One package.

    Attributes:
        distribution: Its name in the package index.
        module: What is imported.
        training: Whether nothing can be trained without it.
        purpose: What it is for.
        remedy: What to type when it is missing.
    """

    distribution: str
    module: str
    training: bool
    purpose: str
    remedy: str

    @property
    def installed(self) -> bool:
        """Whether the module can be found; it is not imported."""
        try:
            return importlib.util.find_spec(self.module) is not None
        except (ImportError, ValueError):
            return False

    @property
    def version(self) -> str | None:
        """The installed version, where the distribution says one."""
        return distribution_version(self.distribution)


def _needed(distribution: str, module: str, purpose: str) -> Requirement:
    return Requirement(
        distribution=distribution,
        module=module,
        training=True,
        purpose=purpose,
        remedy=TRAIN_REMEDY,
    )


REQUIREMENTS = (
    _needed("numpy", "numpy", "arrays"),
    _needed("scipy", "scipy", "matching and intervals"),
    _needed("torch", "torch", "tensors and training"),
    _needed("mmengine", "mmengine", "the training loop"),
    _needed("mmcv", "mmcv", "voxelization and image operators"),
    _needed("mmdet", "mmdet", "detection building blocks"),
    _needed("mmdet3d", "mmdet3d", "3D detection building blocks"),
    _needed("nuscenes-devkit", "nuscenes", "the official metrics"),
    Requirement(
        distribution="spconv",
        module="spconv",
        training=False,
        purpose="the sparse voxel encoder of model=cmt_r50_800x320",
        remedy="pip install 'aqr-exp[sparse]' (CUDA: the spconv wheel of your CUDA version)",
    ),
    Requirement(
        distribution="pandas",
        module="pandas",
        training=False,
        purpose="results as data frames",
        remedy="pip install pandas",
    ),
)

# Versions kept with every run, besides those above.
RECORDED = ("aqr-exp", "hydra-core", "omegaconf", "numba")


def missing_for_training() -> list[Requirement]:
    """What has to be installed before anything can be trained."""
    return [item for item in REQUIREMENTS if item.training and not item.installed]


def installed_versions() -> dict[str, str]:
    """Versions by distribution, of everything that is there and can change numbers."""
    names = [*RECORDED, *(item.distribution for item in REQUIREMENTS)]
    versions = {name: distribution_version(name) for name in names}
    return {name: version for name, version in versions.items() if version is not None}


def distribution_version(name: str) -> str | None:
    """The installed version of a distribution; None when it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def fault_of_missing(purpose: str) -> str | None:
    """One line on the training packages that are missing, or None.

    Args:
        purpose: Who needs them, such as `training`.
    """
    missing = missing_for_training()
    if not missing:
        return None
    names = ", ".join(item.distribution for item in missing)
    return f"{purpose} needs {names}: {missing[0].remedy} (see `aqr-exp doctor`)"
