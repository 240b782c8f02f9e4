"""The samples of a split and the scenes they belong to.

Letters: S samples, T scenes.
"""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

_CONDITION_WORDS = {"night": r"\bnight", "rain": r"\brain"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """The samples of a split, in the order of nuScenes' table.

    Attributes:
        tokens: S sample tokens.
        scene: Which scene each is from: its place among `scene_names`.
        scene_names: T names.
        scene_descriptions: T descriptions, which tell the conditions.
    """

    tokens: tuple[str, ...]
    scene: Int[np.ndarray, " S"]
    scene_names: tuple[str, ...]
    scene_descriptions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    def under(self, condition: str) -> Bool[np.ndarray, " S"]:
        """Which samples were taken under a condition.

        Args:
            condition: `night` or `rain`: the scene's description has a word that begins so.
        """
        word = re.compile(_CONDITION_WORDS[condition], re.IGNORECASE)
        scenes = np.array([bool(word.search(text)) for text in self.scene_descriptions], dtype=bool)
        return scenes[self.scene]

    def arrays(self) -> dict[str, np.ndarray]:
        """As arrays, for a file."""
        return {
            "sample_token": np.array(self.tokens, dtype=np.str_),
            "sample_scene": self.scene,
            "scene_name": np.array(self.scene_names, dtype=np.str_),
            "scene_description": np.array(self.scene_descriptions, dtype=np.str_),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Samples":
        """Back from a file.

        Args:
            arrays: What `arrays` gave; others are passed over.
        """
        return cls(
            tokens=tuple(arrays["sample_token"].tolist()),
            scene=arrays["sample_scene"],
            scene_names=tuple(arrays["scene_name"].tolist()),
            scene_descriptions=tuple(arrays["scene_description"].tolist()),
        )
