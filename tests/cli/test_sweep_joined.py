import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from aqr_exp.cli.main import main
from aqr_exp.cli.sweep_execute import remember
from aqr_exp.config.identity import to_yaml
from aqr_exp.launch.record import build_record
from aqr_exp.store.collect import collect, with_settings
from aqr_exp.store.store import Store
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.outcome import best_point, by_entry
from aqr_exp.sweep.plan import plan_sweep

FILE = "variant: attention_bias\ngrid:\n  bias_scale: [1, 2]\n"
Done = Callable[..., str]


@pytest.fixture
def done(data: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> Done:
    """Complete the runs of a request with these values, run it, and return what it says."""

    def finish(*typed: str, values: Mapping[str, float] | None = None, code: int = 0) -> str:
        name = typed[typed.index("--name") + 1] if "--name" in typed else None
        words = [word for word in typed[1:] if "=" in word]
        for run in plan_sweep(sweep_request(typed[0], words, name)).runs:
            folder = store.folder(run.name)
            if not folder.path.exists():
                folder.create(to_yaml(run.config), build_record(run.config, overrides=[], argv=[]))
                (value,) = [
                    v for word, v in (values or {"": 0.1}).items() if word in str(run.overrides)
                ]
                metrics = {"mAP": value, "NDS": 0.3, "split": "synth_val", "synthetic": True}
                folder.write_metrics(metrics)
                folder.write_state("completed")
        capsys.readouterr()
        assert main(["sweep", *typed]) == code
        out, err = capsys.readouterr()
        assert not out
        return err

    return finish


def meant(store: Store, name: str) -> list[str]:
    return [" ".join(one.overrides) for one in store.sweep(name).read_plan()]


def best(store: Store, name: str) -> str:
    sweep, rows = store.sweep(name), with_settings(store, collect(store))
    entries, left = sweep.read_plan(), sweep.read_left()
    found = best_point(entries, by_entry([*entries, *left], rows), "mAP", left=left)
    assert found is not None
    return found.words().splitlines()[0]


NAME = "attention_bias-by-bias_scale"
FIRST = {"bias_scale=1": 0.21, "bias_scale=2": 0.29}
SECOND = {"bias_scale=3": 0.24, "bias_scale=4": 0.26}


def test_typed_values_join_the_sweep_and_count_as_tries(
    done: Done, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    done("attention_bias", "bias_scale=1,2", values=FIRST)
    said = done("attention_bias", "bias_scale=3,4", values=SECOND)
    assert f"{NAME}: 4 runs: 4 done; 2 points are joined from earlier requests\n" in said
    assert meant(store, NAME) == ["bias_scale=3", "bias_scale=4", "bias_scale=1", "bias_scale=2"]
    assert best(store, NAME) == (
        "best of 4 points by mAP: attention_bias bias_scale=2: 0.2900, mean of 1 seed"
    )
    assert main(["confirm", NAME, "--dry-run", "--best", "1"]) == 0
    assert f"{NAME}: the best 1 of 4 points by mAP" in capsys.readouterr().err
    # Asked for again, whatever the order, it is the same sweep.
    assert "2 points are joined" in done("attention_bias", "bias_scale=2,1")
    assert sorted(meant(store, NAME)) == [f"bias_scale={value}" for value in (1, 2, 3, 4)]


def test_a_plan_says_which_runs_joined(
    done: Done, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    done("attention_bias", "bias_scale=1,2", values=FIRST)
    assert main(["sweep", "attention_bias", "bias_scale=2,3", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(" ".join(run["overrides"]), run["state"]) for run in found["runs"]] == [
        ("bias_scale=2", "done"),
        ("bias_scale=3", "to do"),
        ("bias_scale=1", "done"),
    ]
    assert (found["totals"]["joined"], found["removed"]) == (1, [])
    assert meant(store, NAME) == ["bias_scale=1", "bias_scale=2"]  # a dry run changes nothing


def test_typed_seeds_join(done: Done, store: Store) -> None:
    done("attention_bias", "bias_scale=1,2", "seed=0,1", values=FIRST)
    done("attention_bias", "bias_scale=1,2", "seed=2", values=FIRST)
    assert sorted(one.seed for one in store.sweep(NAME).read_plan()) == [0, 0, 1, 1, 2, 2]


def test_values_typed_beside_a_file_join_it(place: Path, done: Done, store: Store) -> None:
    (place / "mine.yaml").write_text(FILE)
    done("mine.yaml", values=FIRST)
    done("mine.yaml", "bias_scale=3,4", values=SECOND)
    assert sorted(meant(store, "mine")) == [f"bias_scale={value}" for value in (1, 2, 3, 4)]
    assert best(store, "mine").startswith("best of 4 points by mAP: attention_bias bias_scale=2: ")
    done("mine.yaml")
    assert sorted(meant(store, "mine")) == [f"bias_scale={value}" for value in (1, 2, 3, 4)]


def test_a_point_that_left_the_file_still_counts_as_tried(
    place: Path, done: Done, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "mine.yaml").write_text(FILE.replace("[1, 2]", "[1, 2, 3]"))
    done("mine.yaml", values=FIRST | {"bias_scale=3": 0.2})
    (place / "mine.yaml").write_text(FILE.replace("[1, 2]", "[1, 4]"))
    done("mine.yaml", values={"bias_scale=4": 0.26})
    assert meant(store, "mine") == ["bias_scale=1", "bias_scale=4"]
    assert best(store, "mine") == (
        "best of 2 points by mAP: attention_bias bias_scale=4: 0.2600, mean of 1 seed; "
        "2 more were tried and left the sweep"
    )
    assert main(["confirm", "mine", "--dry-run", "--best", "1"]) == 0
    assert "mine: the best 1 of 4 points by mAP" in capsys.readouterr().err


def test_another_setting_is_refused_with_two_ways_out(done: Done, store: Store) -> None:
    done("attention_bias", "bias_scale=1,2", "schedule.epochs=3", values=FIRST)
    said = done("attention_bias", "bias_scale=1,2", code=2)
    assert said == (
        f"aqr-exp: sweep '{NAME}' holds runs with schedule.epochs=3: --name NAME makes another "
        "sweep, --cancel-removed replaces them\n"
    )
    assert len(said) <= 200
    done("attention_bias", "bias_scale=1,2", "--name", "other", values=FIRST)
    assert meant(store, "other") == ["bias_scale=1", "bias_scale=2"]
    done("attention_bias", "bias_scale=1,2", "--cancel-removed")
    assert meant(store, NAME) == ["bias_scale=1", "bias_scale=2"]


def test_the_same_setting_in_other_words_joins(done: Done, store: Store) -> None:
    done("attention_bias", "bias_scale=1,2", values=FIRST)
    done("attention_bias", "bias_scale=3,4", "preset=quick", "learnable_scale=true", values=SECOND)
    assert len(meant(store, NAME)) == 4


def test_two_files_of_one_name_are_told_apart(place: Path, done: Done, store: Store) -> None:
    for folder, scales in (("a", "[1, 2]"), ("b", "[3, 4]")):
        (place / folder).mkdir()
        (place / folder / "mine.yaml").write_text(FILE.replace("[1, 2]", scales))
    done("a/mine.yaml", values=FIRST)
    said = done("b/mine.yaml", values=SECOND, code=2)
    assert said.startswith("aqr-exp: sweep 'mine' is that of ")
    assert said.endswith("a/mine.yaml: --name NAME gives this one another name\n")
    assert len(said.splitlines()) == 1
    assert meant(store, "mine") == ["bias_scale=1", "bias_scale=2"]
    done("b/mine.yaml", "--name", "yours")
    assert meant(store, "yours") == ["bias_scale=3", "bias_scale=4"]
    (place / "a").rename(place / "moved")  # a file that was moved is still the same sweep
    done("moved/mine.yaml")


def test_names_that_others_have_are_refused(place: Path, done: Done, store: Store) -> None:
    done("attention_bias", "bias_scale=1,2", values=FIRST)
    way = ": --name NAME gives this one another name\n"
    for name, fault in (
        (NAME, f"sweep '{NAME}' was typed"),
        (NAME.upper(), f"there is '{NAME}', which differs in case or spelling of letters only"),
        ("confirm-it", "`aqr-exp confirm` names its sweeps so"),
    ):
        (place / f"{name}.yaml").write_text(FILE)
        said = done(f"{name}.yaml", code=2)
        assert fault in said
        assert said.endswith(way)
    done("attention_bias", "bias_scale=1,2", "--name", "caf\u00e9")
    assert "there is 'caf\u00e9'" in done(
        "attention_bias", "bias_scale=1,2", "--name", "cafe\u0301", code=2
    )
    assert store.sweep_names() == sorted([NAME, "caf\u00e9"])


def test_a_plan_of_an_earlier_version_is_joined_too(done: Done, store: Store) -> None:
    done("attention_bias", "bias_scale=1,2", values=FIRST)
    path = store.sweep(NAME).plan_path
    plan = json.loads(path.read_text())
    del plan["origin"], plan["checksum"]
    plan["name"] = NAME
    for entry in plan["runs"]:
        del entry["words"]
    path.write_text(json.dumps(plan))
    done("attention_bias", "bias_scale=3,4", values=SECOND)
    assert len(meant(store, NAME)) == 4


def test_what_another_terminal_adds_meanwhile_is_kept(done: Done, store: Store) -> None:
    done("attention_bias", "bias_scale=1,2", values=FIRST)
    earlier = store.sweep(NAME).read_plan()
    request = sweep_request("attention_bias", ["bias_scale=2.5,5"])
    slow = replace(
        plan_sweep(request, earlier=earlier), seen=frozenset(entry.name for entry in earlier)
    )
    done("attention_bias", "bias_scale=3,4", values=SECOND)
    remember(slow, store.sweep(NAME))
    assert sorted(meant(store, NAME)) == [f"bias_scale={value}" for value in (1, 2, 2.5, 3, 4, 5)]
