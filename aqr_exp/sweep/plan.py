"""A plan: the runs a sweep means, each once, in order. It changes nothing; launching carries it out."""

from dataclasses import dataclass

from aqr_exp.config.schema import RunConfig

POINT = "point"
BASELINE = "baseline"


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a plan.

    Attributes:
        variant: Its arm.
        overrides: What would be typed after the variant to get the same run, without the seed.
        seed: Its replicate.
        config: The complete, checked configuration, with the identity of its data.
        name: Its folder's name, and its identity: no other run of the plan has it.
        labels: Why it is in the plan: `point`, `baseline`, or both.
        expected_s: How long it is expected to train, in seconds; None when nothing tells.
    """

    variant: str
    overrides: tuple[str, ...]
    seed: int
    config: RunConfig
    name: str
    labels: tuple[str, ...]
    expected_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of a sweep.

    Attributes:
        name: The sweep's name.
        runs: Unique by name, in the order of the sweep.
        collapsed: Points that were the same run as an earlier one.
        skipped: Points that a condition of the sweep left out.
    """

    name: str
    runs: tuple[PlannedRun, ...]
    collapsed: int = 0
    skipped: int = 0
