"""Folders beside the final one in which data are put together, and what a killed process left there."""

import os
import re
import secrets
import shutil
import socket
from pathlib import Path


def staging_folder(root: Path, purpose: str) -> Path:
    """A fresh name beside `root` that says which process it belongs to.

    Args:
        root: The final folder.
        purpose: A word for what it holds.
    """
    host = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())
    unique = secrets.token_hex(4)
    return root.with_name(f".{root.name}.{purpose}-{host}-{os.getpid()}-{unique}.tmp")


def _is_alive(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove_leftovers(root: Path) -> None:
    """Delete what generators of `root` that were killed on this machine left beside it.

    Folders of other machines and of processes that still run are not touched.
    """
    host = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())
    pattern = re.compile(
        rf"\.{re.escape(root.name)}\.(?:new|old)-{re.escape(host)}-(\d+)-[0-9a-f]{{8}}\.tmp"
    )
    for path in root.parent.iterdir():
        found = pattern.fullmatch(path.name)
        if found and not _is_alive(int(found.group(1))):
            shutil.rmtree(path, ignore_errors=True)
