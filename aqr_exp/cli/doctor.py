"""`aqr-exp doctor`: what is installed, what is missing, what would mend it."""

import os
import platform
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from aqr_exp import __version__
from aqr_exp.cli import console
from aqr_exp.config.inputs import identity_path, info_path, read_data_identity
from aqr_exp.data.info_files import read_info_file
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.text import typed_path
from aqr_exp.launch.preflight import REQUIREMENTS, free_space_mb, mmcv_operators, system_faults
from aqr_exp.launch.slurm import check_slurm
from aqr_exp.store.slurm import own_cluster
from aqr_exp.store.store import results_root

HELP = """
Exits 1 when something is missing without which nothing can be trained.

\b
Examples:
  aqr-exp doctor
  aqr-exp doctor --json
"""


def command(as_json: console.Json = False) -> None:
    """Examine this installation and machine."""
    findings = examine()
    if as_json:
        console.print_json(findings)
    else:
        console.data("\n".join(report(findings)))
    if not findings["can_train"]:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """Everything the doctor knows, as plain values."""
    packages = [
        {
            "name": item.distribution,
            "version": item.version if item.installed else None,
            "installed": item.installed,
            "needed_for_training": item.training,
            "purpose": item.purpose,
            "note": mmcv_operators() if item.module == "mmcv" else None,
            "remedy": None if item.installed else item.remedy,
        }
        for item in REQUIREMENTS
    ]
    missing = [item for item in REQUIREMENTS if item.training and not item.installed]
    torch, fault = examine_torch()
    refused = [str(fault) for fault in system_faults(results_root())]
    return {
        "aqr_exp": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "packages": packages,
        "torch": torch,
        "torch_fault": fault,
        "data": examine_data(),
        "results": str(results_root()),
        "free_mb": free_space_mb(results_root()),
        "refused": refused,
        "slurm": examine_slurm(),
        "can_train": not missing and fault is None and not refused,
    }


def examine_torch() -> tuple[dict[str, Any] | None, str | None]:
    """Threads and devices torch sees, or why it cannot be imported."""
    if find_spec("torch") is None:
        return None, "torch is not installed"
    try:
        import torch
    except Exception as error:  # a broken installation fails in many ways
        return None, f"torch cannot be imported: {error}".split("\n", 1)[0]
    cuda = torch.cuda.is_available()
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "cuda": torch.version.cuda if cuda else None,
        "devices": devices if cuda else [],
    }, None


def examine_slurm() -> dict[str, Any] | None:
    """The cluster that `launcher=slurm` submits to, and what keeps it from that; None without Slurm."""
    if shutil.which("sbatch") is None:
        return None
    settings = (os.environ.get("SLURM_CONF"), "/etc/slurm/slurm.conf", "/run/slurm/conf/slurm.conf")
    if not any(path and Path(path).exists() for path in settings):
        # Its commands would look for one for a minute.
        return {"cluster": None, "fault": "no slurm.conf is found on this machine"}
    cluster, fault = own_cluster(), None
    if cluster is None:
        fault = "its controller does not answer"
    else:
        try:
            check_slurm()
        except RequestError as error:
            fault = str(error)
    return {"cluster": cluster, "fault": fault}


def examine_data() -> list[dict[str, Any]]:
    """The data sets below the data folder."""
    folder = typed_path(os.environ.get("AQR_EXP_DATA") or "data", "AQR_EXP_DATA")
    found = []
    for root in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not identity_path(root).is_file():
            continue
        try:
            identity = read_data_identity(root)
            for path in (info_path(root, split) for split in identity["splits"]):
                if path.exists():
                    read_info_file(path)
            found.append({"root": str(root), **identity})
        except AqrExpError as error:
            found.append({"root": str(root), "fault": str(error)})
    return found


def report(findings: dict[str, Any]) -> list[str]:
    """The findings in lines, what is missing with what would mend it."""
    lines = [
        f"aqr-exp {findings['aqr_exp']}, Python {findings['python']} ({findings['executable']})",
        "packages:",
    ]
    for item in findings["packages"]:
        state = item["version"] or "installed"
        if item["note"]:
            state += f" ({item['note']})"
        if not item["installed"]:
            need = "MISSING" if item["needed_for_training"] else "not installed"
            state = f"{need}, for {item['purpose']}: {item['remedy']}"
        lines.append(f"  {item['name']}: {state}")
    torch = findings["torch"]
    if torch:
        devices = ", ".join(torch["devices"]) or "no CUDA device"
        lines.append(f"torch: {torch['threads']} threads of {torch['cpus']} cores, {devices}")
    else:
        lines.append(f"torch: {findings['torch_fault']}")
    if slurm := findings["slurm"]:
        words = slurm["fault"] or "launcher=slurm can submit"
        lines.append(f"Slurm: {slurm['cluster'] or 'no cluster'} ({words})")
    lines.append("data sets:" if findings["data"] else "data sets: none (`aqr-exp data synth`)")
    lines += [f"  {item['root']}: {_data_line(item)}" for item in findings["data"]]
    lines.append(f"results: {findings['results']} ({findings['free_mb']} MB free)")
    lines += [f"  {words}" for words in findings["refused"]]
    lines.append("ready to train" if findings["can_train"] else "NOT ready to train: see above")
    return lines


def _data_line(item: dict[str, Any]) -> str:
    if "fault" in item:
        return str(item["fault"])
    splits = ", ".join(f"{name} {count}" for name, count in item["splits"].items())
    mark = " (synthetic)" if item["synthetic"] else ""
    return f"{item['version']}{mark}, samples: {splits}"
