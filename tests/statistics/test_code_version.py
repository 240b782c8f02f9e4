"""The version of the code that cached results carry."""

import sys

import pytest

from aqr_exp.statistics import run_scores


def version() -> str:
    return run_scores.code_version.__wrapped__()


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two packages and a module that stand for the hashed ones."""
    for name in ("hashed_one/inner", "hashed_two"):
        (tmp_path / name).mkdir(parents=True)
    for name in (
        "hashed_one/__init__",
        "hashed_one/inner/deep",
        "hashed_two/__init__",
        "hashed_three",
    ):
        (tmp_path / f"{name}.py").write_text("a = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    names = ("hashed_one", "hashed_two", "hashed_three")
    monkeypatch.setattr(run_scores, "_CODE_PACKAGES", names)
    yield tmp_path
    for name in [*sys.modules]:
        if name.startswith("hashed_"):
            del sys.modules[name]


@pytest.mark.parametrize(
    "name", ["hashed_one/__init__", "hashed_one/inner/deep", "hashed_two/__init__", "hashed_three"]
)
def test_one_changed_byte_changes_it(packages, name):
    before = version()
    assert version() == before
    (packages / f"{name}.py").write_text("a = 2\n")
    assert version() != before


def test_a_package_without_sources_is_an_error(packages):
    (packages / "hashed_two" / "__init__.py").unlink()
    message = r"^no source files of hashed_two: cached results cannot be told apart$"
    with pytest.raises(RuntimeError, match=message):
        version()


def test_a_package_that_is_gone_is_an_error(packages, monkeypatch):
    monkeypatch.setattr(run_scores, "_CODE_PACKAGES", ("hashed_one", "hashed_four"))
    with pytest.raises(RuntimeError, match=r"^no source files of hashed_four: "):
        version()


def test_the_code_that_makes_results_of_records_is_hashed():
    assert set(run_scores._CODE_PACKAGES) >= {
        "aqr_exp.statistics", "aqr_exp.evaluate", "aqr_exp.config.schema.description"
    }  # fmt: skip
    assert len(version()) == 64
