"""Commands killed at random moments: the same command goes on, and ends with the same bytes."""

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest
from campaign import campaign
from killing import Begun, contents, leave_dead
from workplace import LASTS


class Job:
    """A command with what it works on, and what it leaves where nothing disturbs it.

    Args:
        place: A folder for the undisturbed one.
        words: What is typed; `FOLDER` stands for what it works on.
        begin: Makes what it works on.
        result: Reads what it has left.
        lease: What a process holds that does it, below that folder.
    """

    def __init__(
        self,
        place: Path,
        words: Sequence[str],
        begin: Callable[[Path], object],
        lease: str,
        result: Callable[[Path], dict] = contents,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._words, self.begin, self.result, self._environment = words, begin, result, environment
        self.lease = lease
        folder = place / "undisturbed"
        begin(folder)
        self.lasts_s = self.undisturbed(folder)
        self.reference = result(folder)

    def started(self, folder: Path) -> Begun:
        words = [word.replace("FOLDER", str(folder)) for word in self._words]
        environment = {"AQR_EXP_RESULTS": str(folder), **self._environment}
        return Begun(words, folder.with_suffix(".log"), environment)

    def undisturbed(self, folder: Path) -> float:
        """Let it run to its end; returns how long that took, in seconds."""
        began, started = time.monotonic(), self.started(folder)
        assert started.end() == 0, started.said()
        return time.monotonic() - began


@pytest.fixture(scope="module")
def synth(tmp_path_factory: pytest.TempPathFactory) -> Job:
    sizes = ("--train-scenes", "1", "--val-scenes", "1", "--keyframes", "1", "--workers", "1")
    words = ("data", "synth", "--root", "FOLDER/a; set", *sizes)
    return Job(tmp_path_factory.mktemp("synth"), words, Path.mkdir, ".a; set.lease")


@pytest.fixture(scope="module")
def prepare(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    def begin(folder: Path) -> None:
        shutil.copytree(data / "synth", folder / "a; set", copy_function=os.link)
        shutil.rmtree(folder / "a; set" / "aqr_infos")

    words = ("data", "prepare", "--root", "FOLDER/a; set", "--workers", "1")
    return Job(tmp_path_factory.mktemp("prepare"), words, begin, "a; set/aqr_infos/.lease")


@pytest.fixture(scope="module")
def evaluate(data: Path, trained: Callable, tmp_path_factory: pytest.TempPathFactory) -> Job:
    run = trained("baseline", *LASTS)

    def begin(folder: Path) -> None:
        shutil.copytree(run, folder / "runs" / run.name)

    def result(folder: Path) -> dict:
        found: dict = contents(folder / "runs" / run.name)
        found.pop("logs/failures.log", None)
        for name in [name for name in found if name.endswith("metrics.json")]:
            metrics = json.loads(found[name])
            kept = metrics.keys() - {"evaluate_time_s", "checksum"}  # a clock's, and what covers it
            found[name] = {key: metrics[key] for key in kept}
        return found

    words = ("eval", "baseline", "--failures", "lidar_drop@empty,beams@4")
    place, where = tmp_path_factory.mktemp("eval"), {"AQR_EXP_DATA": str(data)}
    return Job(place, words, begin, f"runs/{run.name}/.failures", result, where)


def attack(job: Job, folder: Path, seed: int, kills: int, at_once: int) -> None:
    """Kill a command as often, each time begun again where it was left, then let two end at once."""
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    job.begin(folder)
    while kills:
        begun = [job.started(folder) for _ in range(at_once)]
        killed = begun[0].kill_within(job.lasts_s, draw)
        kills -= killed
        for other in begun[1:]:
            assert_ended(other)
        if not killed:  # it was faster
            job.undisturbed(folder)
            assert job.result(folder) == job.reference
            shutil.rmtree(folder)
            job.begin(folder)
    for one in [job.started(folder) for _ in range(2)]:
        assert_ended(one)
    leave_dead(folder / job.lease)  # as if one had been killed when all was done
    job.undisturbed(folder)
    assert job.result(folder) == job.reference


def assert_ended(one: Begun) -> None:
    """It has done its work, or said who does."""
    code = one.end()
    assert code == 0 or "is worked on by process" in one.said(), one.said()


@pytest.mark.parametrize(
    "name", ["synth", "prepare", pytest.param("evaluate", marks=pytest.mark.slow)]
)
def test_after_a_kill_the_same_command_ends_right_twice_at_once(name, tmp_path, request):
    attack(request.getfixturevalue(name), tmp_path / "it's", seed=2, kills=1, at_once=1)


@campaign(20)
@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("name", ["synth", "prepare", "evaluate"])
def test_after_many_kills_the_same_command_ends_right(name, at_once, seed, tmp_path, request):
    attack(request.getfixturevalue(name), tmp_path / "it's", seed=seed, kills=3, at_once=at_once)
