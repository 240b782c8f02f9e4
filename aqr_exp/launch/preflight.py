"""What has to be installed for what, found without importing it."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.model import LidarEncoder
from aqr_exp.config.schema.run import Device
from aqr_exp.errors import RequestError

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


CPU_INFO = Path("/proc/cpuinfo")
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")


def machine() -> dict[str, Any]:
    """What times measured here depend on.

    Returns:
        `host`, `cpus` and `gpus` (models, sorted); `processor` where the system names it.
    """
    facts: dict[str, Any] = {
        "host": socket.gethostname(),
        "cpus": os.cpu_count(),
        "gpus": gpu_models(),
    }
    processor = processor_model()
    return facts | ({"processor": processor} if processor else {})


def processor_model() -> str | None:
    """The processor as it names itself; None where the system does not say."""
    return next(iter(_values(CPU_INFO, "model name")), None) or platform.processor() or None


def gpu_models() -> list[str]:
    """The NVIDIA GPUs the driver knows."""
    reports = sorted(NVIDIA_GPUS.glob("*/information"))
    return sorted(model for report in reports for model in _values(report, "Model"))


def _values(path: Path, name: str) -> list[str]:
    """What a file of `name : value` lines says under a name; nothing when it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    pairs = [line.partition(":") for line in lines]
    return [value.strip() for key, _, value in pairs if key.strip() == name]


FREE_SPACE_MB = 200


def check_ready(config: RunConfig, results: Path) -> None:
    """Refuse a run that could not end well here.

    Args:
        config: The run.
        results: The results folder; it need not exist yet.

    Raises:
        RequestError: One line for everything that is missing, and what would mend it.
    """
    faults = []
    missing = fault_of_missing("training")
    if missing:
        faults.append(missing)
    if _is_sparse(config):
        sparse = next(item for item in REQUIREMENTS if item.distribution == "spconv")
        if not sparse.installed:
            faults.append(f"model={config.model.name} needs spconv: {sparse.remedy}")
    faults += gpu_faults(config, gpu_models())
    free_mb = free_space_mb(results)
    if free_mb < FREE_SPACE_MB:
        faults.append(
            f"the disk of {results} has {free_mb} MB left: a run needs {FREE_SPACE_MB} MB "
            "(AQR_EXP_RESULTS names another folder)"
        )
    if faults:
        raise RequestError("\n".join(faults))


def gpu_faults(config: RunConfig, gpus: Sequence[str]) -> list[str]:
    """Why a run cannot be trained without the GPU that is not there; empty when nothing needs one.

    Args:
        config: The run.
        gpus: The machine's GPUs.
    """
    if gpus and config.launcher.device is not Device.CPU:
        return []
    needs = []
    if _is_sparse(config):
        needs.append(f"the sparse encoder of model={config.model.name}")
    if config.schedule.amp:
        needs.append("schedule.amp=true")
    if not needs:
        return []
    why = "launcher.device=cpu" if gpus else "this machine has none"
    return [f"{' and '.join(needs)} trains on a CUDA GPU, and {why}"]


def _is_sparse(config: RunConfig) -> bool:
    model = config.model
    return model.sensors.lidar and model.lidar.encoder is LidarEncoder.SPARSE_VOXELS


def free_space_mb(folder: Path) -> int:
    """Free space where `folder` is or would be, in megabytes."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(existing).free // 1_000_000
