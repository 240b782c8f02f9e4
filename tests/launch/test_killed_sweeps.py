"""Confirmations, searches and sweeps that are killed, damaged or refused: the same command goes on."""

import json
import os
import random
import shlex
import shutil
import signal
from pathlib import Path

import forked
import pytest
from campaign import campaign
from damages import ALONE
from killing import Begun
from made_up_data import write_identity
from stub_trial import read_trial_audit
from test_hostile_places import DISK, assert_goes_on, needs
from test_shared_sweeps import Place, end_round, wait_until

from aqr_exp.cli.main import main
from aqr_exp.files.atomic import clear_litter

SEARCH = """\
variant: attention_bias
strategy: optuna
trials: 5
search:
  bias_scale: tag(log, interval(0.5, 10))
fixed: {learnable_scale: false, preset: smoke}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where stand-in trainings are forks, and `it.yaml` is a search."""
    folder = tmp_path / "it's; echo $HOME"
    folder.mkdir()
    (folder / "it.yaml").write_text(SEARCH)
    monkeypatch.chdir(folder)
    write_identity(folder / "data" / "synth")
    for name in ("AQR_EXP_DATA", "AQR_EXP_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", '["stub_trial"]')  # so that it is not tried first
    monkeypatch.setenv("STUB_MODULE", "stub_trial")
    monkeypatch.setenv("STUB_AUDIT", str(folder / "audit.jsonl"))
    forked.be_quick(monkeypatch.setattr)
    return folder


def left_in(results: Path) -> dict[str, bytes]:
    """Every file and folder of the results, and the content of the metrics: no clock is in it."""
    found = {path.relative_to(results).as_posix(): path for path in sorted(results.rglob("*"))}
    return {
        name: found[name].read_bytes() if name.endswith("metrics.json") else b"" for name in found
    }


def confirmed(place: Path, capsys: pytest.CaptureFixture[str], seed: int, kills: int) -> None:
    """Kill `confirm` as often; in the end its report and what it leaves are as without."""
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    swept = ["attention_bias", "bias_scale=1,2", "preset=smoke", "learnable_scale=false"]
    assert main(["sweep", *swept, "--slots", "2"]) == 0
    results = place / "results"
    (sweep,) = (path.name for path in (results / "sweeps").iterdir())
    command = ["confirm", sweep, "--best", "1", "--seeds", "3", "--format", "csv"]
    shutil.copytree(results, place / "swept")
    assert main(command) == 0
    capsys.readouterr()
    assert main(command) == 0  # nothing is left to do
    expected, report = left_in(results), capsys.readouterr().out
    shutil.rmtree(results)
    shutil.copytree(place / "swept", results)
    while kills:
        begun = Begun(command, place / "log", program=(forked.__file__,))
        kills -= begun.kill_within(2.0, draw)
    clear_litter.cache_clear()  # what a process does once, for all that were killed before it
    assert main(command) == 0
    assert capsys.readouterr().out == report
    assert left_in(results) == expected


def test_a_killed_confirmation_goes_on_and_reports_the_same(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    confirmed(place, capsys, 0, kills=2)


@campaign(30)
def test_many_kills_of_a_confirmation(
    place: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    confirmed(place, capsys, seed, kills=5)


def trials(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[int, tuple], str]:
    """Exit code of asking for a search's trials, what is said of each, and messages."""
    capsys.readouterr()
    code = main(["sweep", "it.yaml", "--dry-run", "--json"])
    out, err = capsys.readouterr()
    found = json.loads(out)["trials"] if code == 0 else []
    return (
        code,
        {one["number"]: (one["overrides"], one["state"], one["value"]) for one in found},
        err,
    )


def begun(place: Path) -> list[str]:
    audit = read_trial_audit(place / "audit.jsonl")
    return [name for event, name, _ in audit if event == "begins"]


def spoil(place: Path, capsys: pytest.CaptureFixture[str], seed: int, count: int) -> None:
    """Damage a search's journal as often: no trial is shown with a number that is not its own."""
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    assert main(["sweep", "it.yaml", "--slots", "2"]) == 0
    _, whole, _ = trials(capsys)
    assert [state for _, state, _ in whole.values()] == ["complete"] * 5
    ran, journal = begun(place), place / "results" / "sweeps" / "it" / "study.journal"
    shutil.copytree(journal.parent, place / "kept")
    for _ in range(count):
        damage = draw.choice([*ALONE, drop_line, change_number, change_number])
        damage(journal, draw)
        for command in (["sweep", "it.yaml", "--dry-run"], ["sweep", "it.yaml", "--slots", "2"]):
            code, found, err = trials(capsys)
            for number, one in found.items():
                assert one == whole[number] or one[1:] == ("open", None), (damage, one)
            assert code == 0 or is_line_on(err, journal), (damage, err)
            code = main(command)
            assert code == 0 or is_line_on(capsys.readouterr().err, journal), damage
        if code:
            remove(journal)
            assert main(["sweep", "it.yaml", "--slots", "2"]) == 0
        assert trials(capsys)[:2] == (0, whole), damage
        assert begun(place) == ran, damage  # the same points were proposed: their runs were kept
        shutil.rmtree(journal.parent)
        shutil.copytree(place / "kept", journal.parent)


def killed(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def is_line_on(err: str, journal: Path) -> bool:
    """A line that names the journal."""
    (line,) = [line for line in err.splitlines() if line.startswith("aqr-exp: ")]
    return "results/sweeps/it/study.journal" in line and "internal error" not in line


def drop_line(path: Path, draw: random.Random) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[draw.randrange(len(lines))]
    path.write_bytes(b"".join(lines))


def change_number(path: Path, draw: random.Random) -> None:
    """One digit becomes another one: still JSON."""
    content = bytearray(path.read_bytes())
    digits = [at for at, byte in enumerate(content) if chr(byte).isdigit()]
    content[draw.choice(digits)] = ord(draw.choice("0123456789"))
    path.write_bytes(content)


def test_a_damaged_journal_shows_no_wrong_objective(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(place, capsys, 0, 4)


@campaign(20)
def test_many_damages_of_a_journal(
    place: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    spoil(place, capsys, seed, 20)


def refuse(folder: Path, seed: int) -> None:
    """A sweep whose results become read-only while it runs; when they can be written again, it goes on.

    A mount over the results does what `remount,ro` does, also while files are open for writing.
    """
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    place = Place(folder, runs=6, slots=3, plan={"*": {"sleep_s": 0.3}})
    launcher, root = shlex.join(place.command), shlex.quote(str(place.root))
    log, copy = folder / "refused.log", folder / "copy"
    script = f"""
        mount -t tmpfs -o size=64m some {root}
        {launcher} > {shlex.quote(str(log))} 2>&1 &
        while ! test -e {root}/runs; do sleep 0.02; done
        sleep {draw.uniform(0.0, 1.0)}
        mount --bind {root} {root} && mount -o remount,bind,ro {root}
        wait $!; echo "$?" > {shlex.quote(str(folder / "first"))}
        umount {root}
        {launcher} && cp -r {root} {shlex.quote(str(copy))}
    """
    assert_goes_on(place, script, log, copy)


def test_a_sweep_goes_on_when_its_results_can_be_written_again(tmp_path: Path) -> None:
    needs(DISK)
    refuse(tmp_path, 0)


@campaign(40)
def test_many_moments_at_which_results_become_read_only(tmp_path: Path, seed: int) -> None:
    needs(DISK)
    refuse(tmp_path, seed)


@campaign(1)
def test_eight_launchers_share_a_thousand_runs_under_kills(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    place = Place(tmp_path, runs=int(os.environ.get("SOAK_RUNS", "1000")), slots=16, plan={})
    launchers, kills = [place.launch() for _ in range(8)], 0
    for part in range(1, 9):
        done = part * place.runs // 10
        wait_until(lambda least=done: len(place.names("completed")) >= least)
        workers = place.workers()
        if workers and draw.random() < 0.5:
            kills += killed(draw.choice(workers))
        else:
            kills += killed(launchers[part - 1].pid)
            launchers.append(place.launch())
    end_round(place, launchers, kills, f"seed {seed}")
    assert len(place.names("completed")) == place.runs
