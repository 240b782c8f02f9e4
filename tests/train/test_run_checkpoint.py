import os
import pickle

import pytest
import torch

from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train.checkpoint import checkpoints, load_newest, read_checked, save_atomically


@pytest.fixture
def run(tmp_path):
    made = RunFolder(tmp_path / "baseline-ab-s0")
    made.checkpoints_dir.mkdir(parents=True)
    return made


def _save(folder, epoch, **run):
    save_atomically(
        {
            "run": "baseline-ab-s0",
            **run,
            "epoch": epoch,
            "step": 4 * epoch,
            "model": {"w": torch.full((3,), float(epoch))},
            "optimizer": {},
            "schedulers": [],
        },
        folder / f"epoch_{epoch}.pth",
    )


def test_the_newest_comes_first_by_number_not_by_name(tmp_path):
    for epoch in (2, 10, 9):
        _save(tmp_path, epoch)
    (tmp_path / "epoch_11.pth.bak").touch()
    assert [path.name for path in checkpoints(tmp_path)] == [
        "epoch_10.pth",
        "epoch_9.pth",
        "epoch_2.pth",
    ]


def test_what_was_saved_within_an_epoch_comes_between_its_neighbours(tmp_path):
    names = ["epoch_1_step_12.pth", "epoch_2.pth", "epoch_1_step_9.pth", "epoch_1.pth"]
    for name in [*names, "epoch_0_step_3.pth", "step_4.pth", "epoch_1_step_.pth"]:
        (tmp_path / name).touch()
    found = [path.name for path in checkpoints(tmp_path)]
    assert found == [
        "epoch_2.pth",
        "epoch_1_step_12.pth",
        "epoch_1_step_9.pth",
        "epoch_1.pth",
        "epoch_0_step_3.pth",
    ]


def test_a_flipped_bit_is_noticed(run):
    _save(run.checkpoints_dir, 1)
    _save(run.checkpoints_dir, 2)
    path = run.checkpoints_dir / "epoch_2.pth"
    data = bytearray(path.read_bytes())
    at = data.index(torch.full((3,), 2.0).numpy().tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert torch.load(path, weights_only=True)["model"]["w"][0] != 2.0, "torch does not notice"
    with pytest.raises(ValueError, match=r"the checksum of \S+/data/0 is wrong"):
        read_checked(path)
    assert load_newest(run)["epoch"] == 1


@pytest.mark.parametrize("kept_bytes", [0, 1, 100, -1])
def test_a_truncated_checkpoint_is_passed_over(run, kept_bytes):
    _save(run.checkpoints_dir, 1)
    _save(run.checkpoints_dir, 2)
    path = run.checkpoints_dir / "epoch_2.pth"
    path.write_bytes(path.read_bytes()[:kept_bytes])
    state = load_newest(run)
    assert state["epoch"] == 1
    assert state["model"]["w"].tolist() == [1.0, 1.0, 1.0]


def test_nothing_in_a_checkpoint_is_executed(run):
    class Evil:
        def __reduce__(self):
            return (open, (str(run.path / "executed"), "w"))

    (run.checkpoints_dir / "epoch_1.pth").write_bytes(pickle.dumps(Evil()))
    torch.save({"model": Evil()}, run.checkpoints_dir / "epoch_2.pth")
    assert load_newest(run) is None
    assert not (run.path / "executed").exists()


def test_what_is_no_state_of_a_training_is_passed_over(run):
    """Weights of others, a web page, a pointer, a FIFO: the one before is taken, and each is named."""
    folder = run.checkpoints_dir
    _save(folder, 1)
    torch.save({"state_dict": {"w": torch.zeros(3)}}, folder / "epoch_2.pth")
    (folder / "epoch_3.pth").write_text("<!DOCTYPE html>")
    (folder / "epoch_4.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    os.mkfifo(folder / "epoch_5.pth")
    assert load_newest(run)["epoch"] == 1
    kinds = ("not the state of a training", "is a web page", "is a Git LFS", "is a FIFO")
    for epoch, kind in enumerate(kinds, start=2):
        with pytest.raises(ValueError, match=kind):
            read_checked(folder / f"epoch_{epoch}.pth")


def test_without_a_checkpoint_there_is_none(run):
    assert load_newest(run) is None


def test_a_failed_save_leaves_the_old_one_and_no_litter(run):
    _save(run.checkpoints_dir, 1)
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        save_atomically({"model": lambda: None}, run.checkpoints_dir / "epoch_1.pth")
    assert load_newest(run)["epoch"] == 1
    assert [path.name for path in run.checkpoints_dir.iterdir()] == ["epoch_1.pth"]


def test_a_checkpoint_of_another_run_is_passed_over(run):
    _save(run.checkpoints_dir, 1)
    for number, name in ((2, "baseline-ab-s1"), (3, "baseline-ab-s0-a2"), (4, None)):
        _save(run.checkpoints_dir, number, run=name)
    assert load_newest(run)["epoch"] == 1


def test_a_run_of_an_older_version_has_checkpoints_that_name_none(run):
    run.spec_path.write_text("seed: 0\n")
    _save(run.checkpoints_dir, 1, run=None)
    _save(run.checkpoints_dir, 2, run="baseline-ab-s1")
    assert load_newest(run)["epoch"] == 1
