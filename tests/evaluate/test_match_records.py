import dataclasses

import numpy as np
import pytest
from detection_cases import CASES, predictions_in_memory
from small_world import World

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.errors import AqrExpError
from aqr_exp.evaluate.conditions import RunScorer, condition_metrics
from aqr_exp.evaluate.evaluation import make_records
from aqr_exp.evaluate.protocol import ranges_m
from aqr_exp.evaluate.records import BANDS_M, WHOLE, MatchRecords, read_records, write_records
from aqr_exp.files.arrays import read_arrays, write_arrays


@pytest.fixture(scope="module")
def records(world: World) -> MatchRecords:
    truth = world.truth("everything")
    results = CASES["found and random"](world.boxes, world.samples["everything"])
    made = make_records(truth, predictions_in_memory(results, truth))
    return dataclasses.replace(made, header={**made.header, "run": "a b; echo"})


def test_they_come_back_and_give_the_same_numbers(records, tmp_path):
    path = tmp_path / "it's matches.npz"
    write_records(path, records)
    back = read_records(path)
    assert back.header == {
        "protocol": "detection_cvpr_2019",
        "split": "everything",
        "run": "a b; echo",
    }
    assert list(back.tables) == list(records.tables) == ["all", "0-20m", "20-30m", "30-50m"]
    assert back.samples.tokens == records.samples.tokens
    assert back.samples.scene_descriptions == records.samples.scene_descriptions
    for name, table in records.tables.items():
        for field, value in vars(table).items():
            kept = vars(back.tables[name])[field]
            assert kept.dtype == value.dtype
            np.testing.assert_array_equal(kept, value)
    assert condition_metrics(back) == condition_metrics(records)
    np.testing.assert_array_equal(RunScorer(back).scores().ap, RunScorer(records).scores().ap)


def test_the_file_opens_in_numpy_and_is_small(records, tmp_path):
    path = tmp_path / "matches.npz"
    write_records(path, records)
    with np.load(path) as loaded:
        assert loaded["all/matched"].dtype == np.uint8
    assert records.tables["all"].sample.dtype == np.uint8
    detections = sum(len(table.sample) for table in records.tables.values())
    assert path.stat().st_size < 60 * detections + 20_000


def test_any_damage_is_noticed(records, tmp_path):
    path = tmp_path / "matches.npz"
    write_records(path, records)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    damages = [b"", content[:7], content[: len(content) // 2], content[:-1], content + b"\0"]
    for place in rng.integers(0, len(content), 200):
        flipped = bytes([content[place] ^ (1 << int(rng.integers(8)))])
        damages.append(content[:place] + flipped + content[place + 1 :])
    for damage in damages:
        path.write_bytes(damage)
        with pytest.raises(AqrExpError, match=r"matches\.npz is damaged: its content does not fit"):
            read_records(path)


def test_a_missing_file_a_folder_and_another_kind(tmp_path):
    with pytest.raises(AqrExpError, match=r"nothing\.npz is missing"):
        read_records(tmp_path / "nothing.npz")
    with pytest.raises(AqrExpError, match="is damaged: it is a folder, not a file"):
        read_records(tmp_path)
    path = tmp_path / "other.npz"
    write_arrays(path, "other things", {"a": np.arange(3)}, {"note": 1})
    with pytest.raises(
        AqrExpError, match=r"other\.npz holds other things, not match records, form 1"
    ):
        read_records(path)
    arrays, header = read_arrays(path, "other things")
    np.testing.assert_array_equal(arrays["a"], [0, 1, 2])
    assert header == {"kind": "other things", "note": 1}


@pytest.mark.parametrize("tables", [["whole"], 3, [["a"]], None])
def test_arrays_of_something_else_under_the_right_name_are_damage(tables, tmp_path):
    path = tmp_path / "records.npz"
    write_arrays(path, "match records, form 1", {"whole/a": np.arange(3)}, {"tables": tables})
    with pytest.raises(AqrExpError, match="is damaged: it holds other arrays than match records"):
        read_records(path)


def test_a_failed_write_leaves_the_old_file(records, tmp_path, monkeypatch):
    path = tmp_path / "matches.npz"
    write_arrays(path, "old", {}, {})
    old = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_records(path, records)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["matches.npz"]


def test_the_bands_of_distance_share_out_every_ground_truth(records):
    lows, highs = zip(*BANDS_M.values(), strict=True)
    assert lows == (0.0, 20.0, 30.0)
    assert highs == (20.0, 30.0, max(ranges_m(NUSCENES))) == (20.0, 30.0, 50.0)
    shares = [records.tables[name].truths for name in BANDS_M]
    np.testing.assert_array_equal(sum(shares), records.tables[WHOLE].truths)
    assert all(share.sum() > 0 for share in shares)
