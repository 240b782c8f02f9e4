"""A payload in the place of the files of a data set: no command executes it."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from payloads import plant

from aqr_exp.cli.main import main
from aqr_exp.config.inputs import objects_folder
from aqr_exp.config.load import load_run
from aqr_exp.data.gt_database.build import build_database, info_digest
from aqr_exp.data.gt_database.store import FORM
from aqr_exp.data.info_files import fresh_parts, write_fingerprint
from aqr_exp.errors import RequestError


@pytest.fixture
def copy(prepared_root: Path, tmp_path: Path) -> Path:
    """A copy that shares the bytes of what is not planted."""
    root = tmp_path / "root"
    shutil.copytree(prepared_root, root, copy_function=os.link)
    return root


def planted_and_recorded(path: Path, target: Path, root: Path) -> None:
    """Plant a file as somebody does who can also write the records of what lies there."""
    plant(path, target)
    for record in root.glob("aqr_infos/**/files.json"):
        record.unlink()
    write_fingerprint(root, "v1.0-synth", {"synth_train": 6, "synth_val": 3})


def some_files(root: Path) -> list[Path]:
    """All that was derived from the data, and the first file of each other folder and kind."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    derived = [path for path in files if "aqr_infos" in path.parts]
    first = {(path.parent, path.suffix): path for path in reversed(files) if path not in derived}
    named = [root / "v1.0-synth" / f"{name}.json" for name in ("scene", "log", "splits")]
    return [*derived, *first.values(), *named]


def test_no_file_of_a_data_set_is_executed_by_a_check(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "executed"
    files = some_files(copy)
    assert len(files) > 20
    for path in files:
        before = plant(path, target)
        assert main(["data", "check", "--root", str(copy), "--images", "1"]) in {0, 1, 2}
        assert "internal error" not in capsys.readouterr().err, path
        assert not target.exists(), path
        path.unlink()
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("name", "more"),
    [("synth_train.pkl", ()), ("synth_train.objects/objects.npy", ("gt_sampling=cmt",))],
)
def test_what_would_be_drawn_or_trained_on_is_refused_in_one_line(
    name: str,
    more: tuple[str, ...],
    copy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The data set that a picture, training, evaluation and loader workers share."""
    path, target, out = copy / "aqr_infos" / name, tmp_path / "executed", tmp_path / "a.png"
    planted_and_recorded(path, target, copy)
    typed = [f"data.root={str(copy)!r}", *more]
    assert main(["data", "show", "0", *typed, "--augmented", "--out", str(out)]) in {1, 2}
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"aqr-exp: {path} is damaged: ")
    assert not target.exists()
    if more:
        return
    from mmdet3d.registry import DATASETS

    from aqr_exp.data.pipeline import dataset_config

    config = load_run("baseline", typed)
    with pytest.raises(RequestError, match=r"is damaged: holds 'posix\.mkdir', which is no data"):
        DATASETS.build(dataset_config(config, "synth_train", training=True))
    assert not target.exists()
    assert not out.exists()


def test_a_planted_run_starts_nothing(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    monkeypatch.setenv("AQR_EXP_RESULTS", str(results))
    monkeypatch.setattr("aqr_exp.cli.run.outline_of", lambda *_, **__: [{"faults": []}])
    path = copy / "aqr_infos" / "synth_val.pkl"
    planted_and_recorded(path, tmp_path / "executed", copy)
    for more in ((), ("--dry-run",)):
        assert main(["run", "baseline", f"data.root={str(copy)!r}", *more]) == 2
        assert (
            f"{path} is damaged: holds 'posix.mkdir', which is no data" in capsys.readouterr().err
        )
    assert not (tmp_path / "executed").exists()
    assert not results.exists()


def test_the_parts_of_a_broken_off_preparation_are_not_executed(
    copy: Path, prepared_root: Path, tmp_path: Path
) -> None:
    final = objects_folder(copy, "synth_train")
    shutil.rmtree(final)
    parts = final.with_name(f".{final.name}.parts")
    fresh_parts(parts, {"form": FORM, "infos_sha256": info_digest(copy, "synth_train")})
    plant(parts / "00000.npz", tmp_path / "executed")
    build_database(copy, "synth_train", workers=1)
    assert not (tmp_path / "executed").exists()
    whole = objects_folder(prepared_root, "synth_train")
    for name in ("objects.npy", "patches.npy", "frames.npy", "00000.pack", "00001.pack"):
        assert (final / name).read_bytes() == (whole / name).read_bytes()


def test_the_entries_are_those_that_the_stock_class_unpickles(synth_root: Path) -> None:
    from mmdet3d.datasets import NuScenesDataset
    from mmdet3d.registry import DATASETS

    from aqr_exp.data.pipeline import dataset_config
    from aqr_exp.train.runner_config import register_plugins

    register_plugins()
    config = load_run("baseline", [f"data.root={str(synth_root)!r}"])
    ours = DATASETS.build(dataset_config(config, "synth_train", training=False))
    metainfo = dict(ours.metainfo)
    entries, stock = ours.load_data_list(), NuScenesDataset.load_data_list(ours)
    assert len(entries) == 6
    assert list(entries[0]) == list(stock[0])
    assert _plain(entries) == _plain(stock)
    assert ours.metainfo == metainfo
    assert ours.metainfo["categories"]["car"] == 0


def _plain(value: Any) -> Any:
    """Text of nested values, tensors by their numbers, NaN as NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return repr(getattr(value, "tensor", value))
