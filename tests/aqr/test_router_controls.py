import pytest
import torch
from small_router import QUERIES, inputs_of, router_of, trained, windows_of


def test_a_constant_router_has_no_parameters_and_one_answer():
    router = router_of(kind="constant", constant=(0.25, -0.75))
    assert list(router.parameters()) == []
    assert router.state_dict() == {}
    weights = router(*inputs_of(dtype=torch.float32), windows_of(*QUERIES))
    assert weights.tolist() == [[[0.25, -0.75]] * 6]
    assert not weights.requires_grad


def shuffle_case(training):
    """The same parameters learned and shuffled, with two samples of 40 queries of different keys."""
    learned, shuffled = (trained(kind=kind).train(training) for kind in ("learned", "shuffled"))
    places = [((row % 6 + 0.5, row % 8 + 0.5), {row % 3: (1.0, row % 5)}) for row in range(40)]
    windows = windows_of(*places)
    inputs = [torch.cat((one, one + 1.0)) for one in inputs_of(queries=40)]
    both = type(windows)(
        index=windows.index.repeat(2, 1, 1), valid=windows.valid.repeat(2, 1, 1),
        offset=windows.offset, lidar_slots=windows.lidar_slots, keys=windows.keys,
    )  # fmt: skip
    return learned, shuffled, (*inputs, both)


def as_set(weights):
    return sorted(tuple(pair) for pair in weights.tolist())


@pytest.mark.parametrize("training", [True, False])
def test_shuffling_deals_the_same_pairs_to_other_queries_of_the_sample(training):
    learned, shuffled, case = shuffle_case(training)
    wanted, got = learned(*case), shuffled(*case)
    for sample in range(2):
        assert as_set(got[sample]) == as_set(wanted[sample])
        assert (got[sample] != wanted[sample]).any(-1).sum() > 30
    assert as_set(got[0]) != as_set(got[1])


@pytest.mark.parametrize("training", [True, False])
def test_denoising_queries_are_shuffled_among_themselves(training):
    learned, shuffled, case = shuffle_case(training)
    wanted, got = learned(*case), shuffled(*case, first_query=12)
    for part in (slice(0, 12), slice(12, None)):
        assert as_set(got[0, part]) == as_set(wanted[0, part])
        assert not torch.equal(got[0, part], wanted[0, part])


def test_shuffling_in_training_follows_the_seed_and_is_new_every_time():
    learned, shuffled, case = shuffle_case(training=True)
    torch.manual_seed(11)
    first, second = shuffled(*case), shuffled(*case)
    assert not torch.equal(first, second)
    came_from = (first[:, :, None] == learned(*case)[:, None]).all(-1).int().argmax(-1)
    assert not torch.equal(came_from[0], came_from[1])
    torch.manual_seed(11)
    assert torch.equal(shuffled(*case), first)
    assert torch.equal(shuffled(*case), second)


def test_shuffling_in_evaluation_is_always_the_same_and_draws_nothing():
    _, shuffled, case = shuffle_case(training=False)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = shuffled(*case)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(shuffled(*case), first)
    assert torch.equal(shuffled(*case, first_query=0), first), "unasked, none is a denoising query"


def test_shuffled_weights_carry_gradient_to_who_they_came_from():
    learned, shuffled, case = shuffle_case(training=False)
    got = torch.autograd.grad(shuffled(*case).square().sum(), shuffled.output.weight)
    wanted = torch.autograd.grad(learned(*case).square().sum(), learned.output.weight)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("kind", ["learned", "constant", "shuffled"])
@pytest.mark.parametrize(("modalities", "off"), [("lidar", 1), ("camera", 0)])
@pytest.mark.parametrize("neutral", [0.0, 1.0])
def test_a_switched_off_modality_is_exactly_neutral(modalities, off, neutral, kind):
    windows = windows_of(*QUERIES)
    options = {"kind": kind, "constant": (0.5, 0.25)}
    router = trained(modalities=modalities, neutral=neutral, **options).eval()
    weights, both = router(*inputs_of(), windows), trained(**options).eval()(*inputs_of(), windows)
    assert weights[..., off].tolist() == [[neutral] * 6]
    assert torch.equal(weights[..., 1 - off], both[..., 1 - off])
    if kind != "constant":
        (gradient,) = torch.autograd.grad(weights.sum(), router.output.weight)
        assert gradient[off].tolist() == [0.0] * 8
        assert gradient[1 - off].abs().min() > 0
