"""The specifications of runs, each read once and only when a table needs it."""

from collections.abc import Mapping, Sequence
from typing import Any

from aqr_exp.config.fields import dotted_keys
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.short_names import keys_set_by
from aqr_exp.errors import AqrExpError
from aqr_exp.results.collect import RunRow
from aqr_exp.results.store import Store

Spec = Mapping[str, Any]


class Specs:
    """What `spec.yaml` of a store's runs hold.

    Args:
        store: Where the runs are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[tuple[str, ...], Spec | None] = {}

    def of_run(self, row: RunRow) -> Spec | None:
        """A run's own; None when it is missing or damaged."""
        return self._once((row.name,), row)

    def of_arm(self, row: RunRow) -> Spec | None:
        """That of the run or of any that shares its identity: they agree on all that counts."""
        return self._once((row.variant, row.fingerprint), row)

    def _once(self, key: tuple[str, ...], row: RunRow) -> Spec | None:
        if key not in self._read:
            try:
                self._read[key] = self._store.folder(row.name).read_spec()
            except AqrExpError:
                self._read[key] = None
        return self._read[key]


def shared_by_an_arm(names: Sequence[str]) -> bool:
    """Whether runs of one identity agree on all these keys, so that reading one of them is enough."""
    excluded = _excluded_keys()
    return not any(key in excluded for name in names for key in keys_set_by(name))


def _excluded_keys() -> set[str]:
    from aqr_exp.config.fields import fields_of

    top = {spec.name for spec in fields_of(RunConfig) if spec.excluded}
    return {
        key
        for key, spec in dotted_keys(RunConfig).items()
        if spec.excluded or key.partition(".")[0] in top
    } | top
