import pickle

import pytest
import torch

from aqr_exp.train.checkpoint import checkpoints, load_newest, read_checked, save_atomically


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


def test_a_flipped_bit_is_noticed(tmp_path, capsys):
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    path = tmp_path / "epoch_2.pth"
    data = bytearray(path.read_bytes())
    at = data.index(torch.full((3,), 2.0).numpy().tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert torch.load(path, weights_only=True)["model"]["w"][0] != 2.0, "torch does not notice"
    with pytest.raises(ValueError, match=r"the checksum of \S+/data/0 is wrong"):
        read_checked(path)
    assert load_newest(tmp_path)["epoch"] == 1


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
