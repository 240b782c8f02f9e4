"""Which scene a sample belongs to, and what its description says of light and weather."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.errors import AqrExpError

CONDITIONS = ("clear", "night", "rain", "night and rain")


@dataclass(frozen=True, kw_only=True)
class SceneWords:
    """A sample's scene.

    Attributes:
        scene: The scene's token.
        condition: One of `CONDITIONS`, by the words "Night" and "Rain" as the field reports them.
    """

    scene: str
    condition: str


def condition_of(description: str) -> str:
    """The condition a nuScenes scene description names."""
    words = description.lower()
    night, rain = "night" in words, "rain" in words
    if night and rain:
        return "night and rain"
    return "night" if night else "rain" if rain else "clear"


def read_scene_words(root: Path, version: str) -> dict[str, SceneWords]:
    """From sample token to its scene, read from the tables; empty where there are none.

    Args:
        root: Folder that holds `<version>/`.
        version: nuScenes version folder.

    Raises:
        AqrExpError: A table is damaged.
    """
    tables = root / version
    if not (tables / "scene.json").is_file() or not (tables / "sample.json").is_file():
        return {}
    scenes = {row["token"]: row["description"] for row in _rows(tables / "scene.json")}
    return {
        row["token"]: SceneWords(
            scene=row["scene_token"], condition=condition_of(scenes[row["scene_token"]])
        )
        for row in _rows(tables / "sample.json")
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise AqrExpError(f"{path} is damaged: {error}") from None
    return list(rows)
