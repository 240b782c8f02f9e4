import pickle

import pytest
import torch

from aqr_exp.train.checkpoint import checkpoints, load_newest, save_atomically


def _save(folder, epoch):
    save_atomically(
        {"epoch": epoch, "model": {"w": torch.full((3,), float(epoch))}},
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


@pytest.mark.parametrize("kept_bytes", [0, 1, 100, -1])
def test_a_truncated_checkpoint_is_passed_over(tmp_path, kept_bytes):
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    path = tmp_path / "epoch_2.pth"
    path.write_bytes(path.read_bytes()[:kept_bytes])
    state = load_newest(tmp_path)
    assert state["epoch"] == 1
    assert state["model"]["w"].tolist() == [1.0, 1.0, 1.0]


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    (tmp_path / "epoch_1.pth").write_bytes(pickle.dumps(Evil()))
    torch.save({"model": Evil()}, tmp_path / "epoch_2.pth")
    assert load_newest(tmp_path) is None
    assert not (tmp_path / "executed").exists()


def test_without_a_checkpoint_there_is_none(tmp_path):
    assert load_newest(tmp_path) is None


def test_a_failed_save_leaves_the_old_one_and_no_litter(tmp_path):
    _save(tmp_path, 1)
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        save_atomically({"model": lambda: None}, tmp_path / "epoch_1.pth")
    assert load_newest(tmp_path)["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_1.pth"]
