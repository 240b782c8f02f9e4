"""The cost of forward passes, measured in a process of its own for several runs in turn."""

import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.launch.answering import answering, answers, last_words
from aqr_exp.launch.hardware import machine
from aqr_exp.launch.slots import THREAD_VARIABLES, usable_cores
from aqr_exp.results.cost_file import Cost, cost_of, write_cost
from aqr_exp.results.run_folder import RunFolder, utc_now

MODULE = "aqr_exp.train.measure_cost"
Step = Callable[[int, int], None]
"""Told how many steps are done, of how many."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one run's measurement.

    Attributes:
        name: The run.
        cost: What was measured; it is in the run's folder.
        fault: Why nothing was.
    """

    name: str
    cost: Cost | None = None
    fault: str | None = None


def measure_together(
    folders: Sequence[RunFolder], *, passes: int, samples: int, step: Step
) -> Iterator[Outcome]:
    """Measure runs pass by pass in turn, and write down in each folder what was found.

    Args:
        folders: The runs' folders.
        passes: Timed passes of each.
        samples: Samples of the validation split that they go through.
        step: Told about progress.

    Yields:
        One for each run, in no certain order.

    Raises:
        OSError: The process could not be started, or a result not be written.
    """
    waiting = {folder.name: folder for folder in folders}
    threads = usable_cores()
    arguments = [*(str(folder.path) for folder in folders), "--threads", str(threads)]
    arguments += ["--passes", str(passes), "--samples", str(samples)]
    shared = {"call": secrets.token_hex(8), "measured": utc_now()}
    # NumPy's and OpenMP's own threads would only fight with torch's, which are set run by run.
    environment = dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="aqr-exp-cost-") as place:
        log = Path(place) / "log"
        with answering(MODULE, arguments, log, environment) as process:
            for answer in answers(process):
                if "name" not in answer:
                    step(answer["done"], answer["total"])
                    continue
                yield _outcome(waiting.pop(answer["name"]), answer, shared)
            if waiting:
                fault = last_words(process.wait(), log)
                yield from (Outcome(name=name, fault=fault) for name in waiting)


def _outcome(folder: RunFolder, answer: Mapping[str, Any], shared: Mapping[str, str]) -> Outcome:
    if "fault" in answer:
        return Outcome(name=folder.name, fault=answer["fault"])
    found = {name: value for name, value in answer.items() if name != "name"}
    hardware = machine() | {name: found.pop(name) for name in ("device", "threads")}
    cost = cost_of({**found, **shared, "hardware": hardware})
    write_cost(folder.cost_path, cost)
    return Outcome(name=folder.name, cost=cost)
