"""Where caches lie: among the user's own files, one folder for each place that something is computed of."""

import os
from pathlib import Path

import pytest
from in_a_child import become_nobody, in_child

from aqr_exp.files.cache import cache_of, read_cache, write_cache


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AQR_EXP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_it_is_the_users_and_a_variable_names_another(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "re sults"
    name = cache_of(results).name
    assert cache_of(results) == home / ".cache" / "aqr-exp" / name
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_of(results) == tmp_path / "xdg" / "aqr-exp" / name
    monkeypatch.setenv("AQR_EXP_CACHE", str(tmp_path / "scratch"))
    assert cache_of(results) == tmp_path / "scratch" / name


@pytest.mark.usefixtures("home")
def test_one_place_has_one_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("a")
    monkeypatch.chdir(tmp_path)
    found = {cache_of(place) for place in (tmp_path / "a", tmp_path / "b", Path("a"))}
    assert len(found) == 1
    assert cache_of(tmp_path / "c") not in found


@pytest.mark.usefixtures("home")
def test_without_a_home_nothing_is_kept_and_nothing_fails(tmp_path: Path) -> None:
    def homeless() -> tuple[bool, object]:
        if os.geteuid() == 0:
            become_nobody(54321)
        else:
            os.environ["HOME"] = os.devnull
        path = cache_of(tmp_path) / "x"
        write_cache(path, [1])
        return path.exists(), read_cache(path, list[int])

    assert in_child(homeless) == (False, None)


@pytest.mark.usefixtures("home")
def test_its_folders_are_made_with_the_first_entry(tmp_path: Path) -> None:
    path = cache_of(tmp_path) / "deep" / "x"
    assert read_cache(path, list[int]) is None
    write_cache(path, [1, 2])
    assert read_cache(path, list[int]) == [1, 2]
