"""The one exception root of the command line, and the faults that a wrong request carries."""

from dataclasses import dataclass

INTERRUPTED = 130
"""Exit code of a process that a signal or a request stopped."""


class AqrExpError(Exception):
    """An error a user can act on: shown without a traceback, one line a fault.

    Attributes:
        exit_code: What the process exits with (1 a run failed, 2 the request was wrong).
    """

    exit_code = 1


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a request; as text the line `where: key=value: rule`.

    Attributes:
        key: The key the line begins with, as typed or dotted; empty where the rule names it.
        value: Its value as shown; None shows the key alone.
        rule: What is wrong, or what is allowed.
        hint: The nearest match or a remedy, added to the rule as it is.
        where: File and line, or the file; empty for what was typed.
        about: Further keys it concerns, which need not be in the text.
    """

    key: str = ""
    value: str | None = None
    rule: str = ""
    hint: str = ""
    where: str = ""
    about: tuple[str, ...] = ()

    def __str__(self) -> str:
        subject = self.key if self.value is None else f"{self.key}={self.value}"
        return ": ".join(filter(None, (self.where, subject, self.rule + self.hint)))


class RequestError(AqrExpError):
    """The request itself was wrong; nothing was started and nothing was left behind.

    Args:
        faults: Everything that is wrong; a text is a fault of its own. Equal ones are kept once.

    Attributes:
        faults: The same, as objects.
    """

    exit_code = 2

    def __init__(self, *faults: Fault | str) -> None:
        super().__init__(*faults)
        objects = (item if isinstance(item, Fault) else Fault(rule=item) for item in faults)
        self.faults = tuple(dict.fromkeys(objects))

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


class RunFailedError(AqrExpError):
    """A run was started and failed; its folder says why."""
