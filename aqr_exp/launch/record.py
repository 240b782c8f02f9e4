"""The record of a run, written before it starts: identity, code, versions, hardware."""

import contextlib
import hashlib
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aqr_exp
from aqr_exp.config.identity import (
    as_dict,
    fingerprint,
    launch_circumstances,
    run_name,
    setting_fingerprint,
    to_yaml,
)
from aqr_exp.config.schema import RunConfig
from aqr_exp.launch.preflight import installed_versions, machine
from aqr_exp.store.run_folder import RunFolder, utc_now


def build_record(
    config: RunConfig, *, overrides: Sequence[str], argv: Sequence[str]
) -> dict[str, Any]:
    """The content of `record.json`, as plain values.

    Args:
        config: The run, with its data's fingerprint.
        overrides: As typed after the variant.
    """
    spec = as_dict(config)
    return {
        "name": run_name(config),
        "variant": config.variant.name,
        "fingerprint": fingerprint(config),
        "seed": config.seed,
        "preset": config.preset,
        "overrides": list(overrides),
        "argv": list(argv),
        "created": utc_now(),
        "data": {key: spec["data"][key] for key in ("name", "version", "fingerprint", "root")},
        "code": code_revision(Path(aqr_exp.__file__).resolve().parents[1]),
        "versions": installed_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "host": socket.gethostname(),
        "setting": setting_fingerprint(spec),
        "hardware": machine() | launch_circumstances(spec, os.cpu_count()),
    }


def code_revision(checkout: Path) -> dict[str, Any] | None:
    """The revision of a git checkout that holds the package, and a SHA-256 of what differs from it.

    Returns:
        `revision`, `dirty` and `difference_sha256`; None for an installed package or without git.
    """
    if not (checkout / ".git").exists():
        return None
    try:
        revision = _git(checkout, "rev-parse", "HEAD").decode().strip()
        status = _git(checkout, "status", "--porcelain", "-z")
        difference = _git(checkout, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv")
    except (OSError, subprocess.SubprocessError):
        return None
    # The status names untracked files, which the difference does not hold.
    digest = hashlib.sha256(status + b"\0" + difference).hexdigest() if status else None
    return {"revision": revision, "dirty": bool(status), "difference_sha256": digest}


def _git(checkout: Path, *arguments: str) -> bytes:
    command = ["git", "-C", os.fspath(checkout), *arguments]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def create_run(folder: RunFolder, config: RunConfig, overrides: Sequence[str]) -> None:
    """Make the run's folder; one that another process made meanwhile is as good.

    Args:
        folder: A rerun's has another name than the run.
        config: The run, with its data's fingerprint.
        overrides: As typed after the variant.

    Raises:
        OSError: It could not be written; nothing is left behind.
    """
    record = {**build_record(config, overrides=overrides, argv=sys.argv), "name": folder.name}
    with contextlib.suppress(FileExistsError):
        folder.create(to_yaml(config), record)
