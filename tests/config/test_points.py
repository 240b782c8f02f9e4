import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqr_exp.config import points
from aqr_exp.config.identity import fingerprint, run_name
from aqr_exp.config.inputs import identity_path, with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.config.points import Base, Override, PointLoader
from aqr_exp.errors import RequestError

# Values as typed and what they mean; some of them break a rule, alone or together.
CHOICES: dict[str, dict[str, object]] = {
    "bias": {"aggressive": "aggressive", "standard": "standard", "earlier": "earlier"},
    "schedule": {"smoke": "smoke", "standard": "standard"},
    "preset": {"smoke": "smoke"},
    "bias_scale": {"0": 0, "2.5": 2.5, "8.0": 8.0, "two": "two", "-1": -1},
    "learnable_scale": {"false": False, "true": True, "1": 1},
    "window_size": {"5": 5, "8": 8, "17": 17, "2.5": 2.5},
    "variant.bias.unit": {"log_odds": "log_odds", "nonsense": "nonsense"},
    "variant.bias.scale.anneal": {"[[0,1,3],[2,0.5,4]]": [[0, 1, 3], [2, 0.5, 4]], "[]": []},
    "variant.router.ffn_channels": {"32": 32, "${model.head.width}": "${model.head.width}"},
    "variant.router.constant": {"[0.5,-1]": [0.5, -1], "[2]": [2]},
    "model.head.ffn_channels": {"64": 64, "true": True},
    "model.head.width": {"64": 64, "63": 63},
    "schedule.epochs": {"3": 3, "0": 0, "null": None},
    "data.root": {"elsewhere": "elsewhere", "'a b'": "a b"},
    "data.augment.drop_camera": {"0.5": 0.5, "0": 0, "-0.0": -0.0},
    "launcher.threads": {"1": 1},
    "seed": {"0": 0, "7": 7, "x": "x"},
}


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, list[Override]]:
    variant = draw(st.sampled_from(["attention_bias"] * 3 + ["baseline", "renderer_modulator"]))
    keys = draw(st.lists(st.sampled_from(sorted(CHOICES)), unique=True, max_size=6))
    texts = [draw(st.sampled_from(sorted(CHOICES[key]))) for key in keys]
    return variant, [
        Override(key=key, text=text, value=CHOICES[key][text])
        for key, text in zip(keys, texts, strict=True)
    ]


def outcome(load) -> object:
    try:
        return load()
    except RequestError as error:
        return str(error)


LOADER = PointLoader(with_data=False)


@settings(max_examples=25)
@given(requests())
def test_a_point_is_what_loading_the_run_gives(request_: tuple[str, list[Override]]) -> None:
    variant, overrides = request_
    expected = outcome(lambda: load_run(variant, [item.typed for item in overrides]))
    found = outcome(lambda: LOADER.load(variant, overrides))
    if isinstance(expected, str):
        assert found == expected
    else:
        assert found.config == expected
        assert repr(found.config) == repr(expected)  # 1 == 1.0, and the identity knows them apart
        assert (found.name, found.fingerprint) == (run_name(expected), fingerprint(expected))


def override(key: str, text: str, value: object) -> Override:
    return Override(key=key, text=text, value=value)


def test_an_identity_is_the_hash_of_the_whole_canonical_text() -> None:
    from aqr_exp.config.identity import canonical

    point = LOADER.load("attention_bias", [override("bias_scale", "3", 3)])
    text = json.dumps(canonical(point.config), sort_keys=True, separators=(",", ":"))
    assert point.fingerprint == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert point.name_of(4) == f"attention_bias-{point.fingerprint}-s4"


def test_a_value_that_follows_another_key_follows_it() -> None:
    point = LOADER.load("attention_bias", [override("model.head.ffn_channels", "64", 64)])
    assert point.config.variant.router.ffn_channels == 64
    own = [*[override("model.head.ffn_channels", "64", 64)]]
    own.append(override("variant.router.ffn_channels", "32", 32))
    assert LOADER.load("attention_bias", own).config.variant.router.ffn_channels == 32
    assert LOADER.load("attention_bias", []).config.variant.router.ffn_channels == 256


def test_points_leave_one_another_alone() -> None:
    before = LOADER.load("attention_bias", [])
    LOADER.load("attention_bias", [override("bias_scale", "3", 3)])
    assert LOADER.load("attention_bias", []) == before


def test_hydra_composes_once_a_set_of_group_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    composed = []
    real = points.compose_with_references
    monkeypatch.setattr(
        points,
        "compose_with_references",
        lambda *arguments: composed.append(arguments[:2]) or real(*arguments),
    )
    monkeypatch.setattr(points, "compose_run", None)
    loader = PointLoader(with_data=False)
    for preset in ("quick", "smoke"):
        for scale in (1, 2, 3):
            chosen = override("preset", preset, preset)
            loader.load("attention_bias", [override("bias_scale", str(scale), scale), chosen])
    assert composed == [
        ("attention_bias", ["preset=quick"]),
        ("attention_bias", ["preset=smoke"]),
    ]


def test_a_reference_to_several_keys_is_left_to_hydra(tmp_path: Path) -> None:
    base = Base(
        {"a": {"b": 1}, "c": {"b": 1}, "d": "x1"}, {"a": {"b": 1}, "c": "${a}", "d": "x${a.b}"}
    )
    assert not base.plain
    chain = Base(
        {"a": 1, "b": {"c": 1}, "d": 1, "e": "home"},
        {"a": "${b.c}", "b": {"c": "${d}"}, "d": 1, "e": "${oc.env:HOME,home}"},
    )
    assert chain.plain
    assert chain.mapping({"d": 2}) == {"a": 2, "b": {"c": 2}, "d": 2, "e": "home"}
    assert chain.mapping({"b.c": 3}) == {"a": 3, "b": {"c": 3}, "d": 1, "e": "home"}
    # What a point changes is its own.
    assert chain.resolved == {"a": 1, "b": {"c": 1}, "d": 1, "e": "home"}
    assert chain.depends["a"] == {"a", "b", "d"}


def test_the_data_are_identified_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path))
    path = identity_path(tmp_path / "synth")
    path.parent.mkdir(parents=True)
    identity = {
        "fingerprint": "0123456789abcdef",
        "version": "v1.0-synth",
        "splits": {"synth_train": 10, "synth_val": 4},
        "synthetic": True,
    }
    path.write_text(json.dumps(identity))
    loader = PointLoader(with_data=True)
    first = loader.load("baseline", [])
    assert first.config == with_data_identity(load_run("baseline"))
    path.unlink()
    assert loader.load("baseline", [override("schedule.epochs", "2", 2)]).config.data == (
        first.config.data
    )
    with pytest.raises(RequestError, match=r"no data set there: make it with"):
        PointLoader(with_data=True).load("baseline", [])


def test_a_checkpoint_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    loader = PointLoader(with_data=False)
    start = override("start.load_from", f"'{path}'", str(path))
    first = loader.load("baseline", [start])
    assert first.config.start.sha256 == hashlib.sha256(b"weights").hexdigest()
    path.unlink()
    epochs = override("schedule.epochs", "2", 2)
    assert loader.load("baseline", [start, epochs]).config.start == first.config.start


def test_a_key_is_given_once() -> None:
    twice = [override("bias_scale", "1", 1), override("variant.bias.scale.start", "2", 2)]
    with pytest.raises(RequestError, match=r"'variant.bias.scale.start' is given twice"):
        LOADER.load("attention_bias", twice)
