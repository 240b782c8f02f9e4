"""A run's specification: its resolved configuration as YAML, with a checksum in its first line."""

from pathlib import Path
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.results.atomic import read_content, replace_text
from aqr_exp.results.checksum import fits_checksum_line, with_checksum_line


def write_spec(path: Path, yaml_text: str) -> None:
    """Write a specification.

    Args:
        path: The file.
        yaml_text: The resolved configuration.

    Raises:
        OSError: Writing failed; nothing is left behind.
    """
    replace_text(path, with_checksum_line(yaml_text))


def check_spec(path: Path) -> bool:
    """Check a specification without reading the YAML, which would take a hundred times as long.

    Args:
        path: The file.

    Returns:
        Whether it has a checksum, which it then fits.

    Raises:
        AqrExpError: It is missing, empty or does not fit its checksum.
    """
    content = read_content(path)
    verified = fits_checksum_line(path, content)
    if not verified and not content.strip():
        raise AqrExpError(f"{path} is damaged: it is empty")
    return verified


def read_spec(path: Path) -> dict[str, Any]:
    """The resolved configuration, unchecked.

    Args:
        path: The file.

    Raises:
        AqrExpError: The file is missing or damaged.
    """
    import yaml

    content = read_content(path)
    fits_checksum_line(path, content)
    try:
        value = yaml.safe_load(content.decode("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        fault = " ".join(str(error).split())
        raise AqrExpError(f"{path} is damaged: {fault}") from None
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise AqrExpError(f"{path} is damaged: holds a {kind}, not a mapping")
    return value
