"""Requirements of a run on this machine: packages (found without importing them), disk and GPU."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.config.inputs import info_path
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.info_files import read_info_file
from aqr_exp.errors import Fault, RequestError, refusal
from aqr_exp.files.atomic import writes
from aqr_exp.files.foreign import checkpoint_fault

TRAIN_REMEDY = "make setup (or pip install 'aqr-exp[train]')"


@dataclass(frozen=True)
class Requirement:
    """A package.

    Attributes:
        distribution: Its name in the package index, under which runs record its version.
        alternatives: Other distributions that provide the module.
        training: Nothing can be trained without it.
        remedy: A command that installs it.
    """

    distribution: str
    module: str
    purpose: str
    alternatives: tuple[str, ...] = ()
    training: bool = True
    remedy: str = TRAIN_REMEDY

    @property
    def installed(self) -> bool:
        """The module can be found; it is not imported."""
        try:
            return importlib.util.find_spec(self.module) is not None
        except (ImportError, ValueError):
            return False

    @property
    def provider(self) -> str | None:
        """The installed distribution; None when none of them is."""
        names = (self.distribution, *self.alternatives)
        return next((name for name in names if distribution_version(name) is not None), None)

    @property
    def version(self) -> str | None:
        """The installed distribution's version; None when none is installed."""
        return distribution_version(self.provider) if self.provider else None


REQUIREMENTS = (
    Requirement("numpy", "numpy", "arrays"),
    Requirement("scipy", "scipy", "matching and intervals"),
    Requirement("torch", "torch", "tensors and training"),
    Requirement("mmengine", "mmengine", "the training loop"),
    Requirement("mmcv", "mmcv", "detector building blocks and images", alternatives=("mmcv-lite",)),
    Requirement("mmdet", "mmdet", "detection building blocks"),
    Requirement("mmdet3d", "mmdet3d", "3D detection building blocks"),
    Requirement("nuscenes-devkit", "nuscenes", "the official metrics"),
    Requirement(
        "spconv",
        "spconv",
        "the sparse voxel encoder of model=cmt_r50_800x320",
        training=False,
        remedy="pip install 'aqr-exp[sparse]' (CUDA: the spconv wheel of your CUDA version)",
    ),
    Requirement(
        "pandas", "pandas", "results as data frames", training=False, remedy="pip install pandas"
    ),
)

# Versions kept with every run, besides those above.
RECORDED = ("aqr-exp", "hydra-core", "omegaconf", "numba")


def missing_for_training() -> list[Requirement]:
    """Packages that have to be installed before anything can be trained."""
    return [item for item in REQUIREMENTS if item.training and not item.installed]


def installed_versions() -> dict[str, str]:
    """Versions of all installed packages that can change numbers, by `Requirement.distribution`."""
    versions = {name: distribution_version(name) for name in RECORDED}
    versions |= {item.distribution: item.version for item in REQUIREMENTS}
    return {name: version for name, version in versions.items() if version is not None}


def distribution_version(name: str) -> str | None:
    """The installed version of a distribution; None when it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def mmcv_operators() -> str | None:
    """A note on mmcv's compiled operators, found without importing them; None without mmcv."""
    mmcv = next(item for item in REQUIREMENTS if item.module == "mmcv")
    if not mmcv.installed:
        return None
    spec = importlib.util.find_spec("mmcv")
    folders = (spec.submodule_search_locations if spec else None) or []
    if any(list(Path(folder).glob("_ext.*")) for folder in folders):
        return "with compiled operators"
    return f"{mmcv.provider or 'mmcv'}: its compiled operators are absent, none is called"


def check_packages(purpose: str) -> None:
    """Refuse what needs the training packages where they are missing.

    Args:
        purpose: Subject of the message, such as `training`.

    Raises:
        RequestError: Names them, and what would install them.
    """
    missing = missing_for_training()
    if missing:
        names = ", ".join(item.distribution for item in missing)
        raise RequestError(f"{purpose} needs {names}: {missing[0].remedy} (see `aqr-exp doctor`)")


CPU_INFO = Path("/proc/cpuinfo")
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")


def machine() -> dict[str, Any]:
    """Hardware on which measured times depend.

    Returns:
        `host`, `cpus` and `gpus` (models, sorted); `processor` if the system names it.
    """
    facts: dict[str, Any] = {
        "host": socket.gethostname(),
        "cpus": os.cpu_count(),
        "gpus": gpu_models(),
    }
    processor = next(iter(_values(CPU_INFO, "model name")), None) or platform.processor()
    return facts | ({"processor": processor} if processor else {})


def gpu_models() -> list[str]:
    """Models of the NVIDIA GPUs that the driver reports."""
    reports = sorted(NVIDIA_GPUS.glob("*/information"))
    return sorted(model for report in reports for model in _values(report, "Model"))


def _values(path: Path, name: str) -> list[str]:
    """Values of one name in a file of `name : value` lines; empty when it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    pairs = [line.partition(":") for line in lines]
    return [value.strip() for key, _, value in pairs if key.strip() == name]


FREE_SPACE_MB = 200


# A loader worker hands over its samples through a socket named `<TMPDIR>/pymp-......../listener-........`,
# and the name of a Unix socket has at most 107 bytes. Beyond that torch loses the sample, and waits for it.
LONGEST_TMPDIR = 107 - len("/pymp-12345678/listener-12345678")


def check_ready(config: RunConfig, results: Path, *, here: bool = True) -> None:
    """Refuse a run that could not end well.

    Args:
        results: The results folder; it need not exist yet.
        here: It is to run on this machine, and not on another that sees the same files.

    Raises:
        RequestError: One line for each thing that is missing, with a remedy.
    """
    faults: list[Fault | str] = [*input_faults(config), *metric_faults(config, results)]
    try:
        check_packages("training")
    except RequestError as error:
        faults.append(str(error))
    if _is_sparse(config):
        sparse = next(item for item in REQUIREMENTS if item.distribution == "spconv")
        if not sparse.installed:
            faults.append(f"model={config.model.name} needs spconv: {sparse.remedy}")
    faults += gpu_faults(config, gpu_models()) if here else []
    system = system_faults(results)
    faults += system
    temporary = "" if system else tempfile.gettempdir()
    if here and config.launcher.loader_workers and len(os.fsencode(temporary)) > LONGEST_TMPDIR:
        faults.append(
            f"the folder of temporary files, {temporary}, has a name of more than {LONGEST_TMPDIR} "
            "bytes: loader workers would wait for ever (TMPDIR names another folder, "
            "launcher.loader_workers=0 needs none)"
        )
    if faults:
        raise RequestError(*faults)


def system_faults(results: Path) -> list[Fault]:
    """What the operating system would refuse a run: temporary files, files among the results, space.

    Args:
        results: The results folder; it need not exist yet.
    """
    existing = next(parent for parent in (results, *results.parents) if parent.exists())
    free_mb = free_space_mb(results)
    if free_mb < FREE_SPACE_MB:
        rule = f"the disk of {results} has {free_mb} MB left: a run needs {FREE_SPACE_MB} MB"
        return [Fault(rule=rule, hint=" (AQR_EXP_RESULTS names another folder)")]
    try:
        tempfile.gettempdir()
        with writes(existing), tempfile.TemporaryFile(dir=existing):
            return []
    except OSError as error:
        return [refusal(error)]


def input_faults(config: RunConfig) -> Iterator[Fault]:
    """What is wrong with the info files and the checkpoint that a run would read, before it starts."""
    for split in (config.data.train_split, config.data.val_split):
        path = info_path(Path(config.data.root), split)
        try:
            if path.exists():  # the data's identity says what is missing
                read_info_file(path)
        except RequestError as error:
            yield from error.faults
    if config.start is not None:
        path = Path(config.start.load_from)
        with suppress(OSError):  # its identity says so
            if cause := checkpoint_fault(path):
                yield Fault("start.load_from", os.fspath(path), cause)


def metric_faults(config: RunConfig, results: Path) -> Iterator[Fault]:
    """What is wrong with the own metrics that a run is to be measured by at its end."""
    if config.metrics:
        from aqr_exp.evaluate.own_metric_files import load_metric
    for name in config.metrics:
        try:
            load_metric(name, results)
        except RequestError as error:
            yield from error.faults


def gpu_faults(config: RunConfig, gpus: Sequence[str]) -> list[str]:
    """Reasons why a run cannot be trained without a GPU; empty when it can.

    Args:
        gpus: Models of the machine's GPUs.
    """
    if gpus and config.launcher.device != "cpu":
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
    return model.reads_lidar and model.lidar.encoder == "sparse_voxels"


def free_space_mb(folder: Path) -> int:
    """Free space where `folder` is or would be, in megabytes."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(existing).free // 1_000_000
