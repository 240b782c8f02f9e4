"""What must hold before a run is created, so that a wrong request leaves nothing behind."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.launcher import Device
from aqr_exp.config.schema.model import LidarEncoder
from aqr_exp.errors import RequestError
from aqr_exp.launch.hardware import gpu_models
from aqr_exp.launch.requirements import REQUIREMENTS, fault_of_missing

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
