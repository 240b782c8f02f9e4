"""A step over several processes is the step of one, in losses, gradients and statistics."""

import copy

import pytest
import torch
from in_ranks import in_ranks
from mmengine.optim import OptimWrapper
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from aqr_exp.cmt.ranks import SyncedBatchNorm, agreed, same_buffers, sync_norms

# Whatever a process draws for itself is off; noise is drawn for the step.
PLAIN = (
    "model.head.dropout=0",
    "model.image.grid_mask=false",
    "model.head.layers=2",
    "model.head.queries=40",
)


class ExactNorm(_BatchNorm):
    """torch's batch norm in double precision: in single precision its own rounding turns gradients."""

    def _check_input_dim(self, input):  # noqa: A002
        pass

    def forward(self, input):  # noqa: A002
        if not self.training:
            return super().forward(input)
        mean, var = self.running_mean.double(), self.running_var.double()
        place = input.double(), mean, var, self.weight.double(), self.bias.double()
        found = functional.batch_norm(*place, True, self.momentum, self.eps)
        self.running_mean.copy_(mean)
        self.running_var.copy_(var)
        return found.float()


def share(batch, rank, ranks):
    """The samples of a collated step that a rank has: every `ranks`-th."""
    inputs, samples = batch
    for sample in samples:
        sample.set_metainfo({"modal_dropout": ""})
    return {
        "inputs": {name: values[rank::ranks] for name, values in inputs.items()},
        "data_samples": samples[rank::ranks],
    }


def steps(detector, batches, rank=0, ranks=1, learning_rate=1e-3):
    """Losses of some steps, the last step's gradients, and the model's state after them."""
    detector = copy.deepcopy(detector).train()
    for module in detector.modules():
        if isinstance(module, _BatchNorm):
            # Channels of random weights hardly vary: their norms would multiply the last digits.
            module.eps = 1.0
            module.__class__ = ExactNorm if ranks == 1 else type(module)
    if ranks > 1:
        sync_norms(detector)
    gradients = {}
    parameters = [each for each in detector.parameters() if each.requires_grad]

    class Kept(torch.optim.SGD):
        def step(self, closure=None):
            gradients.update(
                {n: p.grad.clone() for n, p in detector.named_parameters() if p.grad is not None}
            )
            super().step(closure)

    wrapper = OptimWrapper(Kept(parameters, lr=learning_rate), clip_grad={"max_norm": 35.0})
    losses = []
    for number, batch in enumerate(batches):
        torch.manual_seed(number)
        logs = detector.train_step(share(copy.deepcopy(batch), rank, ranks), wrapper)
        losses.append({name: float(value.detach()) for name, value in logs.items()})
    return losses, gradients, detector.state_dict()


def apart(one, other):
    """The largest difference of two sets of tensors, relative to the largest value."""
    assert one.keys() == other.keys()
    top = max(float(value.abs().max()) for value in one.values())
    return max(float((one[name] - other[name]).abs().max()) for name in one) / top


@pytest.mark.parametrize(("ranks", "accumulate"), [(2, 1), (3, 1), (2, 2)])
def test_the_gradients_of_all_are_those_of_one(make_detector, make_batch, ranks, accumulate):
    """Boxes, points and sensors are unequally shared; one rank has no box at all."""
    # In parts, batch norms have the statistics of a part: one process would have others.
    model = ("model.head.dense_supervision=0",) if accumulate > 1 else ()
    detector = make_detector(variant="attention_bias", overrides=(*PLAIN, *model), square=True)
    batch = make_batch((3, 0, 1, 0, 2, 0) if ranks == 3 else (3, 0, 1, 0), points=200)
    (alone,), wanted, state = steps(detector, [batch])
    detector.accumulate = accumulate
    every = in_ranks(ranks, lambda rank: steps(detector, [batch], rank, ranks))
    for (losses,), gradients, theirs in every:
        assert losses == every[0][0][0], "all ranks tell the whole step's"
        assert apart(gradients, every[0][1]) == 0.0
        if accumulate == 1:
            assert losses == pytest.approx(alone, rel=1e-5, abs=1e-6)
            assert apart(gradients, wanted) < 1e-5
            for name, value in state.items():
                if "num_batches" not in name:
                    assert torch.allclose(theirs[name], value, atol=1e-6), name
    assert any(name.startswith("dn_") for name in alone)


def test_ten_steps_of_two_processes_have_the_losses_of_one(make_detector, make_batch):
    detector = make_detector(overrides=PLAIN)
    batches = [make_batch((2, 3), points=200, seed=seed) for seed in range(10)]
    alone, _, _ = steps(detector, batches)
    (ours, _, state), (theirs, _, other) = in_ranks(
        2, lambda rank: steps(detector, batches, rank, 2)
    )
    assert ours == theirs
    for one, two in zip(ours, alone, strict=True):
        assert one == pytest.approx(two, rel=1e-5, abs=1e-6)
    assert alone[0] != pytest.approx(alone[-1], rel=1e-2), "it learns meanwhile"
    for name, value in state.items():
        assert torch.equal(value, other[name]), name


def test_a_rank_without_any_point_waits_for_nobody(make_detector, make_batch):
    """And counts for nothing in the statistics of the encoder's batch norms."""
    detector = make_detector(overrides=PLAIN)
    inputs, samples = make_batch((2, 2), points=200)
    inputs["points"][1] = inputs["points"][1][:0]
    (alone,), wanted, state = steps(detector, [(inputs, samples)])
    every = in_ranks(2, lambda rank: steps(detector, [(inputs, samples)], rank, 2))
    for (losses,), gradients, theirs in every:
        assert losses == pytest.approx(alone, rel=1e-5, abs=1e-6)
        assert apart(gradients, wanted) < 1e-5
        norm = "pts_voxel_encoder.norm.running_var"
        assert torch.allclose(theirs[norm], state[norm], atol=1e-6)


def test_no_points_at_all_leave_the_statistics_as_they_are(make_detector, make_batch):
    detector = make_detector(overrides=PLAIN)
    inputs, samples = make_batch((2, 2), points=200)
    inputs["points"] = [cloud[:0] for cloud in inputs["points"]]
    before = detector.state_dict()["pts_voxel_encoder.norm.running_mean"].clone()
    for _, _, state in in_ranks(2, lambda rank: steps(detector, [(inputs, samples)], rank, 2)):
        assert torch.equal(state["pts_voxel_encoder.norm.running_mean"], before)


def test_what_is_frozen_or_used_by_no_rank_is_left_alone(make_detector, make_batch):
    detector = make_detector(overrides=PLAIN)
    detector.img_backbone.requires_grad_(requires_grad=False)
    detector.idle = nn.Parameter(torch.ones(3))
    batches = [make_batch((2, 1), points=200, seed=seed) for seed in range(3)]
    _, wanted, _ = steps(detector, batches)
    for _, gradients, state in in_ranks(2, lambda rank: steps(detector, batches, rank, 2)):
        assert gradients.keys() == wanted.keys()
        assert not any(name.startswith("img_backbone") for name in gradients)
        assert torch.equal(state["idle"], torch.ones(3))


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(4), nn.BatchNorm2d(4, momentum=0.3)])
def test_a_synced_norm_is_that_of_the_whole_batch(norm):
    shape = (7, 4) if isinstance(norm, nn.BatchNorm1d) else (7, 4, 3, 2)
    norm = norm.double().train()
    nn.init.normal_(norm.weight)
    maps = torch.randn(shape, dtype=torch.float64) * 3 + 5
    weights = torch.randn(shape, dtype=torch.float64)
    shares = [slice(0, 1), slice(1, 4), slice(4, 7)]

    def act(rank=None):
        own = copy.deepcopy(norm)
        if rank is not None:
            sync_norms(own)
            assert type(own) is SyncedBatchNorm
        part = slice(None) if rank is None else shares[rank]
        given = maps[part].clone().requires_grad_()
        (own(given) * weights[part]).sum().backward()
        return given.grad, own.weight.grad, own.running_mean, own.running_var, own.eval()(given)

    alone, every = act(), in_ranks(3, act)
    assert torch.allclose(torch.cat([one[0] for one in every]), alone[0], atol=1e-12)
    assert torch.allclose(sum(one[1] for one in every), alone[1], atol=1e-12)
    for one in every:
        assert torch.allclose(one[2], alone[2], atol=1e-12)
        assert torch.allclose(one[3], alone[3], atol=1e-12)
    assert torch.allclose(torch.cat([one[4] for one in every]), alone[4], atol=1e-12)


def test_the_first_rank_decides_and_has_the_buffers():
    def act(rank):
        norm = nn.BatchNorm1d(2)
        norm.running_mean += rank + 1
        same_buffers(norm)
        return agreed(rank == 0, rank == 1), norm.running_mean.tolist()

    assert in_ranks(2, act) == [([True, False], [1.0, 1.0])] * 2
    assert agreed(True, False) == [True, False]
