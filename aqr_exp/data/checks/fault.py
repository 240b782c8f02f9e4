"""One thing that is wrong with a data set."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, order=True)
class Fault:
    """One fault.

    Attributes:
        file: The file it is in, relative to the data set's folder.
        kind: What sort of fault, the same words for all of the sort.
        cause: What is wrong there, with the row's token where it is one of a table.
    """

    file: str
    kind: str
    cause: str

    def __str__(self) -> str:
        return f"{self.file}: {self.cause}"
