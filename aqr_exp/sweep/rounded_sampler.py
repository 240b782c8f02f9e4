"""Proposed numbers as people write them: four digits are enough, and can be typed again."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

DIGITS = 4


class RoundedSampler(BaseSampler):
    """Proposes what another sampler does, decimal numbers rounded within their range.

    The study keeps the rounded numbers: what Optuna learns from is what was trained.

    Args:
        sampler: Who proposes.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The keys that are proposed together."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: Mapping[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Values of the keys that are proposed together."""
        found = self._sampler.sample_relative(study, trial, dict(search_space))
        return {key: rounded(value, search_space[key]) for key, value in found.items()}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value of one key."""
        value = self._sampler.sample_independent(study, trial, param_name, param_distribution)
        return rounded(value, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """A trial begins."""
        self._sampler.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """A trial was told."""
        self._sampler.after_trial(study, trial, state, values)


def rounded(value: Any, distribution: BaseDistribution) -> Any:
    """A proposed value, rounded when it is a decimal number that no step determines."""
    if not isinstance(distribution, FloatDistribution) or distribution.step is not None:
        return value
    # As many decimals as tell four digits of the number, and of the range where that is narrow.
    magnitude = min(abs(value) or math.inf, distribution.high - distribution.low or math.inf)
    if not math.isfinite(magnitude):
        return value
    near = round(value, DIGITS - 1 - math.floor(math.log10(magnitude)))
    return min(max(near, distribution.low), distribution.high)
