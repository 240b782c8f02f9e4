"""The one exception root of the command line: each error is one line and an exit code."""


class AqrExpError(Exception):
    """An error a user can act on: shown as one line, without a traceback.

    Attributes:
        exit_code: What the process exits with (1 a run failed, 2 the request was wrong).
    """

    exit_code = 1


class RequestError(AqrExpError):
    """The request itself was wrong; nothing was started and nothing was left behind."""

    exit_code = 2


class RunFailedError(AqrExpError):
    """A run was started and failed; its folder says why."""

    exit_code = 1
