import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.data.dataset import (
    KeyedSampler,
    SampleKey,
    augmentation_rng,
    balanced_order,
    epoch_order,
    paste_rng,
)
from aqr_exp.data.info_files import draws_of


@given(samples=st.integers(1, 200), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 100))
def test_an_epoch_visits_everything_once_and_is_a_function_of_seed_and_epoch(samples, seed, epoch):
    order = epoch_order(samples, seed=seed, epoch=epoch, shuffle=True)
    assert sorted(order) == list(range(samples))
    again = epoch_order(samples, seed=seed, epoch=epoch, shuffle=True)
    np.testing.assert_array_equal(order, again)


def test_epochs_and_seeds_differ():
    orders = {
        tuple(epoch_order(50, seed=seed, epoch=epoch, shuffle=True))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def test_evaluation_is_in_order():
    sampler = KeyedSampler(range(4), shuffle=False, seed=3)
    assert list(sampler) == [SampleKey(index, 0, index) for index in range(4)]


def test_set_epoch_changes_order_and_keys():
    sampler = KeyedSampler(range(30), shuffle=True, seed=3)
    first = list(sampler)
    sampler.set_epoch(5)
    second = list(sampler)
    assert {key.epoch for key in second} == {5}
    assert [key.sample for key in first] != [key.sample for key in second]
    sampler.set_epoch(0)
    assert list(sampler) == first


@pytest.mark.parametrize("samples", [9, 10, 11, 39, 40])
@pytest.mark.parametrize(("ranks", "each"), [(3, 1), (4, 5), (2, 2)])
def test_the_steps_of_processes_are_those_of_one(samples, ranks, each):
    """As many, and each of them of the same samples, whatever is left over."""
    whole = list(KeyedSampler(range(samples), shuffle=True, seed=1))
    shares = []
    for rank in range(ranks):
        sampler = KeyedSampler(range(samples), shuffle=True, seed=1)
        sampler.rank, sampler.world_size = rank, ranks
        shares.append(list(sampler))
        assert len(sampler) == len(shares[-1])
        assert len(sampler) // each == samples // (ranks * each)
    for step in range(samples // (ranks * each)):
        drawn = [share[step * each : (step + 1) * each] for share in shares]
        wanted = whole[step * ranks * each : (step + 1) * ranks * each]
        assert [key for keys in zip(*drawn, strict=True) for key in keys] == wanted


def test_augmentation_depends_on_every_part_of_the_key():
    keys = [SampleKey(1, 2, 3), SampleKey(2, 2, 3), SampleKey(1, 3, 3), SampleKey(1, 2, 4)]
    draws = {augmentation_rng(seed, key).random() for key in keys for seed in (0, 1)}
    assert len(draws) == 8
    assert augmentation_rng(0, keys[0]).random() == augmentation_rng(0, keys[0]).random()


@given(samples=st.integers(1, 40), done=st.integers(0, 45), epoch=st.integers(0, 3))
def test_an_epoch_continues_with_the_keys_it_would_have_had(samples, done, epoch):
    sampler = KeyedSampler(range(samples), shuffle=True, seed=3)
    sampler.set_epoch(epoch)
    whole = list(sampler)
    sampler.leave_out(done)
    assert list(sampler) == whole[done:]
    sampler.set_epoch(epoch)
    assert list(sampler) == whole


BY_CLASS = [np.arange(90), np.array([3, 4, 5]), np.empty(0, int), np.array([7])]


def test_every_class_that_occurs_gives_the_same_number_of_draws():
    # 90 + 3 + 1 = 94 draws shared among three classes: 31 each.
    assert draws_of([len(samples) for samples in BY_CLASS]) == 93
    order = balanced_order(BY_CLASS, seed=0, epoch=0)
    assert len(order) == 93
    assert set(order) <= set(range(90))
    counts = np.bincount(order, minlength=90)
    assert counts[7] >= 31
    assert counts[3:6].sum() >= 31
    # What comes 31 times of 90 is drawn from the many.
    assert counts.sum() - counts[7] - counts[3:6].sum() <= 31
    assert draws_of([0]) == 0
    assert len(balanced_order([np.empty(0, int)], seed=0, epoch=0)) == 0


@given(seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 100))
def test_balanced_draws_are_a_function_of_seed_and_epoch(seed, epoch):
    order = balanced_order(BY_CLASS, seed=seed, epoch=epoch)
    np.testing.assert_array_equal(order, balanced_order(BY_CLASS, seed=seed, epoch=epoch))
    assert (order != balanced_order(BY_CLASS, seed=seed, epoch=epoch + 1)).any()
    assert not (np.diff(np.flatnonzero(order == 7)) == 1).all()  # shuffled, not class by class


class _Balanced(list):
    def samples_by_class(self):
        return BY_CLASS


def test_a_balanced_sampler_yields_them_and_knows_its_length():
    sampler = KeyedSampler(_Balanced(range(90)), shuffle=True, seed=3, balanced=True)
    keys = list(sampler)
    assert len(keys) == len(sampler) == 93
    assert [key.sample for key in keys] == balanced_order(BY_CLASS, seed=3, epoch=0).tolist()
    assert [key.draw for key in keys] == list(range(93))
    with pytest.raises(ValueError, match="balanced=True needs shuffle=True"):
        KeyedSampler(_Balanced(range(90)), shuffle=False, balanced=True)


def test_pasting_and_augmentation_draw_from_generators_of_their_own():
    keys = [SampleKey(1, 2, 3), SampleKey(2, 2, 3), SampleKey(1, 3, 3), SampleKey(1, 2, 4)]
    pasted = {paste_rng(seed, key).random() for key in keys for seed in (0, 1)}
    moved = {augmentation_rng(seed, key).random() for key in keys for seed in (0, 1)}
    assert len(pasted) == len(moved) == 8
    assert not pasted & moved


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("samples", [1, 5, 6, 12])
def test_an_evaluation_over_processes_repeats_nothing(samples, world_size):
    keys = []
    for rank in range(world_size):
        sampler = KeyedSampler(range(samples), shuffle=False, seed=1)
        sampler.rank, sampler.world_size = rank, world_size
        share = list(sampler)
        assert len(share) == len(sampler)
        keys += share
    assert sorted(key.sample for key in keys) == [*range(samples)]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("done", [0, 1, 2, 5])
def test_processes_continue_an_epoch_where_each_of_them_stopped(world_size, done):
    for rank in range(world_size):
        sampler = KeyedSampler(range(14), shuffle=True, seed=3)
        sampler.rank, sampler.world_size = rank, world_size
        whole = list(sampler)
        sampler.leave_out(done)
        assert list(sampler) == whole[done:]
