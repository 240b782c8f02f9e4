"""A submission that takes several arrays, of which Slurm refuses one: what it took works on all runs."""

from pathlib import Path

import pytest

from aqr_exp.cli.main import main
from aqr_exp.config.schema.run import SlurmConfig
from aqr_exp.errors import RequestError
from aqr_exp.launch import slurm
from aqr_exp.store.store import Store
from aqr_exp.store.submissions import submissions_dir


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Sizes of the arrays that a cluster of small ones takes: two, and no more."""
    sizes: list[int] = []

    def submit_array(*given: object) -> str:
        if len(sizes) == 2:
            raise RequestError("sbatch refuses it: job limit")
        sizes.append(int(str(given[-1])))
        return f"{10 + len(sizes)}"

    monkeypatch.setattr(slurm, "check_slurm", lambda: None)
    monkeypatch.setattr(slurm, "snapshot", lambda *_: tmp_path / "code")
    monkeypatch.setattr(slurm, "setting", lambda _: "3")
    monkeypatch.setattr(slurm, "own_cluster", lambda: "trial")
    monkeypatch.setattr("aqr_exp.store.submissions.own_cluster", lambda: "trial")
    monkeypatch.setattr("aqr_exp.store.submissions.queued", lambda _: [])
    monkeypatch.setattr(slurm, "_submit_array", submit_array)
    return sizes


def test_what_was_taken_is_written_down_and_what_was_refused_is_told(
    taken: list[int], tmp_path: Path
) -> None:
    settings = SlurmConfig(time_min=30, max_jobs=8)
    runs = [f"baseline-0123456789ab-s{seed}" for seed in range(8)]
    store = Store(tmp_path / "results")
    submission, refused = slurm.submit(["s"], runs, [], settings, store)
    assert taken == [2, 2]
    assert submission.jobs == ("11", "12")
    assert submission.runs == tuple(runs)
    assert str(refused) == "sbatch refuses it: job limit"
    assert [path.name for path in submissions_dir(store.root).glob("*.json")] == ["trial-11.json"]


def test_where_nothing_was_taken_it_is_refused(taken: list[int], tmp_path: Path) -> None:
    taken += [0, 0]
    with pytest.raises(RequestError, match="job limit"):
        slurm.submit(["s"], ["r"], [], SlurmConfig(time_min=30), Store(tmp_path / "results"))
    assert not list(tmp_path.rglob("*.json"))


def test_its_keys_without_its_launcher_say_what_brings_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["config", "baseline", "launcher.slurm.time_min=30"]) == 2
    assert capsys.readouterr().err == (
        "aqr-exp: launcher.slurm.time_min: cannot be set: it is of an optional part that is absent "
        "(launcher=slurm brings it)\n"
    )
