"""The file a study is kept in: Optuna's journal, whole again after a kill in the middle of a line."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from aqr_exp.config.compose import Override
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.sweep.request import Dimension, Direction, PruneRule, Search, Strategy

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


class MendingLock(JournalFileOpenLock):
    """Optuna's lock (exclusive create), which cuts off a line that a killed writer left torn.

    Optuna reads no journal in which another line follows a torn one. Whoever is about to append
    holds the lock: nobody else can be in the middle of a line.

    Args:
        journal: The journal's path.
    """

    def __init__(self, journal: str) -> None:
        super().__init__(journal)
        self._journal = journal

    def acquire(self) -> bool:
        """Take the lock, and mend the journal."""
        held = super().acquire()
        try:
            _cut_torn_line(self._journal)
        except BaseException:
            self.release()
            raise
        return held


def open_journal(path: Path) -> JournalStorage:
    """The storage in a journal.

    Args:
        path: The file; made when absent, its folder exists.
    """
    journal = os.fspath(path)
    return JournalStorage(JournalFileBackend(journal, lock_obj=MendingLock(journal)))


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


REMEDY = "a search needs optuna: pip install 'aqr-exp[search]' (or make setup)"
SEED = 0
"""What the samplers are seeded with, together with the number of the trial."""
GIVEN_UP = "given_up"
REASON = "reason"
MEANS = "means"
_ANEW = "to begin anew (its runs are kept)"


class TrialState(str, Enum):
    """How far a trial is."""

    OPEN = "open"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One proposed point.

    Attributes:
        number: Counts from 0.
        values: One override for each key of the space.
        state: How far it is.
        value: Its objective; of a pruned one what was last reported.
        given_up: Why it was decided to prune it; the decision stands however its runs end.
        reason: Why it failed.
        reported: Intermediate values by epoch.
    """

    number: int
    values: tuple[Override, ...]
    state: TrialState
    value: float | None
    given_up: str | None
    reason: str | None
    reported: Mapping[int, float]


def check_installed() -> None:
    """Refuse a search where Optuna is missing.

    Raises:
        RequestError: Says what to install.
    """
    import importlib.util

    if importlib.util.find_spec("optuna") is None:
        raise RequestError(REMEDY)


class SearchStudy:
    """The trials of one search, shared by every process that works on it.

    Whoever changes it holds the sweep's study lease, so that there are never more trials than asked
    for. What a trial is and how it stands is in the journal alone: a process that dies leaves
    nothing behind that another could not go on with.

    Args:
        journal: The file; made when absent.
        log: Where Optuna's own messages go.
        search: What is searched.
        alike: What all trials have in common beside it, by what messages call it; plain values.
            Values of trials that differ in it cannot be compared.

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
        check_installed()
        import optuna

        _log_to(log)
        self.search = search
        try:
            self._storage = open_journal(journal)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name="search",
                direction=search.direction.value,
                load_if_exists=True,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise AqrExpError(f"{journal} is damaged: {error!r}: remove it {_ANEW}") from None
        self._id = self._storage.get_study_id_from_name("search")
        self._distributions = {item.key: _distribution(item) for item in search.space}
        self._halving: Any = None
        self._check_same(journal, alike or {})

    def trials(self) -> list[Trial]:
        """Every trial, in the order of their numbers; one that a kill left half proposed is whole."""
        return [self._trial(frozen) for frozen in self._study.get_trials(deepcopy=False)]

    def ask(self) -> Trial:
        """Propose the next point.

        It depends on the trials so far and its number alone, so that a search that was interrupted
        goes on as it would have.
        """
        number = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = self._sampler(number)
        return self._trial(self._frozen(self._study.ask(self._distributions).number))

    def complete(self, number: int, value: float) -> None:
        """Tell a trial's objective."""
        self._study.tell(number, value)

    def prune(self, number: int) -> None:
        """Tell that a trial was given up."""
        import optuna

        self._study.tell(number, state=optuna.trial.TrialState.PRUNED)

    def fail(self, number: int, reason: str) -> None:
        """Tell that a trial is no point that can have an objective."""
        import optuna

        self._storage.set_trial_user_attr(self._frozen(number)._trial_id, REASON, reason)  # noqa: SLF001
        self._study.tell(number, state=optuna.trial.TrialState.FAIL)

    def give_up(self, number: int, reason: str) -> None:
        """Note the decision to prune, before anything is stopped."""
        self._storage.set_trial_user_attr(self._frozen(number)._trial_id, GIVEN_UP, reason)  # noqa: SLF001

    def report(self, number: int, epoch: int, value: float) -> None:
        """Note an intermediate value."""
        trial_id = self._frozen(number)._trial_id  # noqa: SLF001
        self._storage.set_trial_intermediate_value(trial_id, epoch, value)

    def hopeless(self, number: int, baseline: float | None) -> bool:
        """Whether Optuna would prune a trial at its newest intermediate value.

        Args:
            number: The trial.
            baseline: The baseline's value at the same epoch, for the rule that needs it.
        """
        pruner = self._pruner(baseline)
        return pruner is not None and bool(pruner.prune(self._study, self._frozen(number)))

    def _pruner(self, baseline: float | None) -> "optuna.pruners.BasePruner | None":
        import optuna

        pruning = self.search.pruning
        if pruning is None:
            return None
        first = pruning.after_epochs
        if pruning.rule is PruneRule.MEDIAN:
            return optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=first)
        if pruning.rule is PruneRule.ASHA:
            self._halving = self._halving or optuna.pruners.SuccessiveHalvingPruner(
                min_resource=first, reduction_factor=2
            )
            return self._halving  # type: ignore[no-any-return]
        if baseline is None:
            return None
        more = self.search.direction is Direction.MAXIMIZE
        return optuna.pruners.ThresholdPruner(
            lower=baseline - pruning.margin if more else None,
            upper=None if more else baseline + pruning.margin,
            n_warmup_steps=first,
        )

    def _sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        import optuna

        from aqr_exp.sweep.rounded_sampler import RoundedSampler

        seed = SEED + number
        if self.search.strategy is Strategy.OPTUNA:
            # Trials that run side by side keep away from each other's points.
            return RoundedSampler(optuna.samplers.TPESampler(seed=seed, constant_liar=True))
        return RoundedSampler(optuna.samplers.RandomSampler(seed=seed))

    def _frozen(self, number: int) -> "optuna.trial.FrozenTrial":
        return self._study.get_trials(deepcopy=False)[number]

    def _trial(self, frozen: "optuna.trial.FrozenTrial") -> Trial:
        import optuna

        states = {
            optuna.trial.TrialState.COMPLETE: TrialState.COMPLETE,
            optuna.trial.TrialState.PRUNED: TrialState.PRUNED,
            optuna.trial.TrialState.FAIL: TrialState.FAILED,
        }
        state = states.get(frozen.state, TrialState.OPEN)
        params = frozen.params
        if state is TrialState.OPEN and len(params) < len(self._distributions):
            params = self._proposed_whole(frozen)
        return Trial(
            number=frozen.number,
            values=tuple(item.override(params[item.key]) for item in self.search.space),
            state=state,
            value=frozen.values[0] if frozen.values else None,
            given_up=frozen.user_attrs.get(GIVEN_UP),
            reason=frozen.user_attrs.get(REASON),
            reported=frozen.intermediate_values,
        )

    def _proposed_whole(self, frozen: "optuna.trial.FrozenTrial") -> dict[str, Any]:
        """Propose what a killed process did not get to: the same values as it would have."""
        import optuna

        self._study.sampler = self._sampler(frozen.number)
        trial = optuna.trial.Trial(self._study, frozen._trial_id)  # noqa: SLF001
        for item in self.search.space:
            _suggest(trial, item)
        return trial.params

    def _check_same(self, journal: Path, alike: Mapping[str, Sequence[str | int]]) -> None:
        """Refuse a search that is not the one the study was begun with."""
        from optuna.distributions import distribution_to_json

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


def _distribution(item: Dimension) -> "BaseDistribution":
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if item.low is None or item.high is None:
        return CategoricalDistribution([choice.text for choice in item.choices])
    if item.whole:
        return IntDistribution(
            int(item.low), int(item.high), log=item.log, step=int(item.step or 1)
        )
    return FloatDistribution(item.low, item.high, log=item.log, step=item.step)


def _suggest(trial: "optuna.trial.Trial", item: Dimension) -> None:
    if item.low is None or item.high is None:
        trial.suggest_categorical(item.key, [choice.text for choice in item.choices])
    elif item.whole:
        step = int(item.step or 1)
        trial.suggest_int(item.key, int(item.low), int(item.high), log=item.log, step=step)
    else:
        trial.suggest_float(item.key, item.low, item.high, log=item.log, step=item.step)


def _log_to(log: Path) -> None:
    """Let Optuna speak to a file, and not over what is shown."""
    import optuna

    optuna.logging.disable_default_handler()
    logger = logging.getLogger("optuna")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handler = logging.FileHandler(log, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
