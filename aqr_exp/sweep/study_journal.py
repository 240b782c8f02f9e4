"""The file a study is kept in: Optuna's journal, whole again after a kill in the middle of a line."""

import os
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock


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
