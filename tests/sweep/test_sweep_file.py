from collections.abc import Callable
from pathlib import Path

import pytest

from aqr_exp.errors import RequestError
from aqr_exp.sweep.expand import combinations
from aqr_exp.sweep.yaml_source import read_sweep

Write = Callable[[str], Path]

EVERYTHING = """\
name: all
description: >
  Two
  lines.
variant: [baseline, attention_bias]
fixed:
  learnable_scale: false
  variant.router.constant: [0.5, 1]
  data.root: a b
grid:
  bias_scale: [1, 2.5]
  schedule: glob(s*)
  schedule.learning_rate: [1e-4, 2e-4]
zip:
  window_size: [5, 8]
  schedule.epochs: range(1, 3)
points:
  - {variant: baseline, schedule.epochs: 7}
  - bias: aggressive
skip: bias_scale > 2 and window_size == 8
seeds: [0, 3]
baseline:
  schedule.epochs: 2
"""


def test_a_file_is_read_as_it_is_written(sweep_file: Write) -> None:
    request = read_sweep(sweep_file(EVERYTHING), "it.yaml")
    assert (request.name, request.source) == ("all", "it.yaml")
    assert request.description == "Two lines."
    assert request.variants == ("baseline", "attention_bias")
    assert [item.typed for item in request.fixed] == [
        "learnable_scale=false",
        "variant.router.constant=[0.5,1]",
        "data.root=a b",
    ]
    assert [item.value for item in request.fixed] == [False, [0.5, 1], "a b"]
    assert {axis.key: [item.value for item in axis.values] for axis in request.grid} == {
        "bias_scale": [1, 2.5],
        "schedule": ["smoke", "standard"],
        "schedule.learning_rate": [0.0001, 0.0002],
    }
    assert {axis.key: [item.value for item in axis.values] for axis in request.zipped} == {
        "window_size": [5, 8],
        "schedule.epochs": [1, 2],
    }
    assert [(corner.variant, corner.overrides[0].typed) for corner in request.points] == [
        ("baseline", "schedule.epochs=7"),
        (None, "bias=aggressive"),
    ]
    assert [condition.text for condition in request.skip] == ["bias_scale > 2 and window_size == 8"]
    assert request.seeds == (0, 3)
    assert [item.typed for item in request.baseline or ()] == ["schedule.epochs=2"]
    assert request.grid[0].values[1].where == "it.yaml:11"
    # 2 variants x (2 scales x 2 schedules x 2 rates) x 2 zipped, a point, and one of 2 variants.
    assert request.size == 2 * 8 * 2 + 1 + 2
    assert len(list(combinations(request))) == request.size


def test_what_is_left_out_has_a_plain_meaning(sweep_file: Write) -> None:
    request = read_sweep(sweep_file("variant: baseline\n"))
    assert request.name == "my 'sweep'; echo"
    assert (request.seeds, request.baseline, request.size) == ((0,), None, 1)
    seeds = read_sweep(sweep_file("variant: baseline\nseeds: range(3)\nbaseline: false\n"))
    assert (seeds.seeds, seeds.baseline) == ((0, 1, 2), None)
    assert read_sweep(sweep_file("variant: baseline\nbaseline: true\n")).baseline == ()


RANGE = "write range(start, stop) or range(start, stop, step), the stop left out"
SEED = "write a whole number from 0 to 2147483647"
SWEEP = "variant: attention_bias\n"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["x.yaml: is empty: a sweep needs at least 'variant'"]),
        ("- a\n", ["x.yaml:1: holds no keys: write key: value"]),
        ("a: [\n", ["x.yaml:2: is not YAML: did not find expected node content"]),
        (SWEEP + "grid:\n  bias_scale: []\n",
         ["x.yaml:3: 'bias_scale' is an empty list: write values, or leave the key out"]),
        (SWEEP + "gird: {}\n", ["x.yaml:2: unknown key 'gird': did you mean 'grid'?"]),
        (SWEEP + "grid:\n  bias_scal: [1, 2]\n",
         ["x.yaml:3: unknown key 'bias_scal': did you mean 'bias_scale'?"]),
        (SWEEP + "grid:\n  bias_scale: range(5, 1)\n",
         [f"x.yaml:3: bias_scale=range(5, 1): is not a range: start must lie below stop: {RANGE}"]),
        (SWEEP + "grid:\n  bias_scale: range(1, x)\n",
         [f"x.yaml:3: bias_scale=range(1, x): is not a range: {RANGE}"]),
        (SWEEP + "seeds: [0, one, '2', -1, 1.5, true]\n",
         [f"x.yaml:2: seed is the text 'one': {SEED}", f"x.yaml:2: seed is the text '2': {SEED}",
          f"x.yaml:2: seed is the value -1: {SEED}", f"x.yaml:2: seed is the value 1.5: {SEED}",
          f"x.yaml:2: seed is the value true: {SEED}"]),
        (SWEEP + "seeds: none\n",
         ["x.yaml:2: 'seeds' is the text 'none': write a list, [0, 1, 2], or range(0, 3)"]),
        (SWEEP + "seeds: 3\n",
         ["x.yaml:2: 'seeds' is the value 3: write a list, [0, 1, 2], or range(0, 3)"]),
        (SWEEP + "seeds: {a: 1}\n",
         ["x.yaml:2: 'seeds' is a group of keys: write a list, [0, 1, 2], or range(0, 3)"]),
        (SWEEP + "zip:\n  bias_scale: [1, 2]\n  window_size: [5, 8, 10]\n",
         [("x.yaml:3: lists under 'zip' differ in length (bias_scale has 2, window_size has 3): "
          "give all the same")]),
        ("variant: attention_bais\n",
         [("x.yaml:1: unknown variant 'attention_bais': did you mean 'attention_bias'? "
          "(available: attention_bias, baseline, renderer_modulator)")]),
        ("seeds: [0]\n",
         [("x.yaml:1: key 'variant' is missing: name one or several "
          "(attention_bias, baseline, renderer_modulator)")]),
        (SWEEP + "fixed:\n  bias_scale: 1, 2\n",
         ["x.yaml:3: bias_scale=1, 2: names several values: put it under 'grid'"]),
        (SWEEP + "fixed:\n  bias: agressive\n",
         [("x.yaml:3: unknown bias 'agressive': did you mean 'aggressive'? (available: "
          "aggressive, conservative, earlier, standard, ultra_conservative)")]),
        (SWEEP + "fixed:\n  seed: 3\n",
         ["x.yaml:3: 'seed' cannot be set here: seeds go under 'seeds', as a list"]),
        (SWEEP + "fixed:\n  variant.bias: {local: true}\n",
         [("x.yaml:3: 'variant.bias' is a group of keys: set one of them, such as "
          "'variant.bias.window.bev'")]),
        (SWEEP + "fixed:\n  bias_scale:\n", ["x.yaml:3: 'bias_scale' is empty: write a value"]),
        (SWEEP + "fixed:\n  bias_scale: 1\n  bias_scale: 2\n",
         ["x.yaml:4: 'bias_scale' is given twice (first in line 3)"]),
        (SWEEP + "fixed:\n  bias_scale: 1\ngrid:\n  bias_scale: [1, 2]\n",
         ["x.yaml:5: 'bias_scale' is under 'fixed' too: leave one of them out"]),
        (SWEEP + "grid:\n  bias_scale: 3\n",
         ["x.yaml:3: 'bias_scale' is the value 3: write a list, or put it under 'fixed'"]),
        (SWEEP + "grid: [1]\n",
         ["x.yaml:2: 'grid' is a list: write keys with their values below it"]),
        (SWEEP + "points: {bias_scale: 1}\n",
         ["x.yaml:2: 'points' is a group of keys: write a list, [a, b]"]),
        (SWEEP + "points:\n  - bias_scale\n",
         ["x.yaml:3: a point is the text 'bias_scale': write keys with their values below it"]),
        (SWEEP + "skip: [5]\n",
         ["x.yaml:2: a condition is the value 5: write a text such as bias_scale > 5"]),
        (SWEEP + "skip:\n  - bias_scal > 5\n",
         [("x.yaml:3: condition 'bias_scal > 5': unknown key 'bias_scal': did you mean "
          "'bias_scale'?")]),
        (SWEEP + "baseline: 3\n",
         ["x.yaml:2: 'baseline' is the value 3: write true, false or overrides"]),
        (SWEEP + "baseline: [1]\n",
         ["x.yaml:2: 'baseline' is a list: write true, false or overrides"]),
        (SWEEP + "name: a/b\n",
         ["x.yaml:2: 'a/b' cannot be a sweep's name: it must be able to name a folder"]),
        (SWEEP + 'name: "a\\e[31mb"\n',
         ["x.yaml:2: 'a\\x1b[31mb' cannot be a sweep's name: it must be able to name a folder"]),
        (SWEEP + f"name: {'語' * 70}\n",
         [f"x.yaml:2: '{'語' * 70}' cannot be a sweep's name: it must be able to name a folder"]),
        (SWEEP + 'name: " "\n', ["x.yaml:2: 'name' is the text ' ': write a text"]),
        (SWEEP + "description: 3\n", ["x.yaml:2: 'description' is the value 3: write a text"]),
        # Numbers that are none to Python.
        (SWEEP + "seeds: [1__2, 1_]\n",
         [f"x.yaml:2: seed is the text '1__2': {SEED}", f"x.yaml:2: seed is the text '1_': {SEED}"]),
        (SWEEP + f"seeds: [{'9' * 5000}]\n",
         [f"x.yaml:2: seed is the value {'9' * 37} ... {'9' * 18}: {SEED}"]),
        ("variant: &v baseline\nname: *v\n",
         ["x.yaml:2: alias '*v': a sweep file has none: write the value out"]),
        ("grid: &g\n  a: *g\n",
         ["x.yaml:2: alias '*g': a sweep file has none: write the value out"]),
        # Several faults are said at once, in the order of the file.
        (SWEEP + "seeds: [x]\ngrid:\n  window_siz: [1]\n  bias_scale: []\n",
         [f"x.yaml:2: seed is the text 'x': {SEED}",
          "x.yaml:4: unknown key 'window_siz': did you mean 'window_size'?",
          "x.yaml:5: 'bias_scale' is an empty list: write values, or leave the key out"]),
    ],
)  # fmt: skip
def test_every_fault_is_named_with_line_and_remedy(
    sweep_file: Write, text: str, faults: list[str]
) -> None:
    with pytest.raises(RequestError) as refused:
        read_sweep(sweep_file(text), "x.yaml")
    assert str(refused.value).splitlines() == faults
    assert refused.value.exit_code == 2


def test_what_cannot_be_read_is_named(tmp_path: Path, sweep_file: Write) -> None:
    with pytest.raises(RequestError, match=r"^gone.yaml: cannot be read: No such file"):
        read_sweep(tmp_path / "gone.yaml", "gone.yaml")
    path = sweep_file("")
    path.write_bytes(b"variant: \xff\n")
    with pytest.raises(RequestError, match=r"is not UTF-8 text"):
        read_sweep(path)
    path.write_text("variant: " + "[" * 3_000)
    with pytest.raises(RequestError, match=r"is nested too deeply|is not YAML"):
        read_sweep(path)
    path.write_text("#" * 1_000_001)
    with pytest.raises(RequestError, match=r"is larger than 1000000 bytes"):
        read_sweep(path)
