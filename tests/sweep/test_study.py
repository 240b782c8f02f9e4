import json
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.sweep import report
from aqr_exp.sweep.search import (
    GIVEN_UP,
    REASON,
    Direction,
    PruneRule,
    Pruning,
    Search,
    Strategy,
    check_installed,
    read_dimension,
)
from aqr_exp.sweep.study import SearchStudy, rounded

SCALE = read_dimension("bias_scale", "tag(log, interval(0.5, 10))", {})
EPOCHS = read_dimension("schedule.epochs", "range(2, 10, 2)", {})
WINDOW = read_dimension("window_size", "5,8,15", {})


def search(**changes: object) -> Search:
    about = {"strategy": Strategy.OPTUNA, "trials": 12, "space": (SCALE, EPOCHS, WINDOW)}
    return Search(**(about | changes))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "a 'study'; echo"
    path.mkdir()
    return path


def begun(folder: Path, what: Search) -> SearchStudy:
    return SearchStudy(folder / "study.journal", folder / "study.log", what)


def objective(values: tuple) -> float:
    return -abs(values[0].value - 2) + values[1].value / 10


@pytest.mark.parametrize("strategy", list(Strategy))
def test_an_interrupted_search_proposes_what_an_unbroken_one_does(
    tmp_path: Path, strategy: Strategy
) -> None:
    """Sixteen trials, more than the ten that TPE draws at random."""
    proposed: dict[str, list[str]] = {}
    for name, every in (("unbroken", 100), ("anew each time", 1)):
        (tmp_path / name).mkdir()
        study = begun(tmp_path / name, search(strategy=strategy))
        for number in range(16):
            if number % every == 0:
                study = begun(tmp_path / name, search(strategy=strategy))
            trial = study.ask()
            assert trial.number == number
            study.complete(number, objective(search().point(trial)))
        proposed[name] = [
            " ".join(item.typed for item in search().point(trial)) for trial in study.trials()
        ]
    assert proposed["unbroken"] == proposed["anew each time"]
    assert len(set(proposed["unbroken"])) == 16


def test_points_lie_in_the_space(folder: Path) -> None:
    study = begun(folder, search(strategy=Strategy.RANDOM))
    trials = [study.ask() for _ in range(30)]
    scales, epochs, windows = zip(*map(search().point, trials), strict=True)
    assert all(0.5 <= item.value <= 10 for item in scales)
    # Four digits: a point can be typed again.
    assert all(item.value == float(f"{item.value:.4g}") for item in scales)
    assert max(len(item.text) for item in scales) <= 6
    assert {item.value for item in epochs} == {2, 4, 6, 8}
    assert {item.value for item in windows} == {5, 8, 15}
    # Of ratios: as many below the geometric middle, 2.24, as above.
    assert 8 <= sum(item.value < 2.236 for item in scales) <= 22


def test_rounding_does_not_leave_the_range() -> None:
    narrow = FloatDistribution(1.00006, 1.00014)
    assert [rounded(value, narrow) for value in (1.000071237, 1.0001399999)] == [
        1.00007124,
        1.00014,
    ]
    assert rounded(9.99996, FloatDistribution(0.5, 9.9999)) == 9.9999
    assert rounded(1.23456e-6, FloatDistribution(1e-6, 1e-2, log=True)) == 1.235e-6
    assert rounded(0.1234567, FloatDistribution(0, 1)) == 0.1235
    assert rounded(0.1, FloatDistribution(0, 1, step=0.05)) == 0.1
    assert rounded("5", CategoricalDistribution(["5", "8"])) == "5"
    assert rounded(12345, IntDistribution(0, 20000)) == 12345


def test_a_trial_stays_open_until_it_is_told(folder: Path) -> None:
    study = begun(folder, search())
    first, second, third, fourth = (study.ask() for _ in range(4))
    study.complete(first.number, 0.25)
    study.give_up(second.number, "behind")
    study.report(second.number, 1, 0.125)
    study.prune(second.number)
    study.fail(third.number, "no such configuration")
    again = begun(folder, search()).trials()
    assert [trial.state for trial in again] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.RUNNING,
    ]
    assert again[0].value == 0.25
    assert (again[1].user_attrs, again[1].intermediate_values) == (
        {GIVEN_UP: "behind"},
        {1: 0.125},
    )
    assert again[2].user_attrs == {REASON: "no such configuration"}
    assert again[3].params == fourth.params
    assert [report.state_of(trial) for trial in again] == ["complete", "pruned", "failed", "open"]
    assert [report.reason_of(trial) for trial in again[1:]] == [
        "behind",
        "no such configuration",
        None,
    ]


def test_a_trial_that_was_only_half_proposed_is_completed_as_it_would_have_been(
    tmp_path: Path,
) -> None:
    (tmp_path / "whole").mkdir()
    whole = begun(tmp_path / "whole", search()).ask()
    (tmp_path / "half").mkdir()
    begun(tmp_path / "half", search()).ask()
    journal = tmp_path / "half" / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    proposing = [at for at, line in enumerate(lines) if b'"param_name"' in line]
    assert len(proposing) == 3
    journal.write_bytes(b"".join(lines[: proposing[1]]))
    (trial,) = begun(tmp_path / "half", search()).trials()
    assert trial.params == whole.params
    assert trial.state is TrialState.RUNNING


def test_a_torn_line_is_cut_off_by_the_next_writer(folder: Path) -> None:
    study = begun(folder, search())
    study.complete(study.ask().number, 0.5)
    journal = folder / "study.journal"
    with journal.open("ab") as opened:
        opened.write(b'{"op_code":4,"worker_id":"to')
    again = begun(folder, search())
    trial = again.ask()
    again.complete(trial.number, 0.75)
    assert [item.value for item in begun(folder, search()).trials()] == [0.5, 0.75]
    assert b'"worker_id":"to{' not in journal.read_bytes()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"space": (SCALE, EPOCHS)}, "space"),
        ({"objective": "NDS"}, "objective"),
        ({"objective": "mATE", "direction": Direction.MINIMIZE}, "objective and direction"),
    ],
)
def test_another_search_does_not_go_on_with_the_study(
    folder: Path, changes: dict, what: str
) -> None:
    begun(folder, search()).ask()
    with pytest.raises(RequestError) as caught:
        begun(folder, search(**changes))
    assert str(caught.value) == (
        f"{what}: not what this search was begun with: give the sweep another name, or remove "
        f"{folder / 'study.journal'} to begin anew (its runs are kept)"
    )
    assert len(begun(folder, search(trials=40)).trials()) == 1  # more trials are no other search


def test_a_study_goes_on_with_what_its_trials_have_in_common_alone(folder: Path) -> None:
    files = (folder / "study.journal", folder / "study.log")
    begun(folder, search()).ask()  # as one that was begun before this was written down
    SearchStudy(*files, search(), {"seeds": [0]})
    other = folder / "other"
    other.mkdir()
    files = (other / "study.journal", other / "study.log")
    SearchStudy(*files, search(), {"fixed settings": ["aa"], "seeds": [0]}).ask()
    assert (
        len(SearchStudy(*files, search(), {"fixed settings": ["aa"], "seeds": [0]}).trials()) == 1
    )
    with pytest.raises(RequestError, match=r"^fixed settings and seeds: not what this search was "):
        SearchStudy(*files, search(), {"fixed settings": ["bb"], "seeds": [0, 1]})


@pytest.mark.parametrize("garbage", [b"garbage\n", b"[]\n", b'{"op_code": 4}\n', b"\xff\n"])
def test_a_damaged_journal_is_named(folder: Path, garbage: bytes) -> None:
    begun(folder, search()).ask()
    with (folder / "study.journal").open("ab") as journal:
        journal.write(garbage)
    with pytest.raises(AqrExpError) as caught:
        begun(folder, search())
    assert str(caught.value).startswith(f"{folder / 'study.journal'} is damaged: ")
    assert str(caught.value).endswith(": remove it to begin anew (its runs are kept)")


def test_another_digit_in_a_journal_is_named(folder: Path) -> None:
    study, journal = begun(folder, search()), folder / "study.journal"
    study.complete(study.ask().number, 0.5)
    text = journal.read_text()
    assert text.count('"values":[0.5]') == 1
    journal.write_text(text.replace('"values":[0.5]', '"values":[0.7]'))
    with pytest.raises(AqrExpError) as caught:
        begun(folder, search())
    fault = "its content does not fit its checksum: remove it to begin anew (its runs are kept)"
    assert str(caught.value) == f"{journal} is damaged: {fault}"
    # Nor is it taken for one of an older version once a line has a checksum.
    lines = [json.loads(line) for line in text.splitlines()]
    lines[-1] = {key: value for key, value in lines[-1].items() if key != "checksum"}
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(AqrExpError, match="does not fit its checksum"):
        begun(folder, search())


def test_a_value_that_was_lost_from_a_journal_is_named(folder: Path) -> None:
    study, journal = begun(folder, search()), folder / "study.journal"
    study.complete(study.ask().number, 0.5)
    lines = journal.read_text().splitlines(keepends=True)
    lines.remove(next(line for line in lines if '"param_name":"bias_scale"' in line))
    journal.write_text("".join(lines))
    with pytest.raises(AqrExpError) as caught:
        begun(folder, search()).trials()
    fault = "trial 0 has lost a value: remove it to begin anew (its runs are kept)"
    assert str(caught.value) == f"{journal} is damaged: {fault}"


def test_a_journal_of_an_older_version_goes_on_with_checksums(folder: Path) -> None:
    study, journal = begun(folder, search()), folder / "study.journal"
    study.complete(study.ask().number, 0.5)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        del line["checksum"]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = begun(folder, search())
    again.complete(again.ask().number, 0.75)
    assert [trial.value for trial in begun(folder, search()).trials()] == [0.5, 0.75]
    added = journal.read_text().splitlines()[len(lines) :]
    assert added
    assert all('"checksum":"' in line for line in added)


@pytest.mark.parametrize(
    ("direction", "margin", "value", "hopeless"),
    [
        (Direction.MAXIMIZE, 0.0, 0.29, True),
        (Direction.MAXIMIZE, 0.0, 0.3, False),
        (Direction.MAXIMIZE, 0.02, 0.29, False),
        (Direction.MAXIMIZE, 0.02, 0.27, True),
        (Direction.MINIMIZE, 0.0, 0.31, True),
        (Direction.MINIMIZE, 0.02, 0.31, False),
    ],
)
def test_hopeless_against_the_baseline(
    folder: Path, direction: Direction, margin: float, value: float, hopeless: bool
) -> None:
    pruning = Pruning(rule=PruneRule.BASELINE, margin=margin, after_epochs=2)
    study = begun(folder, search(direction=direction, pruning=pruning))
    trial = study.ask()
    study.report(trial.number, 1, value)
    assert not study.hopeless(trial.number, 0.3)  # too early
    study.report(trial.number, 2, value)
    assert study.hopeless(trial.number, 0.3) is hopeless
    assert not study.hopeless(trial.number, None)  # nothing to compare with


def test_hopeless_against_the_median(folder: Path) -> None:
    study = begun(folder, search(pruning=Pruning(rule=PruneRule.MEDIAN)))
    for value in (0.1, 0.2, 0.3):
        trial = study.ask()
        study.report(trial.number, 1, value)
        assert not study.hopeless(trial.number, None) or value == 0.3
        study.complete(trial.number, value)
    for value, hopeless in ((0.19, True), (0.21, False)):
        trial = study.ask()
        study.report(trial.number, 1, value)
        assert study.hopeless(trial.number, None) is hopeless


def test_halving_promotes_the_better_half(folder: Path) -> None:
    study = begun(folder, search(strategy=Strategy.ASHA, pruning=Pruning(rule=PruneRule.ASHA)))
    verdicts = []
    for value in (0.2, 0.1, 0.3, 0.15):
        trial = study.ask()
        study.report(trial.number, 1, value)
        verdicts.append(study.hopeless(trial.number, None))
    # The best so far goes on; with four, those among the best two.
    assert verdicts == [False, True, False, True]


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(RequestError) as caught:
        check_installed()
    assert str(caught.value) == (
        "a search needs optuna: pip install 'aqr-exp[search]' (or make setup)"
    )


def test_optuna_speaks_to_its_log_alone(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study = begun(folder, search())
    study.complete(study.ask().number, 0.5)
    assert capfd.readouterr() == ("", "")
    assert "A new study created" in (folder / "study.log").read_text()
    assert {path.name for path in folder.iterdir()} == {
        "study.journal",
        "study.log",
    }  # no lock is left
