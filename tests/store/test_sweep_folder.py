import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.store.lease import Lease, claim
from aqr_exp.store.process_identity import process
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry, SweepFolder, check_sweep_name

ENTRIES = [
    SweepEntry(
        name="attention_bias-aa-s1",
        variant="attention_bias",
        overrides=("bias_scale=2.5",),
        seed=1,
        expected_s=60.0,
    ),
    SweepEntry(name="baseline-bb-s0", variant="baseline", overrides=(), seed=0),
]


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    return Store(tmp_path / "it's; echo $HOME").sweep('a "b" c')


def test_the_plan_is_read_as_it_was_written(sweep: SweepFolder) -> None:
    sweep.write_plan(ENTRIES)
    assert sweep.read_plan() == ENTRIES
    assert [entry.label for entry in ENTRIES] == [
        "attention_bias bias_scale=2.5 seed=1",
        "baseline seed=0",
    ]
    assert Store(sweep.path.parent.parent).sweep_names() == ['a "b" c']


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "{}",
        '{"runs": [1]}',
        '{"runs": []}',
        '{"name": "another", "runs": []}',
        '{"runs": [{"name": "x"}]}',
        '{"runs": [{"name": "../../x", "variant": "baseline", "overrides": [], "seed": 0}]}',
        '{"runs": [{"name": "a/../../x", "variant": "baseline", "overrides": [], "seed": 0}]}',
    ],
)
def test_a_damaged_plan_is_named(sweep: SweepFolder, content: str) -> None:
    sweep.write_plan([])
    sweep.plan_path.write_text(content)
    with pytest.raises(AqrExpError, match="is damaged") as caught:
        sweep.read_plan()
    assert str(sweep.plan_path) in str(caught.value)
    assert "running the sweep 'a \"b\" c' again writes it anew" in str(caught.value)
    assert (sweep.read_known(), sweep.read_plan_if_any()) == ([], [])
    sweep.add_to_plan(ENTRIES)
    assert sweep.read_plan() == ENTRIES


def test_declared_factors_stay_until_the_file_says_otherwise(sweep: SweepFolder) -> None:
    assert sweep.factors() == []
    sweep.add_to_plan([], "mine.yaml", ["schedule.epochs"])
    sweep.add_to_plan(ENTRIES)
    assert (sweep.factors(), sweep.read_plan()) == (["schedule.epochs"], ENTRIES)
    sweep.write_plan(ENTRIES, factors=())
    assert sweep.factors() == []


def test_who_works_on_it_is_seen_and_the_dead_are_not(sweep: SweepFolder) -> None:
    assert sweep.schedulers() == []
    with sweep.registered(), sweep.registered():
        assert [str(one) for one in sweep.schedulers()] == [str(process())] * 2
    assert sweep.schedulers() == []
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    lease = claim(sweep.schedulers_dir / "dead")
    assert isinstance(lease, Lease)
    lease.file.write_text(json.dumps(msgspec.structs.asdict(process()) | {"pid": child.pid}))
    assert sweep.schedulers() == []
    with sweep.registered():
        assert len(list(sweep.schedulers_dir.iterdir())) == 1, "the dead one is cleared away"
    assert list(sweep.schedulers_dir.iterdir()) == []


def test_every_request_to_stop_is_a_new_one(sweep: SweepFolder) -> None:
    assert sweep.cancel_time() is None
    sweep.write_plan([])
    sweep.request_cancel()
    first = sweep.cancel_time()
    sweep.request_cancel()
    assert first is not None
    assert sweep.cancel_time() not in {first, None}


@pytest.mark.parametrize(
    "name", ["", ".hidden", "..", "a/b", "x" * 201, "a\0b", "a\x1b[31mb", "a\nb"]
)
def test_a_name_that_is_no_folders_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match="cannot be a sweep's name") as caught:
        check_sweep_name(name)
    assert repr(name) in str(caught.value)
    check_sweep_name("it's; echo $HOME")
