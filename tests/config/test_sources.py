"""Closures of imports and hashes of syntax: nothing is executed, and comments do not count."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aqr_exp.config import sources
from aqr_exp.config.sources import PACKAGE, Root, closure, modules_of, parse
from aqr_exp.config.variant_spec import variant_specs

PLAIN = 'GAIN = 1.5\n\n\ndef scaled(x, *, by=(1, 2)):\n    return {**x, "a": f"{by!r:>{4}}"}\n'


@pytest.mark.parametrize(
    "text",
    [
        f"# a comment\n{PLAIN}",
        f'"""A docstring."""\n{PLAIN}',
        PLAIN.replace("GAIN = 1.5", 'GAIN = 1.50  # as published\n"""Of both sensors."""'),
        PLAIN.replace("    return", '    """Scale."""\n\n    return'),
        PLAIN.replace('"a"', "'a'").replace("\n", "\r\n"),
        PLAIN.replace("(1, 2)", "(\n    1,\n    0x2,\n)").replace("x, *, by", "x, *,   by"),
    ],
)
def test_comments_formatting_and_docstrings_do_not_count(text: str) -> None:
    assert parse(text.encode()).digest == parse(PLAIN.encode()).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.5", "1.25"),
        ("1.5", "-1.5"),
        ("1.5", "'1.5'"),
        ("1, 2", "1, 2.0"),
        ("1, 2", "True, 2"),
        ("1, 2", "2, 1"),
        ("1, 2", "1, None"),
        ("*, by", "by"),
        ("**x", "'b': x"),
        ("!r", "!s"),
        ("{4}", "{5}"),
        ("scaled", "scale"),
        ("return", "yield"),
        ("'a'", "b'a'"),
        ('"a"', '"a" "b"'),
        ("GAIN = 1.5", "GAIN: float = 1.5"),
        ("GAIN = 1.5", "GAIN = 1.5\n1"),
    ],
)
def test_every_change_of_the_syntax_counts(old: str, new: str) -> None:
    text = PLAIN.replace('"a"', "'a'") if old == "'a'" else PLAIN
    assert old in text
    assert parse(text.replace(old, new).encode()).digest != parse(text.encode()).digest


def test_the_hash_is_that_of_every_python_version() -> None:
    """Found with 3.11; the checks run with others too."""
    text = (
        PLAIN
        + "class A(B, k=1):\n    async def f(self): ...\n\nmatch A:\n    case [1, *_]:\n        ...\n"
    )
    assert parse(text.encode()).digest == "ea22766d589e"


@pytest.mark.parametrize(
    "content",
    [b"def (", b"\xff\xfe", b"a = 1\x00", b"(" * 5000, b"x = " + b"-" * 100_000 + b"1"],
)
def test_what_is_no_python_is_known_by_its_bytes(content: bytes) -> None:
    found = parse(content)
    assert found.imports == ()
    assert found.digest != parse(content + b" ").digest


def test_long_expressions_and_numbers_are_hashed() -> None:
    deep = "x = " + " + ".join(["1"] * 900)
    assert parse(deep.encode()).digest != parse(f"{deep} + 1".encode()).digest
    huge = b"x = 0x" + b"f" * 6000
    assert parse(huge).digest != parse(huge + b"e").digest


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found_below(folder: Path, start: str) -> tuple[set[str], set[str]]:
    files, elsewhere = closure([folder / start], [Root(folder)])
    return {path.relative_to(folder).as_posix() for path in files}, elsewhere


def test_imports_of_every_form_are_followed_and_nothing_runs(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "idea.py": "import a.b\nimport numpy as np\nfrom package import inner, VALUE\n"
            "raise SystemExit('executed')\n",
            "a/b.py": "from .c import *\nfrom . import d\n",
            "a/c.py": "if False:\n    import late\ntry:\n    import gone.away\nfinally:\n    pass\n",
            "a/d.py": "def f():\n    from .. import beside\n",
            "beside.py": "import idea\n",
            "late.py": "",
            "package/__init__.py": "from package.deep.er import x\n",
            "package/inner.py": "import a\n",
            "package/inner/__init__.py": "",
            "package/deep/er.py": "from ...... import far\n",
            "package/unused.py": "",
            "unused.py": "",
        },
    )
    os.mkfifo(tmp_path / "numpy.py")
    names, elsewhere = found_below(tmp_path, "idea.py")
    assert names == {
        *("idea.py", "a/b.py", "a/c.py", "a/d.py", "beside.py", "late.py"),
        *("package/__init__.py", "package/inner/__init__.py", "package/deep/er.py"),
    }
    assert elsewhere == {"numpy", "gone.away"}


def test_a_helper_that_breaks_is_part_of_the_closure(tmp_path: Path) -> None:
    write(tmp_path, {"idea.py": "import helper", "helper.py": "def ("})
    assert found_below(tmp_path, "idea.py")[0] == {"idea.py", "helper.py"}


def test_an_edit_is_seen_whatever_the_file_times_say(tmp_path: Path) -> None:
    write(tmp_path, {"idea.py": "x = 1\n"})
    path = tmp_path / "idea.py"
    before = path.stat()
    (first,) = closure([path], [])[0].values()
    path.write_text("x = 2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (second,) = closure([path], [])[0].values()
    assert first.parsed.digest != second.parsed.digest


def test_without_a_place_for_the_cache_the_hashes_are_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path, {"idea.py": "import a, b, c", "a.py": "1", "b.py": "2", "c.py": "3"})

    def found() -> dict[Path, sources.Source]:
        return closure([tmp_path / "idea.py"], [Root(tmp_path)])[0]

    monkeypatch.setenv("AQR_EXP_CACHE", str(tmp_path / "cache"))
    first, second = found(), found()
    assert (len(first), len(list(tmp_path.glob("cache/*/sources-*.msgpack")))) == (4, 1)
    monkeypatch.setenv("AQR_EXP_CACHE", os.devnull)
    assert first == second == found()
    monkeypatch.setattr(sources, "_MOST_KEPT", 2)
    monkeypatch.setenv("AQR_EXP_CACHE", str(tmp_path / "small"))
    assert found() == found() == first


def test_a_variant_adds_its_own_modules_and_no_others() -> None:
    modules = {name: set(modules_of(spec)) for name, spec in variant_specs().items()}
    shared = set.intersection(*modules.values())
    assert {
        "aqr_exp/cmt/head.py",
        "aqr_exp/train/session.py",
        "aqr_exp/evaluate/scorer.py",
    } <= shared
    assert not [name for name in shared if name.startswith(("aqr_exp/cli", "aqr_exp/report"))]
    for name, found in modules.items():
        others = {other for other in modules if other != name}
        assert not [path for path in found for other in others if f"variants/{other}/" in path]
        assert f"aqr_exp/variants/{name}/__init__.py" in found


LOADS = """
import importlib, sys
from aqr_exp.config.variant_spec import spec_of, variant_specs
from aqr_exp.train.__main__ import main
import aqr_exp.train.session
from aqr_exp.aqr.attention.compiled import kernels
from aqr_exp.train.runner_config import register_plugins
register_plugins()
kernels("window_kernels")
before = {name for spec in variant_specs().values() for name in [spec.settings.__module__]}
importlib.import_module(variant_specs()["attention_bias"].module.split(":")[0])
print(*(module.__file__ for name, module in sys.modules.items()
        if name.split(".")[0] == "aqr_exp" and name not in before))
"""


@pytest.mark.broad
def test_every_module_that_a_training_loads_is_in_the_closure() -> None:
    process = subprocess.run(
        [sys.executable, "-c", LOADS], capture_output=True, text=True, check=True
    )
    loaded = {Path(path).relative_to(PACKAGE.parent).as_posix() for path in process.stdout.split()}
    assert len(loaded) > 60
    # Settings of every variant are listed by the registry, whichever is trained.
    missing = loaded - modules_of(variant_specs()["attention_bias"]).keys()
    assert not [name for name in missing if not name.startswith("aqr_exp/variants/")]


def test_helpers_come_from_the_folders_of_pythonpath_and_not_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path,
        {
            "ideas/gain.py": "import shared_part, standing, json, aqr_exp.cmt.head\n",
            "lib/shared_part.py": "",
            "here/standing.py": "",
        },
    )
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "here"), str(tmp_path / "lib"), *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    found = sources.sources_of(tmp_path / "ideas" / "gain.py")
    assert found.files == {
        "gain.py": (tmp_path / "ideas/gain.py").read_bytes(),
        "shared_part.py": b"",
    }
    assert found.package == ("aqr_exp.cmt.head",)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'lib'}{os.pathsep}.")
    assert "standing.py" in sources.sources_of(tmp_path / "ideas" / "gain.py").files


def test_an_installed_idea_has_the_files_of_its_own_package_alone(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "site-packages"
    write(
        packages,
        {
            "mine/__init__.py": "",
            "mine/ideas/__init__.py": "",
            "mine/ideas/gain.py": "import other\nfrom ..norm import eps\n",
            "mine/norm.py": "",
            "other.py": "",
        },
    )
    found = sources.sources_of(packages / "mine" / "ideas" / "gain.py")
    assert found.files.keys() == {
        *("mine/__init__.py", "mine/ideas/__init__.py", "mine/ideas/gain.py", "mine/norm.py"),
    }
