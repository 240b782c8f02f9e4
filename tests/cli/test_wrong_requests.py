"""Wrong requests over all commands, made by a seeded generator: each ends in one right line."""

import contextlib
import io
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from made_up_data import write_identity

from aqr_exp.cli.main import main
from aqr_exp.config.convert import dotted_keys
from aqr_exp.config.schema import RunConfig

STORED = Path(__file__).parent.parent / "stored"
COUNT = 300
RUN = "baseline-63bc03a46fd5-s0"


@dataclass(frozen=True)
class Wrong:
    """A wrong request, and words that its line must hold.

    Attributes:
        kind: What is wrong, for the test's own messages.
        files: Texts of files to write first, by name.
    """

    kind: str
    typed: tuple[str, ...]
    holds: tuple[str, ...]
    files: tuple[tuple[str, str], ...] = ()


Make = Callable[[random.Random], Wrong]
KEYS = dotted_keys(RunConfig)
PLAIN = [key for key in KEYS if key.split(".")[0] in {"model", "data", "schedule", "launcher"}]
PLAIN = [key for key in PLAIN if key != "data.fingerprint" and "gt_sampling" not in key]
PLAIN = [key for key in PLAIN if not key.startswith("launcher.slurm.")]  # as absent as that
# Read from a file beside the data.
PLAIN = [key for key in PLAIN if not key.startswith("data.description.")]
RANGED = [key for key in PLAIN if KEYS[key].range and KEYS[key].type in (int, float)]
BOOLS = [key for key in PLAIN if KEYS[key].type is bool]
GROUPS = ["model", "schedule", "preset", "data", "launcher"]
# How a request with overrides can be made.
BASES = [
    ("run", "baseline"),
    ("run", "baseline", "--dry-run"),
    ("config", "baseline"),
    ("sweep", "baseline"),
    ("sweep", "baseline", "--dry-run"),
    ("sweep", "smoke", "--dry-run"),
    ("data", "show", "0"),
    ("data", "failures"),
    ("analyze", "windows", "attention_bias"),
]


def base(rng: random.Random) -> tuple[str, ...]:
    return rng.choice(BASES)


def misspelt(rng: random.Random, word: str) -> str:
    at = rng.randrange(1, len(word) - 1)
    return word[:at] + rng.choice("qxz") + word[at + 1 :]


def unknown_key(rng: random.Random) -> Wrong:
    head = rng.choice(["", "model.", "model.head.", "schedule.", "data.augment."])
    key = f"{head}zzqq{rng.randrange(100)}"
    return Wrong("unknown key", (*base(rng), f"{key}=1"), (f"unknown key '{key}'",))


def near_key(rng: random.Random) -> Wrong:
    key = rng.choice([key for key in PLAIN if len(key.rpartition(".")[2]) > 6])
    head, _, leaf = key.rpartition(".")
    typed = f"{head}.{misspelt(rng, leaf)}"
    return Wrong("near key", (*base(rng), f"{typed}=1"), (typed, f"did you mean '{key}'?"))


def wrong_type(rng: random.Random) -> Wrong:
    key = rng.choice(RANGED)
    value = rng.choice(["abc", "true", "{a: 1}", "[1]", "null", "''", "1.5.2", "0x10", "1 2"])
    return Wrong("wrong type", (*base(rng), f"{key}={value}"), (key, "must be a"))


def out_of_range(rng: random.Random) -> Wrong:
    key = rng.choice(RANGED)
    limits = KEYS[key].range
    assert limits is not None
    value = rng.choice([int(limits.high) + 1, int(limits.low) - 1, 10**18, -(10**18)])
    return Wrong("range", (*base(rng), f"{key}={value}"), (key, str(value), "from", "to"))


def not_finite(rng: random.Random) -> Wrong:
    key = rng.choice(RANGED)
    value = rng.choice(["nan", "inf", "-inf", "1e999"])
    return Wrong("not finite", (*base(rng), f"{key}={value}"), (key, "must be a"))


def huge(rng: random.Random) -> Wrong:
    key = rng.choice(RANGED)
    value = rng.choice(["9" * 400, "9" * 5000, "1" + "0" * 1000, "-" + "8" * 4400])
    return Wrong("huge", (*base(rng), f"{key}={value}"), (key, "must be a"))


def not_bool(rng: random.Random) -> Wrong:
    key = rng.choice(BOOLS)
    value = rng.choice(["2", "yes_", "ture", "1.0", "[true]"])
    return Wrong("bool", (*base(rng), f"{key}={value}"), (key, "must be true or false"))


def empty(rng: random.Random) -> Wrong:
    key = rng.choice(RANGED)
    return Wrong("empty", (*base(rng), f"{key}="), (key,))


def twice(rng: random.Random) -> Wrong:
    key = rng.choice(RANGED)
    return Wrong("twice", (*base(rng), f"{key}=1", f"{key}=1"), (f"'{key}' is given twice",))


def list_for_scalar(rng: random.Random) -> Wrong:
    typed = f"{rng.choice(RANGED)}=1,2"
    start = rng.choice([one for one in BASES if one[0] != "sweep"])
    return Wrong("list", (*start, typed), (typed, "names several values: a run takes one"))


def scalar_for_list(rng: random.Random) -> Wrong:
    keys = ["data.augment.resize", "model.image.mean", "model.lidar.grid_size"]
    key = rng.choice([*keys, "model.point_cloud_range_m"])
    return Wrong("scalar", (*base(rng), f"{key}=3"), (f"{key}=3", "must be a list of"))


def no_equals(rng: random.Random) -> Wrong:
    key = rng.choice(RANGED)
    words = rng.choice([(key, "3"), (key,), (f"={key}",)])
    return Wrong("no equals", (*base(rng), *words), ("write it as key=value",))


def other_value(rng: random.Random) -> Wrong:
    key, value = rng.choice(
        [
            ("schedule", "cmt_tiny"),
            ("model", "quick"),
            ("launcher.device", "local"),
            ("preset", "cmt_lidar"),
        ]
    )
    return Wrong("other's value", (*base(rng), f"{key}={value}"), (key, value))


def look_alike(rng: random.Random) -> Wrong:
    key = rng.choice([key for key in RANGED if "e" in key])
    typed = key.replace("e", rng.choice(["\u0435", "\uff45", "e\u0301"]), 1)
    return Wrong("look-alike", (*base(rng), f"{typed}=1"), ("unknown key", "did you mean"))


def option_of_group(rng: random.Random) -> Wrong:
    group = rng.choice(["model", "schedule", "preset", "launcher"])
    near = {"model": "cmt_tinny", "schedule": "quik", "preset": "smoek", "launcher": "locla"}[group]
    typed = (*base(rng), f"{group}={near}")
    return Wrong("option", typed, (f"unknown {group} '{near}'", "did you mean"))


def variant(rng: random.Random) -> Wrong:
    name, nearest = rng.choice(
        [("basline", "baseline"), ("atention_bias", "attention_bias"), ("BASELINE", "baseline")]
    )
    command = rng.choice([("run",), ("config",), ("sweep",), ("analyze", "windows")])
    return Wrong("variant", (*command, name), (name, f"did you mean '{nearest}'?"))


def run_name(rng: random.Random) -> Wrong:
    command = rng.choice(
        [
            ("show",),
            ("cancel",),
            ("cost",),
            ("analyze", "bias"),
            ("retry",),
            ("resume",),
            ("why", "baseline"),
        ]
    )
    name = "baseline-63bc03a46fd9-s0"
    after = ("--failures", "all") if command == ("eval",) else ()
    return Wrong("run", (*command, name, *after), (name, "did you mean 'baseline-63bc"))


def sweep_name(rng: random.Random) -> Wrong:
    command, name, nearest = rng.choice(
        [
            (("watch",), "scaels", "scales"),
            (("confirm",), "scaels", "scales"),
            (("table", "--sweep"), "scaels", "scales"),
            (("sweep",), "bias_scal", "bias_scale"),
            (("sweep",), "smok", "smoke"),
        ]
    )
    return Wrong("sweep", (*command, name), (name, f"did you mean '{nearest}'?"))


def choice(rng: random.Random) -> Wrong:
    command, option, value, nearest = rng.choice(
        [
            (("table",), "--by", "metrc", "metric"),
            (("table",), "--format", "jsno", "json"),
            (("compare", "baseline", "attention"), "--by", "sceen", "scene"),
            (("plot", "classes"), "--width", "colum", "column"),
            (("confirm", "scales"), "--format", "markdwn", "md"),
            (("eval", RUN), "--failures", "beems", "beams"),
            (("eval", RUN), "--failures", "beams@7", "beams"),
        ]
    )
    return Wrong("choice", (*command, option, value), (value.partition("@")[0], nearest[:2]))


def metric(rng: random.Random) -> Wrong:
    command = rng.choice(
        [
            ("table", "--metrics"),
            ("compare", RUN, "baseline-63bc03a46fd5-s1", "--metrics"),
            ("confirm", "scales", "--metric"),
            ("plot", "sweep", "bias_scale", "--metric"),
            ("plot", "curves", "--metric"),
        ]
    )
    name = rng.choice(["foo", "mAPP", "mAP@nihgt", "AP/caar", "maP@", "m\u0410P"])
    return Wrong("metric", (*command, name), (name,))


def condition(rng: random.Random) -> Wrong:
    command = rng.choice([("table",), ("plot", "classes"), ("plot", "scale")])
    text = rng.choice(
        [
            "bias_scale = 2", "bias_scale=2", "bias_scale >", "((", "__import__('os')", "bias_scal > 2",
            "bias_scale > 2; 1", "1 +", "x" * 2000, "seed == 1 &&", "seed => 1", "'a'", "seed + 1",
            "s\u0435ed == 1", "not 1", "[1]", "1", "bias_scale > 1 > 2 >",
        ]
    )  # fmt: skip
    return Wrong("condition", (*command, "--where", text), ("condition",))


def number_option(rng: random.Random) -> Wrong:
    command, option = rng.choice(
        [
            (("compare", "a", "b"), "--scenes"),
            (("compare", "a", "b"), "--resamples"),
            (("confirm", "scales"), "--best"),
            (("confirm", "scales"), "--seeds"),
            (("sweep", "smoke"), "--slots"),
            (("retry",), "--slots"),
            (("resume",), "--slots"),
            (("data", "synth"), "--seed"),
            (("data", "synth"), "--train-scenes"),
            (("data", "synth"), "--keyframes"),
            (("data", "synth"), "--workers"),
            (("data", "prepare", "--root", "x"), "--workers"),
            (("data", "check", "--root", "x"), "--images"),
            (("data", "show", "0"), "--epoch"),
            (("data", "failures"), "--sample"),
            (("analyze", "windows", "attention_bias"), "--boxes"),
            (("analyze", "bias", RUN), "--queries"),
            (("cost", RUN), "--samples"),
            (("cost", RUN), "--passes"),
        ]
    )
    value = rng.choice(["-1", "1.5", "abc", "", "nan", "-99999999999", "9" * 30])
    return Wrong("number", (*command, option, value), ())


def no_command(rng: random.Random) -> Wrong:
    typed = rng.choice([("rnu",), ("tabel",), ("plot", "sweeep"), ("data", "prepar"), ("diff",)])
    return Wrong("command", typed, ("No such command", typed[-1]))


def no_option(rng: random.Random) -> Wrong:
    command = rng.choice(
        [("run", "baseline"), ("sweep", "smoke"), ("table",), ("list",), ("doctor",)]
    )
    option = rng.choice(
        ["--forse", "--jsn", "--nothing", "--bias_scale", "--bias-scale=3", "--seed"]
    )
    return Wrong("option", (*command, option), (option.partition("=")[0],))


def missing_argument(rng: random.Random) -> Wrong:
    typed = rng.choice(
        [("run",), ("sweep",), ("show",), ("why", "baseline"), ("compare", "baseline"), ("eval",)]
    )
    return Wrong("missing", typed, ("issing",))


def file(rng: random.Random) -> Wrong:
    typed, holds = rng.choice(
        [
            (("sweep", "gone.yaml"), "gone.yaml"),
            (("sweep", "folder/"), "folder/"),
            (("sweep", "folder.yaml"), "folder.yaml"),
            (("run", "baseline", "start.load_from=gone.pth"), "gone.pth"),
            (("run", "baseline", "start.load_from=folder.yaml"), "is a folder"),
            (("run", "baseline", "data.root=gone"), "no data set there"),
            (("run", "baseline", "data.root=~nosuchuser/x"), "data.root"),
            (("config", "baseline", "start.load_from=~nosuchuser/x"), "start.load_from"),
            (("data", "check", "--root", "gone"), "gone"),
            (("data", "prepare", "--root", "gone"), "gone"),
            (("data", "check", "--root", "~nosuchuser/x"), "~nosuchuser"),
            (("data", "show", "0", "--out", "gone/x.png"), "gone"),
            (("data", "show", "0", "--out", "x.docx"), "x.docx"),
            (("data", "failures", "--out", "file.txt"), "file.txt"),
            (("run", "baseline", "data.val_split=vall"), "vall"),
            (("run", "baseline", "data.train_split=synth_trian"), "did you mean 'synth_train'?"),
            (("run", "baseline", "data.version=v1.0-mini"), "v1.0-mini"),
            (("run", "baseline", "schedule.batch_size=11"), "from 1 to 10"),
            (("run", "baseline", "schedule.batch_size=1000"), "from 1 to 10"),
            (("sweep", "baseline", "schedule.batch_size=1,1000"), "from 1 to 10"),
            (("sweep", "smoke", "schedule.batch_size=1000", "--dry-run"), "from 1 to 10"),
            (
                ("run", "baseline", "schedule.validate_every_epochs=9", "schedule.epochs=3"),
                "at most",
            ),
        ]
    )
    return Wrong("file", typed, (holds,))


def exclusive(rng: random.Random) -> Wrong:
    typed = rng.choice(
        [
            ("sweep", "smoke", "--json"),
            ("sweep", "smoke", "--fill"),
            ("table", "--verify", "--at-epoch", "1"),
            ("table", "--by", "failure", "--verify"),
            ("table", "--by", "cost", "--verify"),
            ("table", "--by", "failure", "--reference"),
            ("compare", RUN, RUN),
            ("sweep", "attention_bias", "trials=3"),
            ("sweep", "attention_bias", "objective=mAP"),
            ("sweep", "attention_bias", "bias_scale=interval(1,2)"),
            ("confirm", "scales", "bias_scale=3"),
            ("retry",),
        ]
    )
    return Wrong("exclusive", typed, ())


YAML = [
    ("gird: {}", "unknown key 'gird'"),
    ("grid:\n  bias_scale: []", "'bias_scale' is an empty list"),
    ("grid:\n  bias_scal: [1, 2]", "unknown key 'bias_scal'"),
    ("grid: 3", "3"),
    ("fixed:\n  schedule.epochs: [1, 2]", "schedule.epochs"),
    ("fixed:\n  schedule.epochs: 0", "schedule.epochs=0"),
    ("fixed:\n  schedule.epochs: .nan", "schedule.epochs"),
    ("fixed: [a]", "'fixed'"),
    ("fixed:\n\tschedule.epochs: 1", "is not YAML"),
    ("fixed: {a: *b}", "alias"),
    ("fixed: {schedule.epochs: 1, schedule.epochs: 2}", "given twice"),
    ("seeds: [one]", "seed is"),
    ("seeds: [-1]", "seed is"),
    ("seeds: []", "empty list"),
    ("seeds: 3", "'seeds' is"),
    ("seeds: range(3, 1)", "not a range"),
    ("seeds: [" + "9" * 5000 + "]", "seed is"),
    ("variant: nothing", "unknown variant 'nothing'"),
    ("skip: bias_scale >", "condition"),
    ("skip: 3", "condition"),
    ("skip: bias_scal > 3", "unknown key 'bias_scal'"),
    ("baseline: maybe", "'baseline' is"),
    ("points: [1]", "point"),
    ("points: []", "empty list"),
    ("points:\n  - {variant: atention_bias}", "did you mean 'attention_bias'?"),
    ("zip: {bias_scale: [1, 2], window_size: [5]}", "differ in length"),
    ("strategy: optna", "did you mean 'optuna'?"),
    ("strategy: optuna\ntrials: 0", "'trials' is '0'"),
    ("strategy: optuna\ntrials: 5", "space"),
    ("strategy: optuna\ntrials: 5\nsearch: {bias_scale: 3}", "nothing to search"),
    ("strategy: optuna\ntrials: 5\nsearch: {bias_scale: 'interval(3, 1)'}", "interval"),
    ("strategy: optuna\ntrials: 5\nsearch: {bias_scale: [1, 2]}\nobjective: mAPP", "objective"),
    ("name: a/b", "cannot be a sweep's name"),
    ("name: ''", "name"),
    ("description: [1]", "description"),
    ("\u0441eeds: [1]", "did you mean 'seeds'?"),
    ("'" + "k" * 900 + "': 1", "unknown key"),
    ("'" + "k" * 3000 + "': 1", "is not YAML"),
    ("- 1", "not YAML"),
]


def yaml(rng: random.Random) -> Wrong:
    text, holds = rng.choice(YAML)
    lead = "\n" * rng.randrange(4)
    head = "" if text.startswith("variant") else "variant: attention_bias\n"
    content = f"{lead}# a sweep\n{head}{text}\n"
    return Wrong(
        "yaml", ("sweep", "w.yaml", "--dry-run"), ("w.yaml", holds), (("w.yaml", content),)
    )


MAKERS: list[Make] = [
    unknown_key, near_key, wrong_type, out_of_range, not_finite, huge, not_bool, empty, twice,
    list_for_scalar, scalar_for_list, no_equals, other_value, look_alike, option_of_group, variant,
    run_name, sweep_name, choice, metric, condition, number_option, no_command, no_option,
    missing_argument, file, exclusive, yaml, yaml, yaml,
]  # fmt: skip


def requests(seed: int, count: int) -> Iterator[Wrong]:
    rng = random.Random(seed)  # noqa: S311 - no secrets
    for at in range(count):
        yield MAKERS[at % len(MAKERS)](rng)


def left_behind(root: Path) -> set[str]:
    """Everything below a folder; caches may come and go."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if ".cache" not in path.parts}


def fault_of(wrong: Wrong, place: Path) -> str | None:
    """What is wrong with the answer to a wrong request; None where it is right."""
    for name, text in wrong.files:
        (place / name).write_text(text)
    before = left_behind(place)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(wrong.typed)
    lines = err.getvalue().splitlines()
    found = []
    if code != 2:
        found.append(f"exit code {code}")
    if len(lines) != 1:
        found.append(f"{len(lines)} lines")
    if any(len(line) > 200 for line in lines):
        found.append(f"{max(map(len, lines))} characters")
    found += [f"lacks {word!r}" for word in wrong.holds if word not in err.getvalue()]
    if "internal error" in err.getvalue() or not all(
        line.startswith("aqr-exp: ") for line in lines
    ):
        found.append("not a fault's line")
    if out.getvalue():
        found.append("prints to stdout")
    if left_behind(place) != before:
        found.append(f"leaves {sorted(left_behind(place) ^ before)} behind")
    if not found:
        return None
    typed = " ".join(word if len(word) < 60 else word[:57] + "..." for word in wrong.typed)
    return f"{wrong.kind}: {typed} {wrong.files}: {', '.join(found)}:\n    {err.getvalue()[:600]}"


@pytest.fixture
def workplace(place: Path) -> Path:
    write_identity(place / "data" / "synth")
    shutil.copytree(STORED / "results", place / "results")
    (place / "folder.yaml").mkdir()
    (place / "folder").mkdir()
    (place / "file.txt").write_text("x")
    return place


def test_every_wrong_request_is_one_right_line(workplace: Path) -> None:
    faults = [found for wrong in requests(14, COUNT) if (found := fault_of(wrong, workplace))]
    assert not faults, f"{len(faults)} of {COUNT}:\n" + "\n".join(faults)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("diff a b", "No such command 'diff': did you mean 'compare'?"),
        ("help", "No such command 'help': did you mean '--help'?"),
        ("run baseline launcher.device=gpu", "one of auto, cpu, cuda: did you mean 'cuda'?"),
        ("run baseline lr=0.001", "unknown key 'lr': did you mean 'schedule.learning_rate'?"),
        ("run attention_bias --bias_scale 3", "did you mean 'bias_scale=...'?"),
        ("run attention_bias --bias-scale=3", "did you mean 'bias_scale=...'?"),
        ("run attention_bias bias_scale 3", "write it as key=value, such as bias_scale=3"),
        ("run baseline =3", "write it as key=value"),
        ("table --json", "did you mean '--format json'?"),
        ("table --where bias_scale=2", ": write == to compare"),
        ("run baseline schedule.batch_size=11",
         "schedule.batch_size=11: a batch of more samples than synth_train has: must be from 1 to 10"),
        ("run baseline schedule.epochs=2 schedule.validate_every_epochs=3",
         "schedule.validate_every_epochs=3: must be at most schedule.epochs=2, or 0 for never"),
        ("run baseline schedule.mean_of_last=1",
         "schedule.mean_of_last=1: must be at most 0, the evaluations of schedule.validate_every_epochs=0"),
        ("run baseline schedule.epochs=5 schedule.validate_every_epochs=2 schedule.mean_of_last=4",
         "schedule.mean_of_last=4: must be at most 3, the evaluations of schedule.validate_every_epochs=2"),
        ("run baseline schedule.ema_decay=1", "schedule.ema_decay=1: must be a number from 0 to 0.999999"),
    ],
)  # fmt: skip
def test_what_was_meant_is_named(
    workplace: Path, typed: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed.split()) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.rstrip().endswith(line)


def test_a_split_without_samples_is_refused(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workplace / "data" / "synth" / "aqr_infos" / "fingerprint.json"
    path.write_text(path.read_text().replace('"synth_val": 4', '"synth_val": 0'))
    for typed in ("run baseline", "sweep smoke --dry-run", "sweep baseline"):
        assert main(typed.split()) == 2
        err = capsys.readouterr().err
        assert err.endswith(" data.val_split='synth_val': the split has no samples\n")
        assert len(err.splitlines()) == 1
