"""Ideas that cannot be used: one line that names file and line, and nothing begun."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from ideas_at_hand import GAIN, forget_ideas, write_idea

from aqr_exp.cli.main import main
from aqr_exp.config.idea_files import PATH_VARIABLE
from aqr_exp.config.load import load_run
from aqr_exp.config.variant_spec import variant_specs


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with one sound idea."""
    forget_ideas()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    write_idea("sound")
    yield tmp_path
    forget_ideas()


def refusal(capsys: pytest.CaptureFixture[str], name: str = "broken", *typed: str) -> str:
    """The one line that `run` ends with; nothing else is said, and nothing made."""
    before = _files()
    assert main(["run", name, *typed]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("aqr-exp: ")
    assert len(line) <= 200
    assert line.isprintable()
    assert _files() == before
    return line.removeprefix("aqr-exp: ")


def _files() -> list[Path]:
    """What lies in the working folder, but for the bytecode that an import may leave."""
    return [path for path in sorted(Path().rglob("*")) if "__pycache__" not in path.parts]


HEAD = GAIN[: GAIN.index("@dataclass")]
SETTINGS = "@dataclass(frozen=True, kw_only=True)\nclass S(Settings):\n"
MODULE = "class M(Idea):\n    def set_epoch(self, epoch): ...\n"
AT = HEAD.count("\n") + 1
"""The line after the imports."""


def _of_field(field: str) -> str:
    return f"{HEAD}{SETTINGS}    {field}\n{MODULE}"


SPEC = "from aqr_exp.ideas import VariantSpec\nSPEC = VariantSpec"
END = GAIN.count("\n") + 1

CASES = {
    "syntax": ("x = 1\ndef (:\n", "2: invalid syntax"),
    "indentation": ("if 1:\nx = 2\n", "2: expected an indented block"),
    "no settings": (
        HEAD + MODULE,
        "1: has no class that derives from Settings of ",
    ),
    "no module": (
        HEAD + SETTINGS + "    a: int = 1\n",
        "1: has no class that derives from Idea ",
    ),
    "empty": ("", "1: has no class that derives from Settings of aqr_exp.ideas"),
    "two settings": (
        HEAD
        + SETTINGS
        + "    a: int = 1\n"
        + (SETTINGS + "    b: int = 2\n").replace("S(", "T(")
        + MODULE,
        f"{AT + 4}: two classes derive from Settings: S and T (keep one; ",
    ),
    "two modules": (
        GAIN + "\n\nclass Other(Idea):\n    ...\n",
        f"{END + 2}: two classes derive from Idea: MyGainModule and Other (keep one; ",
    ),
    "no hook": (
        _of_field("a: int = 1").replace("set_epoch", "forward"),
        f"{AT + 3}: M overrides no hook and would change nothing (hooks: learning_rates, ",
    ),
    "a misspelt hook": (
        GAIN.replace("features(", "feature("),
        f"{END - 2}: feature is no hook: did you mean 'features'? (names of helpers begin with _)",
    ),
    "no default": (
        _of_field("a: int"),
        f"{AT + 2}: a has no default",
    ),
    "a list": (
        _of_field("a: list[float] = None"),
        f"{AT + 2}: a: settings are bool, int, ",
    ),
    "a path": (
        _of_field("a: 'os.PathLike' = None"),
        f"{AT + 1}: NameError: name 'os' is not defined",
    ),
    "one of two types": (
        _of_field("a: int | str = 1"),
        f"{AT + 2}: a: int | str is not a configuration field: write one type, or ",
    ),
    "numbers to choose from": (
        "from typing import Literal\n" + _of_field("a: Literal[1, 2] = 1"),
        f"{AT + 3}: a: settings are bool, int, ",
    ),
    "out of range": (
        GAIN.replace("= 1.0", "= 9.0"),
        f"{AT + 8}: start=9.0: must be a number from 0 to 4",
    ),
    "not a number": (
        GAIN.replace("= 1.0", "= float('nan')"),
        f"{AT + 8}: start=nan: must be a number from 0 to 4",
    ),
    "of another type": (
        GAIN.replace("= 1.0", "= 'one'"),
        f"{AT + 8}: start='one': must be a number from 0 to 4",
    ),
    "a default that fails": (
        "from dataclasses import field\n"
        + _of_field("a: int = field(default_factory=lambda: 1 // 0)"),
        f"{AT + 3}: ZeroDivisionError: integer division or modulo by zero",
    ),
    "a default to be resolved": (
        _of_field("a: str = '${oc.env:HOME}'"),
        f"{AT + 2}: a: a default is a text as it is, without ${{",
    ),
    "not frozen": (
        GAIN.replace("frozen=True, ", ""),
        "12: settings must be frozen: write @dataclass(frozen=True, kw_only=True)",
    ),
    "no dataclass": (
        GAIN.replace("@dataclass(frozen=True, kw_only=True)\n", ""),
        "12: MyGain is no dataclass: write @dataclass(frozen=True, kw_only=True)",
    ),
    "not installed": (
        "import math\nimport timm_of_us.models\n" + GAIN,
        "2: needs the package timm_of_us, which is not installed",
    ),
    "no such module": (
        "import json.nothing\n",
        "1: there is no module json.nothing",
    ),
    "no such name": (
        "from aqr_exp.ideas import Setings\n",
        "1: aqr_exp.ideas has no Setings: did you mean 'Settings'?",
    ),
    "raises": (
        "def f():\n    raise ValueError('a\\nb\\x1b[31mred\\u202e')\nf()\n",
        "2: ValueError: a b\\x1b[31mred\\u202e",
    ),
    "says much": ("raise ValueError('x' * 5000)\n", "1: ValueError: xxxxx"),
    "says nothing": (
        "class E(Exception):\n    def __str__(self): raise self\nraise E\n",
        "3: E",
    ),
    "ends Python": ("import sys\nsys.exit(0)\n", "2: SystemExit: 0"),
    "no spec": (
        GAIN + "SPEC = {'rules': 1}\n",
        f"{END}: SPEC must be a VariantSpec ",
    ),
    "a spec of another": (
        SPEC + "(name='other')\n" + GAIN,
        "2: SPEC must be a VariantSpec without a name: the idea's is broken",
    ),
    "a short name that is taken": (
        SPEC + "(short_names={'bias_scale': ('variant.start',)})\n" + GAIN,
        "2: short name 'bias_scale' is taken: choose another",
    ),
    "a short name of a key": (
        SPEC + "(short_names={'seed': ('variant.start',)})\n" + GAIN,
        "2: short name 'seed' is taken: choose another",
    ),
    "a short name of nothing": (
        SPEC + "(short_names={'gain': ('variant.strat',)})\n" + GAIN,
        "2: short name 'gain' sets 'variant.strat', which is no key of the idea: did",
    ),
    "based on nothing": (
        "based_on = 'attention_bais'\n" + GAIN,
        "1: based_on must be one of attention_bias, baseline, renderer_modulator: did",
    ),
    "based on another's settings": (
        "based_on = 'attention_bias'\n" + GAIN,
        "14: MyGain must derive from AttentionBiasSettings, the settings of attention_bias",
    ),
}


@pytest.mark.parametrize(("text", "line"), CASES.values(), ids=CASES)
def test_a_broken_file_is_named_in_one_line(
    text: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_idea("broken", text)
    assert refusal(capsys).startswith(f"ideas/broken.py:{line}")
    load_run("sound")
    load_run("baseline")
    assert "broken" not in variant_specs()


def test_a_value_that_its_own_class_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    at = GAIN.index("\n\nclass MyGainModule")
    check = (
        "\n    def __post_init__(self):\n        if self.start > 3:\n"
        "            raise ValueError('too far')\n"
    )
    write_idea("broken", GAIN[:at] + check + GAIN[at:])
    load_run("broken")
    line = GAIN[:at].count("\n") + 4
    assert (
        refusal(capsys, "broken", "variant.start=3.5")
        == f"ideas/broken.py:{line}: ValueError: too far"
    )


def test_rules_that_fail(capsys: pytest.CaptureFixture[str]) -> None:
    head = (
        "from aqr_exp.ideas import VariantSpec\ndef rules(settings, run):\n    yield settings.no\n"
    )
    write_idea("broken", head + "SPEC = VariantSpec(rules=rules)\n" + GAIN)
    assert (
        refusal(capsys)
        == "ideas/broken.py:3: AttributeError: 'MyGain' object has no attribute 'no'"
    )


def test_a_file_that_is_not_utf8(capsys: pytest.CaptureFixture[str]) -> None:
    Path("ideas/broken.py").write_bytes(GAIN.encode() + b"# caf\xe9\n")
    assert refusal(capsys) == f"ideas/broken.py:{GAIN.count(chr(10)) + 1}: is not UTF-8 text"
    Path("ideas/broken.py").write_bytes(b"\xef\xbb\xbf" + GAIN.encode())
    load_run("broken")  # what editors of Windows begin a file with


def test_null_bytes_and_too_much(capsys: pytest.CaptureFixture[str]) -> None:
    Path("ideas/broken.py").write_bytes(b"x = 1\0\n")
    assert re.match(r"ideas/broken\.py:\d: .*null bytes", refusal(capsys))
    Path("ideas/broken.py").write_bytes(b"#" * (1 << 20) + b"#")
    assert refusal(capsys) == "ideas/broken.py:1: has more than 1048576 bytes"
    Path("ideas/broken.py").write_text("x = " + "(" * 5000 + ")" * 5000)
    assert refusal(capsys).startswith("ideas/broken.py:1: ")


def test_what_is_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("ideas/broken.py")
    os.mkfifo(path)
    assert refusal(capsys) == "ideas/broken.py: it is a FIFO, not a file"
    path.unlink()
    path.symlink_to("nowhere.py")
    assert refusal(capsys).startswith("ideas/broken.py: no such file or directory")
    path.unlink()
    path.symlink_to("broken.py")
    assert refusal(capsys) == "ideas/broken.py: it is a symbolic link, not a file"
    path.unlink()
    path.mkdir()
    assert refusal(capsys) == "ideas/broken.py: it is a folder, not a file"
    path.rmdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        assert refusal(capsys) == "ideas/broken.py: it is a socket, not a file"


def test_a_folder_without_code(capsys: pytest.CaptureFixture[str]) -> None:
    Path("ideas/broken").mkdir()
    assert refusal(capsys) == "ideas/broken: the folder holds no __init__.py"


def test_a_broken_file_within_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    Path("ideas/broken").mkdir()
    Path("ideas/broken/__init__.py").write_text("from .parts import P\n")
    Path("ideas/broken/parts.py").write_text("x = 1\n\nx ? 2\n")
    assert refusal(capsys).startswith("ideas/broken/parts.py:3: invalid syntax")
    Path("ideas/broken/parts.py").write_text("x = 1\n\ny = z\n")
    assert refusal(capsys) == "ideas/broken/parts.py:3: NameError: name 'z' is not defined"
    write_idea("broken_too", "import _helper\n")
    write_idea("_helper", "\n1 / 0\n")
    assert (
        refusal(capsys, "broken_too") == "ideas/_helper.py:2: ZeroDivisionError: division by zero"
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "my-gain",
            "names of ideas are Python identifiers of letters, digits and _, such as my_gain",
        ),
        ("2nd", "names of ideas are Python identifiers of letters, digits and _, such as nd"),
        ("gäin", "names of ideas are Python identifiers of letters, digits and _, such as g_in"),
        (
            "class",
            "names of ideas are Python identifiers of letters, digits and _, such as class_1",
        ),
        ("g" * 61, "names of ideas have at most 60 characters"),
    ],
)
def test_a_name_that_is_none(name: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_idea(name)
    assert refusal(capsys, name) == f"ideas/{name}.py: {line}"


@pytest.mark.parametrize("name", ["json", "numpy", "pytest"])
def test_the_name_of_another_module(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_idea(name)
    line = refusal(capsys, name)
    assert line.startswith(f"ideas/{name}.py: Python has a module {name} already (")
    assert line.endswith("): give it another name")


def test_a_sweep_names_the_line_that_asks_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    write_idea("broken", "x = \n")
    Path("mine.yaml").write_text("variant: [baseline, broken]\ngrid: {variant.start: [1, 2]}\n")
    assert main(["sweep", "mine.yaml", "--dry-run"]) == 2
    (line, *_) = capsys.readouterr().err.splitlines()
    assert line.startswith("aqr-exp: mine.yaml:1: ideas/broken.py:1: invalid syntax")
