"""The study of a search: Optuna's trials in a journal that survives a kill in the middle of a line."""

import hashlib
import json
import logging
import math
import os
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, distribution_to_json
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.checksum import KEY, MISFIT
from aqr_exp.files.progress import told
from aqr_exp.files.reading import open_regular
from aqr_exp.sweep.search import GIVEN_UP, REASON, Direction, PruneRule, Search, Strategy


class MendingLock(JournalFileOpenLock):
    """Optuna's lock (exclusive create), which cuts off a line that a killed writer left torn.

    Optuna reads no journal in which another line follows a torn one. The process that is
    about to append holds the lock: no other can be in the middle of a line.
    """

    def __init__(self, journal: str) -> None:
        super().__init__(journal)
        self._journal = journal

    def acquire(self) -> bool:
        """Take the lock, and mend the journal."""
        with told(lambda: f"the lock of {self._journal}"):
            held = super().acquire()
        try:
            _cut_torn_line(self._journal)
        except BaseException:
            self.release()
            raise
        return held


class CheckedJournal(JournalFileBackend):
    """Optuna's journal with a checksum in every line; those that an older version wrote have none."""

    _checked = False

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines."""
        super().append_logs([{**log, KEY: _digest(log)} for log in logs])

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Read lines; raises AqrExpError at one that is damaged."""
        try:
            for log in super().read_logs(log_number_from):
                found = log.pop(KEY, None)
                self._checked |= found is not None
                if self._checked and found != _digest(log):
                    raise ValueError(MISFIT)
                yield log
        except (AttributeError, ValueError) as error:
            raise _damaged(self._file_path, error) from None


def _digest(log: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(log).encode()).hexdigest()


def _damaged(journal: object, error: object) -> AqrExpError:
    return AqrExpError(f"{journal} is damaged: {error}: remove it {_ANEW}")


def _cut_torn_line(path: str) -> None:
    with open(path, "r+b") as journal:  # noqa: PTH123 - Optuna names its files by text
        end = journal.seek(0, os.SEEK_END)
        if end == 0:
            return
        journal.seek(end - 1)
        if journal.read(1) == b"\n":
            return
        journal.seek(0)
        journal.truncate(journal.read().rfind(b"\n") + 1)


SEED = 0
"""The seed of the samplers, together with the number of the trial."""
DIGITS = 4
MEANS = "means"
_ANEW = "to begin anew (its runs are kept)"


class _Rounded(BaseSampler):
    """Rounds decimal numbers that the sampler beside it proposes, within their range.

    The study keeps the rounded numbers: what Optuna learns from is what was trained.
    """

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Values of the keys that are proposed together."""
        sampler: Any = super()
        found = sampler.sample_relative(study, trial, search_space)
        return {key: rounded(value, search_space[key]) for key, value in found.items()}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value of one key."""
        sampler: Any = super()
        value = sampler.sample_independent(study, trial, param_name, param_distribution)
        return rounded(value, param_distribution)


class RoundedTPESampler(_Rounded, optuna.samplers.TPESampler):
    """Proposes near what did well."""


class RoundedRandomSampler(_Rounded, optuna.samplers.RandomSampler):
    """Proposes at random."""


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


class SearchStudy:
    """The trials of one search, shared by every process that works on it.

    A process that changes it holds the sweep's study lease, so that there are never more trials than
    requested. Trials and their states are in the journal alone: a process that dies leaves nothing
    behind that another could not continue.

    Args:
        journal: The file; made when absent.
        log: Where Optuna's own messages go.
        alike: Plain values that all trials have in common, by their names in messages. Trials that differ
            in them cannot be compared.

    Raises:
        RequestError: Optuna is missing, or the study was begun as another search.
        AqrExpError: The journal is damaged.
    """

    def __init__(
        self,
        journal: Path,
        log: Path,
        search: Search,
        alike: Mapping[str, Sequence[str | int]] | None = None,
    ) -> None:
        self.search, self._journal = search, journal
        try:
            _log_to(log)
            open_regular(journal, os.O_RDWR | os.O_CREAT, follow=False).close()
            path = os.fspath(journal)
            backend = CheckedJournal(path, lock_obj=MendingLock(path))
            self._storage = JournalStorage(backend)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name="search",
                direction=search.direction.value,
                load_if_exists=True,
            )
        except OSError as error:
            raise AqrExpError(f"{journal} cannot be used: {error.strerror}") from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _damaged(journal, error) from None
        self._distributions = {item.key: item.distribution for item in search.space}
        self._check_same(journal, alike or {})

    def trials(self) -> list[FrozenTrial]:
        """Every trial, in the order of their numbers; one that a kill left half proposed is whole."""
        trials = self._study.get_trials(deepcopy=False)
        for trial in trials:
            if len(trial.params) == len(self._distributions):
                continue
            if trial.state.is_finished():
                raise _damaged(self._journal, f"trial {trial.number} has lost a value")
            self._propose_rest(trial)
        return self._study.get_trials(deepcopy=False)

    def ask(self) -> FrozenTrial:
        """Propose the next point.

        It depends on the trials so far and its number alone, so that a search that was interrupted
        goes on as it would have.
        """
        self._study.sampler = self._sampler(len(self._study.get_trials(deepcopy=False)))
        return self._frozen(self._study.ask(self._distributions).number)

    def complete(self, number: int, value: float) -> None:
        """Record a trial's objective."""
        self._study.tell(number, value)

    def prune(self, number: int) -> None:
        """Record that a trial was given up."""
        self._study.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, reason: str) -> None:
        """Record that a trial cannot have an objective."""
        self._note(number, REASON, reason)
        self._study.tell(number, state=TrialState.FAIL)

    def give_up(self, number: int, reason: str) -> None:
        """Record the decision to prune, before anything is stopped."""
        self._note(number, GIVEN_UP, reason)

    def _note(self, number: int, key: str, reason: str) -> None:
        self._storage.set_trial_user_attr(self._frozen(number)._trial_id, key, reason)  # noqa: SLF001

    def report(self, number: int, epoch: int, value: float) -> None:
        """Record an intermediate value."""
        trial_id = self._frozen(number)._trial_id  # noqa: SLF001
        self._storage.set_trial_intermediate_value(trial_id, epoch, value)

    def hopeless(self, number: int, baseline: float | None) -> bool:
        """Ask Optuna whether to prune a trial at its newest intermediate value.

        Args:
            baseline: The baseline's value at the same epoch, for the rule that needs it.
        """
        pruner = self._pruner(baseline)
        return pruner is not None and bool(pruner.prune(self._study, self._frozen(number)))

    def _pruner(self, baseline: float | None) -> optuna.pruners.BasePruner | None:
        pruning = self.search.pruning
        if pruning is None:
            return None
        first = pruning.after_epochs
        if pruning.rule is PruneRule.MEDIAN:
            return optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=first)
        if pruning.rule is PruneRule.ASHA:
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=2)
        if baseline is None:
            return None
        more = self.search.direction is Direction.MAXIMIZE
        return optuna.pruners.ThresholdPruner(
            lower=baseline - pruning.margin if more else None,
            upper=None if more else baseline + pruning.margin,
            n_warmup_steps=first,
        )

    def _sampler(self, number: int) -> BaseSampler:
        seed = SEED + number
        if self.search.strategy is Strategy.OPTUNA:
            # Trials that run side by side keep away from each other's points.
            return RoundedTPESampler(seed=seed, constant_liar=True)
        return RoundedRandomSampler(seed=seed)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _propose_rest(self, trial: FrozenTrial) -> None:
        """Propose what a killed process did not get to: the same values as it would have."""
        self._study.sampler = self._sampler(trial.number)
        begun = optuna.trial.Trial(self._study, trial._trial_id)  # noqa: SLF001
        for key, distribution in self._distributions.items():
            begun._suggest(key, distribution)  # noqa: SLF001 - as `Study.ask` does

    def _check_same(self, journal: Path, alike: Mapping[str, Sequence[str | int]]) -> None:
        """Refuse a search that is not the one the study was begun with."""
        space = {key: distribution_to_json(item) for key, item in self._distributions.items()}
        means = {
            "space": space,
            "objective": self.search.objective,
            "direction": self.search.direction.value,
            **{word: list(values) for word, values in alike.items()},
        }
        begun = self._study.user_attrs.get(MEANS)
        if begun is None:
            self._study.set_user_attr(MEANS, means)
            return
        # Studies that were begun before a word was written down do not have it.
        different = [word for word, value in means.items() if begun.get(word, value) != value]
        if different:
            raise RequestError(
                f"{' and '.join(different)}: not what this search was begun with: give the sweep "
                f"another name, or remove {journal} {_ANEW}"
            )


def _log_to(log: Path) -> None:
    """Let Optuna speak to a file, and not over what is shown."""
    optuna.logging.disable_default_handler()
    if os.path.lexists(log):
        open_regular(log, follow=False).close()
    logger = logging.getLogger("optuna")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handler = logging.FileHandler(log, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
