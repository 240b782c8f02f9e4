"""Files of own metrics: found, imported, measured on boxes worked out by hand, and refused in one line."""

import os
from pathlib import Path

import numpy as np
import pytest
from made_up_tables import MadeUpBox, MadeUpScene, sample_token, write_version
from small_world import detection

from aqr_exp.errors import LONGEST, RequestError
from aqr_exp.evaluate import own_metric_files
from aqr_exp.evaluate.ground_truth import GroundTruth, load_ground_truth
from aqr_exp.evaluate.metric import write_results
from aqr_exp.evaluate.own_metric_files import load_metric, metric_files, source_of
from aqr_exp.evaluate.own_metrics import measure
from aqr_exp.evaluate.predictions import Predictions, read_predictions
from aqr_exp.files.text import printable

VERSION, SPLIT = "v1.0-two", "two_val"
EXAMPLES = Path(__file__).parents[2] / "examples" / "metrics"
RESULTS = Path("results")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[GroundTruth, Predictions]:
    """Two samples with the vehicle at (100, 0) and (100, 1), by night and by day.

    The first has cars 10 and 30 m ahead and a cone 5 m to the left, the second a car 12 m ahead. Found
    are the first car .3 m too far and .5 m to the side, surely; the second .6 m too near, badly; the cone
    not; and the last car 1 m too near, surely.
    """
    root = tmp_path_factory.mktemp("two")
    scenes = [
        MadeUpScene(name="s0", description="Night", ego=[(100.0, 0.0)]),
        MadeUpScene(name="s1", description="", ego=[(100.0, 1.0)]),
    ]
    car, cone = "vehicle.car", "movable_object.trafficcone"
    boxes = [
        MadeUpBox(sample=0, category=car, centre=(110.0, 0.0, 1.0)),
        MadeUpBox(sample=0, category=car, centre=(130.0, 0.0, 1.0)),
        MadeUpBox(sample=0, category=cone, centre=(100.0, 5.0, 1.0)),
        MadeUpBox(sample=1, category=car, centre=(112.0, 1.0, 1.0)),
    ]
    write_version(root, VERSION, scenes, boxes, {"two_train": ["s0"], SPLIT: ["s0", "s1"]})
    truth = load_ground_truth(root, VERSION, SPLIT)
    found = {
        sample_token(0): [
            detection(0, "car", (110.3, 0.5, 1.0), 0.9),
            detection(0, "car", (129.4, 0.0, 1.0), 0.2),
        ],
        sample_token(1): [detection(1, "car", (111.0, 1.0, 1.0), 0.8)],
    }
    write_results(root / "found.json", found)
    return truth, read_predictions(root / "found.json", truth)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AQR_EXP_PATH", raising=False)
    (tmp_path / "metrics").mkdir()
    return tmp_path


def write(place: Path, body: str, name: str = "mine", better: str = "more") -> Path:
    path = place / "metrics" / f"{name}.py"
    path.write_text(f'"""What it is."""\n\nbetter = "{better}"\n\n\n{body}\n')
    return path


def numbers(
    metric: own_metric_files.OwnMetric, two: tuple[GroundTruth, Predictions]
) -> dict[str, float]:
    values = measure(metric, *two)
    ones = np.ones((1, 2), dtype=np.int64)
    names = (None, "night", "day", "0-20m", "20-30m", "30-50m", "small", "large")
    return {str(name): float(values.numbers(metric, name, ones)[0]) for name in names}


def test_the_examples_give_what_was_worked_out_by_hand(
    place: Path, two: tuple[GroundTruth, Predictions]
) -> None:
    for file in EXAMPLES.glob("*.py"):
        assert len(file.read_text().splitlines()) <= 40
        (place / "metrics" / file.name).write_bytes(file.read_bytes())
    near = numbers(load_metric("near_recall", RESULTS), two)
    # Within 20 m: two cars, both found surely, and the cone, which is not.
    nan = float("nan")
    assert near == pytest.approx(
        {
            "None": 2 / 3, "night": 1 / 2, "day": 1.0, "0-20m": 2 / 3, "20-30m": nan, "30-50m": nan,
            "small": 0.0, "large": 1.0,
        },
        nan_ok=True,
    )  # fmt: skip
    # Along the ray: of the first car |(.3, .5) . (1, 0)| = .3, then .6 and 1.
    ray = numbers(load_metric("ray_error", RESULTS), two)
    # In the bands the second car is matched with nothing: it lies at 30 m, its detection at 29.4 m.
    assert ray == pytest.approx(
        {
            "None": 1.9 / 3, "night": 0.45, "day": 1.0, "0-20m": 0.65, "20-30m": nan, "30-50m": nan,
            "small": nan, "large": 1.9 / 3,
        },
        nan_ok=True,
    )  # fmt: skip
    assert load_metric("ray_error", RESULTS).less_is_better
    assert not load_metric("near_recall", RESULTS).less_is_better


def test_a_sample_is_what_the_page_says(place: Path, two: tuple[GroundTruth, Predictions]) -> None:
    seen = []
    write(place, "def measure(sample):\n    return 0, 1")
    metric = load_metric("mine", RESULTS)
    object.__setattr__(metric, "measure", lambda sample: seen.append(sample) or (0, 1))
    measure(metric, *two)
    first = seen[0]
    assert first.token == sample_token(0)
    assert first.vehicle.tolist() == [100.0, 0.0]
    assert first.truths.name.tolist() == ["car", "car", "traffic_cone"]
    assert first.truths.distance == pytest.approx([10, 30, 5])
    assert first.truths.score.tolist() == [1, 1, 1]
    assert first.truths.size.tolist() == [[2.0, 4.0, 1.5]] * 3
    assert first.predictions.score.tolist() == [0.9, 0.2]
    assert first.predictions.centre[:, :2].tolist() == [[110.3, 0.5], [129.4, 0.0]]
    # .58 and .6 m are too far for the first distance.
    assert first.matches.tolist() == [[-1, 0, 0, 0], [-1, 1, 1, 1]]
    assert first.predictions.yaw.tolist() == [0.0, 0.0]
    assert first.predictions.attribute.tolist() == ["", ""]


SAMPLE = sample_token(0)
BAD = {
    "raises": (
        "def measure(sample):\n    return 1 / 0, 1",
        f"7: ZeroDivisionError: division by zero (sample {SAMPLE})",
    ),
    "raises on the second sample": (
        "def measure(sample):\n    assert sample.vehicle[1] < 1, 'too far'\n    return 0, 1",
        f"7: AssertionError: too far (sample {sample_token(1)})",
    ),
    "nan": (
        "def measure(sample):\n    return float('nan'), 1",
        f"6: measure gives nan (sample {SAMPLE})",
    ),
    "infinite": (
        "def measure(sample):\n    return 1, float('inf')",
        f"6: measure gives inf (sample {SAMPLE})",
    ),
    "three numbers": (
        "def measure(sample):\n    return 1, 2, 3",
        ("6: measure gives 3 numbers, not 2, a numerator and a denominator, or a function number "
        f"(sample {SAMPLE})"),
    ),
    "one number": (
        "def measure(sample):\n    return 1",
        f"6: measure gives numbers [], not numbers [K] (sample {SAMPLE})",
    ),
    "a text": (
        "def measure(sample):\n    return '12'",
        f"6: measure gives values of <U2 [], not numbers [K] (sample {SAMPLE})",
    ),
    "nothing": (
        "def measure(sample):\n    pass",
        f"6: measure gives values of object [], not numbers [K] (sample {SAMPLE})",
    ),
    "ragged": (
        "def measure(sample):\n    return [1], [2, 3]",
        f"6: measure gives values of object [], not numbers [K] (sample {SAMPLE})",
    ),
    "complex": (
        "def measure(sample):\n    return 1j, 1",
        f"6: measure gives values of complex128 [2], not numbers [K] (sample {SAMPLE})",
    ),
    "other widths": (
        ("def measure(sample):\n    return [1] * (1 + len(sample.predictions))\n"
        "def number(sums):\n    return sums[0]"),
        f"6: measure gives 2 numbers, not 3 (sample {sample_token(1)})",
    ),
    "a negative denominator": (
        "def measure(sample):\n    return 1, -2",
        f"6: measure gives the negative denominator -2 (sample {SAMPLE})",
    ),
    "prints": (
        "def measure(sample):\n    print('here')\n    return 0, 1",
        f"7: prints 'here' (sample {SAMPLE})",
    ),
    "prints on stderr behind a try": (
        ("import sys\ndef measure(sample):\n    try:\n        sys.stderr.write('a')\n"
        "    except Exception:\n        pass\n    return 0, 1"),
        f"9: prints 'a' (sample {SAMPLE})",
    ),
    "changes its input": (
        "def measure(sample):\n    sample.truths.centre[0] = 0\n    return 0, 1",
        f"7: ValueError: assignment destination is read-only (sample {SAMPLE})",
    ),
    "makes its input writeable": (
        "def measure(sample):\n    sample.predictions.score.flags.writeable = True\n    return 0, 1",
        f"7: ValueError: cannot set WRITEABLE flag to True of this array (sample {SAMPLE})",
    ),
    "replaces its input": (
        "def measure(sample):\n    sample.truths = None\n    return 0, 1",
        f"7: FrozenInstanceError: cannot assign to field 'truths' (sample {SAMPLE})",
    ),
    "counts its calls": (
        "calls = []\ndef measure(sample):\n    calls.append(1)\n    return len(calls), 1",
        f"7: gives other numbers the second time (sample {SAMPLE})",
    ),
    "takes long": (
        "import time\ndef measure(sample):\n    time.sleep(60)\n    return 0, 1",
        f"8: takes more than 0.2 s (sample {SAMPLE})",
    ),
    "takes long behind a try": (
        ("def measure(sample):\n    while True:\n        try:\n            sum(range(999))\n"
        "        except Exception:\n            pass"),
        f"takes more than 0.2 s (sample {SAMPLE})",
    ),
    "exits": (
        "def measure(sample):\n    raise SystemExit(3)",
        f"7: SystemExit: 3 (sample {SAMPLE})",
    ),
    "steers the terminal": (
        "def measure(sample):\n    raise ValueError('\\x1b[2J' + 'long ' * 99)",
        "7: ValueError: \\x1b[2Jlong long",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_metric_is_named_with_its_line_and_sample(
    place: Path,
    two: tuple[GroundTruth, Predictions],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    case: str,
) -> None:
    monkeypatch.setattr(own_metric_files, "MOST_SECONDS", 0.2)
    body, said = BAD[case]
    write(place, body)
    metric = load_metric("mine", RESULTS)
    with pytest.raises(RequestError) as refused:
        measure(metric, *two)
    (fault,) = refused.value.faults
    assert fault.line.startswith("metrics/mine.py:")
    assert said in fault.line
    assert len(fault.line) <= LONGEST
    assert fault.line.isprintable()
    assert capfd.readouterr() == ("", "")


NUMBERS = {
    "raises": ("return sums[5]", "11: IndexError: index 5 is out of bounds"),
    "a list": ("return sums", "6: number gives numbers [1], not"),
    "infinite": ("return float('inf')", "6: number gives inf, not within (-inf, inf) or NaN"),
    "nothing": ("pass", "6: number gives values of object [], not a number or NaN"),
    "changes its input": ("sums[0] = 1", "11: ValueError: assignment destination is read-only"),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_a_bad_number_is_named_with_its_line(
    place: Path, two: tuple[GroundTruth, Predictions], case: str
) -> None:
    body, said = NUMBERS[case]
    write(place, f"def measure(sample):\n    return [2, 3]\n\n\ndef number(sums):\n    {body}")
    with pytest.raises(RequestError, match="metrics/mine") as refused:
        numbers(load_metric("mine", RESULTS), two)
    assert f"metrics/mine.py:{said}".replace(" [1]", " [2]") in str(refused.value)


GOOD = "def measure(sample):\n    return 0, 1"
FILES = {
    "no summary": ("better = 'more'\n" + GOOD, "mine.py:1: begins with no line that says"),
    "no direction": ('"""It."""\n' + GOOD, "mine.py:1: better is None, not 'more' or 'less'"),
    "another direction": ('"""It."""\nbetter = "up"\n' + GOOD, "better is 'up', not 'more' or"),
    "no function": ('"""It."""\nbetter = "less"', "mine.py:1: has no function measure(sample)"),
    "two arguments": (
        '"""It."""\nbetter = "less"\ndef measure(found, real): pass',
        "has no function measure(sample)",
    ),
    "number of three": (
        f'"""It."""\nbetter = "less"\n{GOOD}\ndef number(a, b, c): pass',
        "mine.py:1: number takes sums, or rows and copies",
    ),
    "bounds": (
        f'"""It."""\nbetter = "less"\nbounds = (1, 0)\n{GOOD}',
        "mine.py:1: bounds are (1, 0), not two rising numbers",
    ),
    "syntax": ('"""It."""\nbetter = = 1', "mine.py:2: invalid syntax"),
    "an import": ('"""It."""\nimport nothing_like_it', "mine.py:2: needs the package nothing_like_it"),
    "raises": ('"""It."""\nraise ValueError("\\x1b")', "mine.py:2: ValueError: \\x1b"),
    "prints": ('"""It."""\nprint("hello")', "mine.py:2: prints 'hello'"),
    "exits": ('"""It."""\nimport sys\nsys.exit(0)', "mine.py:3: SystemExit: 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_metric_is_named_with_its_line(
    place: Path, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    text, said = FILES[case]
    (place / "metrics" / "mine.py").write_text(text)
    with pytest.raises(RequestError) as refused:
        load_metric("mine", RESULTS)
    (fault,) = refused.value.faults
    assert said in printable(fault.line)
    assert fault.line.startswith("metrics/mine.py:")
    assert capfd.readouterr() == ("", "")


def test_files_that_cannot_be_read_are_named(place: Path) -> None:
    (place / "metrics" / "latin.py").write_bytes(b'"""It."""\nname = "\xe9"\n')
    with pytest.raises(RequestError, match=r"metrics/latin\.py:2: is not UTF-8 text"):
        load_metric("latin", RESULTS)
    os.mkfifo(place / "metrics" / "pipe.py")
    with pytest.raises(RequestError, match=r"metrics/pipe\.py: it is a FIFO, not a file"):
        load_metric("pipe", RESULTS)
    with pytest.raises(
        RequestError, match=r"no own metric 'latn': no file metrics/NAME\.py: did you mean 'latin'"
    ):
        load_metric("latn", RESULTS)
    write(place, GOOD, "map")
    with pytest.raises(RequestError, match="map is a metric of the benchmark"):
        load_metric("map", RESULTS)


def test_metrics_are_found_as_ideas_are_and_never_in_a_results_folder(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place, GOOD)
    for folder in ("lab/metrics", "team/ideas", "team/metrics", "results/metrics", "plain"):
        (place / folder).mkdir(parents=True)
    text = (place / "metrics" / "mine.py").read_text()
    for file in ("lab/metrics/of_lab", "team/metrics/of_team", "plain/alone", "team/ideas/an_idea"):
        (place / f"{file}.py").write_text(text)
    (place / "results" / "metrics" / "planted.py").write_text("raise SystemExit")
    (place / "metrics" / "linked.py").symlink_to(place / "results" / "metrics" / "planted.py")
    (place / "metrics" / "test_mine.py").write_text("")
    (place / "metrics" / "_helper.py").write_text("")
    (place / "metrics" / "no name.py").write_text("")
    results = place / "results"
    assert [*metric_files(results)] == ["mine"]
    path = os.pathsep.join(map(str, ("lab", place / "team" / "ideas", place / "plain", results)))
    monkeypatch.setenv("AQR_EXP_PATH", path)
    assert [*metric_files(results)] == ["mine", "of_lab", "of_team", "alone"]
    (place / "plain" / "mine.py").write_text(text)
    with pytest.raises(
        RequestError, match=r"two metrics are named mine: metrics/mine\.py and plain"
    ):
        metric_files(results)


def test_comments_change_no_metric_and_numbers_and_helpers_do(place: Path) -> None:
    path = write(place, "from _share import LIMIT\ndef measure(sample):\n    return LIMIT, 1")
    helper = place / "metrics" / "_share.py"
    helper.write_text("LIMIT = 3\n")
    first = source_of(path)
    path.write_text(path.read_text().replace("\n    return", "\n    # so\n    return") + "\n\n")
    assert source_of(path) == first
    helper.write_text("LIMIT = 4\n")
    other = source_of(path)
    assert other != first
    helper.write_text("LIMIT = 3  # metres\n")
    assert source_of(path) == first
    path.write_text(path.read_text().replace("LIMIT, 1", "LIMIT, 2"))
    assert source_of(path) not in (first, other)
