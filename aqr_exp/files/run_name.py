"""Names of runs and of their folders: `<variant>-<fingerprint>-s<seed>`, for a rerun with `-a<number>`."""

import re
from dataclasses import dataclass

_NAME = re.compile(r"(.+)-([^-]+)-s(0|[1-9][0-9]*)(?:-a([2-9]|[1-9][0-9]+))?")


@dataclass(frozen=True, order=True)
class RunName:
    """A run's name in its parts; names are ordered by number, `-a2` before `-a10`.

    Attributes:
        variant: The variant.
        fingerprint: The identity without the seed.
        seed: The replicate.
        rerun: 1 for the original; from 2 for what `run --force` made beside it.
    """

    variant: str
    fingerprint: str
    seed: int
    rerun: int = 1

    @staticmethod
    def parse(text: str) -> "RunName | None":
        """Read a folder's name; None when it is not a run's."""
        found = _NAME.fullmatch(text)
        if found is None:
            return None
        variant, fingerprint, seed, rerun = found.groups()
        return RunName(variant, fingerprint, int(seed), int(rerun or 1))

    def __str__(self) -> str:
        """The name of the run's folder."""
        return self.first if self.rerun == 1 else f"{self.first}-a{self.rerun}"

    @property
    def arm(self) -> str:
        """`<variant>-<fingerprint>`: what all seeds of an arm begin with."""
        return f"{self.variant}-{self.fingerprint}"

    @property
    def first(self) -> str:
        """The name of the original of all reruns."""
        return f"{self.arm}-s{self.seed}"


def arm_of(name: str) -> str:
    """The arm a run belongs to; a name that is not a run's is an arm of its own."""
    parsed = RunName.parse(name)
    return parsed.arm if parsed else name


def first_of(name: str) -> str:
    """The original that a run repeats; itself when it repeats none."""
    parsed = RunName.parse(name)
    return parsed.first if parsed else name


def rerun_of(name: str) -> int:
    """The number of a rerun, from 1; 0 for a name that is not a run's."""
    parsed = RunName.parse(name)
    return parsed.rerun if parsed else 0
