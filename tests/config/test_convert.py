import copy
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
import yaml
from composed import compose_run
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.config.convert import convert, dotted_keys, fields_of
from aqr_exp.config.identity import as_dict, canonical, fingerprint, from_spec, run_name, to_yaml
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.constraints import DefaultBefore, NotInFingerprint, Range
from aqr_exp.errors import RequestError

BASE = compose_run("baseline")


Colour = Literal["red", "green"]


@dataclass(frozen=True, kw_only=True)
class Inner:
    epochs: Annotated[int, Range(1, 10)]


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner
    rate: Annotated[float, Range(0.0, 1.0)]
    free: float
    on: bool
    colour: Colour
    pair: tuple[float, float]
    many: Annotated[tuple[int, ...], Range(0, 9)]
    word: str
    names: tuple[str, ...]
    rows: tuple[tuple[int, float, float], ...]
    maybe: Inner | None
    either: Annotated[int | Literal["auto"], Range(0, 9)]
    perhaps: Annotated[Inner | None, NotInFingerprint()] = None


GOOD: dict[str, Any] = {
    "inner": {"epochs": 3},
    "rate": 1,
    "free": -2.5,
    "on": True,
    "colour": "green",
    "pair": [1, 2.5],
    "many": [],
    "word": "x",
    "names": ["a", "b"],
    "rows": [[0, 1, 2.5]],
    "maybe": {"epochs": 2},
    "either": 0,
}


PERHAPS_FAULT = "unknown key 'perhaps.epoch': did you mean 'perhaps.epochs'?"


def faults_of(**changes: Any) -> list[str]:
    with pytest.raises(RequestError) as caught:
        convert(Outer, GOOD | changes)
    return str(caught.value).splitlines()


def test_plain_values_become_typed_objects() -> None:
    made = convert(Outer, GOOD)
    assert made == Outer(
        inner=Inner(epochs=3),
        rate=1.0,
        free=-2.5,
        on=True,
        colour="green",
        pair=(1.0, 2.5),
        many=(),
        word="x",
        names=("a", "b"),
        rows=((0, 1.0, 2.5),),
        maybe=Inner(epochs=2),
        either=0,
    )
    assert isinstance(made.rate, float)
    assert str(convert(Outer, GOOD | {"free": -0.0}).free) == "0.0"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"rate": "two"}, "rate='two': must be a number from 0 to 1"),
        ({"rate": True}, "rate=True: must be a number from 0 to 1"),
        ({"rate": 1.5}, "rate=1.5: must be a number from 0 to 1"),
        ({"rate": float("nan")}, "rate=nan: must be a number from 0 to 1"),
        ({"free": float("inf")}, "free=inf: must be a number"),
        ({"rate": None}, "rate=None: must be a number from 0 to 1"),
        ({"on": 1}, "on=1: must be true or false"),
        ({"on": "true"}, "on='true': must be true or false"),
        ({"word": 3}, "word=3: must be text"),
        ({"colour": "gren"}, "colour='gren': must be one of red, green: did you mean 'green'?"),
        ({"colour": []}, "colour=[]: must be one of red, green"),
        ({"pair": [1]}, "pair=[1]: must be a list of 2 numbers"),
        ({"pair": [1, "x"]}, "pair=[1, 'x']: must be a list of 2 numbers"),
        ({"pair": "12"}, "pair='12': must be a list of 2 numbers"),
        ({"many": [1, 10]}, "many=[1, 10]: must be a list of whole numbers, each from 0 to 9"),
        ({"many": [1.0]}, "many=[1.0]: must be a list of whole numbers, each from 0 to 9"),
        ({"names": [1]}, "names=[1]: must be a list of texts"),
        ({"names": "ab"}, "names='ab': must be a list of texts"),
        (
            {"rows": [[0, 1.0]]},
            "rows=[[0, 1.0]]: must be a list of lists of (whole number, number, number)",
        ),
        (
            {"rows": [[0.5, 1, 2]]},
            "rows=[[0.5, 1, 2]]: must be a list of lists of (whole number, number, number)",
        ),
        (
            {"rows": [0, 1, 2]},
            "rows=[0, 1, 2]: must be a list of lists of (whole number, number, number)",
        ),
        ({"maybe": 3}, "maybe=3: must be a group of keys"),
        ({"maybe": {"epochs": 0}}, "maybe.epochs=0: must be a whole number from 1 to 10"),
        ({"perhaps": {"epoch": 1, "epochs": 1}}, PERHAPS_FAULT),
        ({"maybe": {}}, "key 'maybe.epochs' is missing: it must be a whole number from 1 to 10"),
        ({"inner": None}, "inner=None: must be a group of keys"),
        ({"inner": 3}, "inner=3: must be a group of keys"),
        ({"inner": {"epochs": 0}}, "inner.epochs=0: must be a whole number from 1 to 10"),
        ({"inner": {"epochs": 3.0}}, "inner.epochs=3.0: must be a whole number from 1 to 10"),
        ({"inner": {"epochs": False}}, "inner.epochs=False: must be a whole number from 1 to 10"),
        ({"inner": {}}, "key 'inner.epochs' is missing: it must be a whole number from 1 to 10"),
        ({"either": 10}, "either=10: must be a whole number from 0 to 9 or auto"),
        (
            {"either": "atuo"},
            "either='atuo': must be a whole number from 0 to 9 or auto: did you mean 'auto'?",
        ),
        ({"either": ["auto"]}, "either=['auto']: must be a whole number from 0 to 9 or auto"),
        ({"ratee": 1}, "unknown key 'ratee': did you mean 'rate'?"),
    ],
)
def test_a_fault_names_key_value_and_what_is_allowed(changes: dict[str, Any], fault: str) -> None:
    assert faults_of(**changes) == [fault]


@pytest.mark.parametrize("value", [0, 9, "auto"])
def test_a_number_may_have_a_word_beside_it(value: Any) -> None:
    assert convert(Outer, GOOD | {"either": value}).either == value


def test_an_optional_part_may_be_absent() -> None:
    for absent in (GOOD | {"maybe": None}, {k: v for k, v in GOOD.items() if k != "maybe"}):
        assert convert(Outer, absent).maybe is None
    assert convert(Outer, GOOD | {"perhaps": {"epochs": 4}}).perhaps == Inner(epochs=4)


def test_what_an_older_run_lacks_is_what_was_done_before_and_not_in_its_identity() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Newer:
        rate: float
        colour: Annotated[Colour, DefaultBefore("red")]

    old = convert(Newer, {"rate": 0.1})
    assert old == Newer(rate=0.1, colour="red")
    assert canonical(old) == {"rate": 0.1}
    assert as_dict(old) == {"rate": 0.1, "colour": "red"}
    assert canonical(convert(Newer, {"rate": 0.1, "colour": "green"})) == {
        "rate": 0.1,
        "colour": "green",
    }
    with pytest.raises(RequestError, match=r"^key 'rate' is missing: it must be a number$"):
        convert(Newer, {"colour": "red"})


def test_fields_say_what_is_optional() -> None:
    specs = fields_of(Outer)
    assert [name for name, spec in specs.items() if spec.optional] == ["maybe", "perhaps"]
    assert specs["maybe"].type is Inner
    assert specs["perhaps"].excluded
    assert {"maybe.epochs", "perhaps.epochs"} <= set(dotted_keys(Outer))


def test_a_field_is_of_one_type() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Wrong:
        rate: float | str | None

    with pytest.raises(TypeError, match=r"float \| str \| None is not a configuration field"):
        fields_of(Wrong)


def test_all_faults_are_reported_together() -> None:
    lines = faults_of(rate=2, on=0, inner={"epoch": 3}, colour="blue")
    assert lines == [
        "unknown key 'inner.epoch': did you mean 'inner.epochs'?",
        "key 'inner.epochs' is missing: it must be a whole number from 1 to 10",
        "rate=2: must be a number from 0 to 1",
        "on=0: must be true or false",
        "colour='blue': must be one of red, green",
    ]


@given(
    epochs=st.integers(1, 1000),
    rate=st.floats(1e-8, 1.0),
    channels=st.lists(st.integers(1, 512), max_size=4),
    seed=st.integers(0, 2**31 - 1),
)
def test_conversion_and_back_is_the_identity(
    epochs: int, rate: float, channels: list[int], seed: int
) -> None:
    plain = copy.deepcopy(BASE)
    plain["schedule"] |= {"epochs": epochs, "learning_rate": rate}
    plain["model"]["lidar"]["backbone_channels"] = channels
    plain["seed"] = seed
    config = convert(RunConfig, plain)
    assert convert(RunConfig, as_dict(config)) == config
    assert config.schedule.learning_rate == rate
    assert config.model.lidar.backbone_channels == tuple(channels)


A_MAP = "must be a map of names to a number from 0 to 100, such as {name: 0.5}"


def _typed(*typed):
    return load_run("baseline", list(typed))


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("{a: -1}", "schedule.lr_mult[a]=-1: must be a number from 0 to 100"),
        ("{a: true}", "schedule.lr_mult[a]=True: must be a number from 0 to 100"),
        ("{a: nan}", "schedule.lr_mult[a]=nan: must be a number from 0 to 100"),
        ("{a: {b: 1}}", "schedule.lr_mult[a]={'b': 1}: must be a number from 0 to 100"),
        ("{1: 2}", "schedule.lr_mult=1: must be a name, as text"),
        ("3", f"schedule.lr_mult=3: {A_MAP}"),
        ("null", f"schedule.lr_mult=None: {A_MAP}"),
        ("[a]", f"schedule.lr_mult=['a']: {A_MAP}"),
    ],
)
def test_a_map_is_checked_entry_by_entry(value, fault):
    with pytest.raises(RequestError) as caught:
        _typed(f"schedule.lr_mult={value}")
    assert str(caught.value) == fault


def test_an_entry_alone_is_refused_with_what_to_write():
    with pytest.raises(RequestError) as caught:
        _typed("schedule.lr_mult.img_backbone=0")
    assert str(caught.value) == (
        "'schedule.lr_mult' is set as a whole: 'schedule.lr_mult={img_backbone: 0}'"
    )


def test_maps_and_parts_of_a_step_are_in_the_identity_where_they_act():
    names = {
        typed: fingerprint(_typed(*typed))
        for typed in (
            (),
            ("schedule.lr_mult={}",),
            ("schedule.accumulate=1",),
            ("schedule.accumulate=2",),
            ("schedule.lr_mult={a: 1, b: 0.5}",),
            ("schedule.lr_mult={b: 0.5, a: 1.0}",),
            ("schedule.lr_mult={a: 1, b: 0}",),
        )
    }
    plain, none, one, two, map_, turned, other = names.values()
    assert plain == none == one
    assert map_ == turned
    assert len({plain, two, map_, other}) == 4
    config = _typed("schedule.lr_mult={a: 1, b: 0.5}")
    assert from_spec(yaml.safe_load(to_yaml(config))) == config


def test_a_step_is_divided_into_equal_parts():
    assert _typed("schedule.batch_size=6", "schedule.accumulate=3").samples_at_once == 2
    with pytest.raises(RequestError) as caught:
        _typed("schedule.batch_size=6", "schedule.accumulate=4")
    assert str(caught.value) == (
        "schedule.accumulate=4: must divide schedule.batch_size=6, the samples of a step"
    )


def test_a_step_is_shared_out_evenly_over_processes():
    typed = ("schedule.batch_size=12", "schedule.accumulate=2", "launcher.gpus_per_run=3")
    config = _typed(*typed)
    assert (config.rank_batch_size, config.samples_at_once) == (4, 2)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (
            ("schedule.batch_size=8", "launcher.gpus_per_run=3"),
            "launcher.gpus_per_run=3: must divide schedule.batch_size=8: a step's samples",
        ),
        (
            ("schedule.batch_size=8", "schedule.accumulate=4", "launcher.gpus_per_run=4"),
            "launcher.gpus_per_run=4: must divide schedule.batch_size=8, in 4 parts: a step's samples",
        ),
        (
            ("launcher=debug", "launcher.gpus_per_run=2"),
            "launcher.gpus_per_run=2: must be 1: launcher=debug trains in the launcher's own process",
        ),
        (
            ("schedule.sync_bn=false",),
            "schedule.sync_bn=false: needs launcher.gpus_per_run above 1",
        ),
        (
            ("launcher.gpus_per_run=0",),
            "launcher.gpus_per_run=0: must be a whole number from 1 to 1024",
        ),
    ],
)
def test_what_processes_cannot_share_is_refused_in_one_line(typed, line):
    with pytest.raises(RequestError) as caught:
        _typed(*typed)
    assert str(caught.value) == line


def test_processes_are_in_the_identity_where_their_batch_norms_are_apart():
    """Synced, the numbers are those of one process but for the last digits."""

    def name(*typed):
        return run_name(_typed("schedule.batch_size=8", *typed))

    assert name() == name("launcher.gpus_per_run=2") == name("launcher.gpus_per_run=4")
    apart = [name("schedule.sync_bn=false", f"launcher.gpus_per_run={n}") for n in (2, 4)]
    assert len({name(), *apart}) == 3
    spec = yaml.safe_load(to_yaml(_typed("schedule.sync_bn=false", "launcher.gpus_per_run=2")))
    assert from_spec(spec).schedule.norm_processes == 2
    spec["launcher"]["gpus_per_run"] = 1
    with pytest.raises(RequestError, match=r"launcher.gpus_per_run=1: must be 2"):
        from_spec(spec)
