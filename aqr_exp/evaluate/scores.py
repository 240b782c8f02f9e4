"""Average precisions and errors of each class, and what nuScenes makes of them.

Letters: R evaluations (weightings of the same matches).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.protocol import ERROR_NAMES, MAP_WEIGHT

ALL_LABELS = tuple(range(len(CLASS_NAMES)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """The parts that every metric is an average of.

    Attributes:
        ap: Average precision by class and match distance, in [0, 1].
        errors: True-positive errors by class, as `ERROR_NAMES`; NaN where the class has no such
            error, 1 where nothing was found.
        truths: Ground truths by class.
        samples: How many samples.
    """

    ap: Float[np.ndarray, "R 10 4"]
    errors: Float[np.ndarray, "R 10 5"]
    truths: Int[np.ndarray, "R 10"]
    samples: Int[np.ndarray, " R"]

    def class_ap(self) -> Float[np.ndarray, "R 10"]:
        """AP by class, over the four distances."""
        return self.ap.mean(axis=2)

    def mean_ap(self, labels: Sequence[int] = ALL_LABELS) -> Float[np.ndarray, " R"]:
        """Mean of the classes' AP: mAP.

        Args:
            labels: The classes it is the mean of.
        """
        return self.class_ap()[:, list(labels)].mean(axis=1)

    def mean_errors(self, labels: Sequence[int] = ALL_LABELS) -> Float[np.ndarray, "R 5"]:
        """The five errors over the classes that have them; NaN where none does.

        Args:
            labels: The classes they are means of.
        """
        errors = self.errors[:, list(labels)]
        has = ~np.isnan(errors)
        total = np.where(has, errors, 0.0).sum(axis=1)
        count = has.sum(axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def nds(self, labels: Sequence[int] = ALL_LABELS) -> Float[np.ndarray, " R"]:
        """The nuScenes detection score; NaN where an error is.

        Args:
            labels: The classes its parts are means of.
        """
        quality = np.maximum(1.0 - self.mean_errors(labels), 0.0)
        total = MAP_WEIGHT * self.mean_ap(labels) + quality.sum(axis=1)
        return total / (MAP_WEIGHT + len(ERROR_NAMES))

    def metrics(
        self, labels: Sequence[int] = ALL_LABELS, evaluation: int = 0
    ) -> dict[str, float | int]:
        """The metrics of one evaluation by the field's names.

        Args:
            labels: The classes that count.
            evaluation: Which of the R evaluations.

        Returns:
            `mAP`, `NDS`, the five errors, `AP/<class>` and `gt/<class>` for the classes that count,
            `samples`.
        """
        errors = self.mean_errors(labels)[evaluation]
        class_ap, truths = self.class_ap()[evaluation], self.truths[evaluation]
        names = [(label, CLASS_NAMES[label]) for label in labels]
        return {
            "mAP": float(self.mean_ap(labels)[evaluation]),
            "NDS": float(self.nds(labels)[evaluation]),
            **{name: float(error) for name, error in zip(ERROR_NAMES, errors, strict=True)},
            **{f"AP/{name}": float(class_ap[label]) for label, name in names},
            **{f"gt/{name}": int(truths[label]) for label, name in names},
            "samples": int(self.samples[evaluation]),
        }
