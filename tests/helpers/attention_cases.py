"""Queries, keys, values and biases to attend with, and what came of it."""

import torch

from aqr_exp.aqr.bias import LocalBias


def leaves(batch, heads, queries, keys, width, dtype=torch.float32, spread=1.0):
    """Query, key and value as projections hand them over: [B, n, H, c] with two axes exchanged."""
    shapes = [(batch, n, heads, width) for n in (queries, keys, keys)]
    tensors = [torch.randn(shape, dtype=dtype) * spread for shape in shapes]
    return [tensor.transpose(1, 2).requires_grad_() for tensor in tensors]


def random_bias(batch, queries, keys, slots, strength, dtype=torch.float32):
    """Windows of distinct keys; a third of the slots invalid, and all of the first query's."""
    picked = torch.rand(batch, queries, keys).argsort(dim=-1)[..., :slots]
    valid = torch.rand(batch, queries, slots) > 0.3
    valid[:, 0] = False
    value = (torch.rand(batch, queries, slots, dtype=dtype) * 2 - 1) * strength
    value = torch.where(valid, value, 0.0).requires_grad_()
    return LocalBias(index=torch.where(valid, picked, 0), valid=valid, value=value)


def results(function, tensors, bias, *more):
    """Output, and gradients of query, key, value and bias under fixed wanted gradients."""
    output = function(*tensors, bias, *more)
    torch.manual_seed(7)
    wanted = torch.randn(output.shape, dtype=output.dtype)
    return output.detach(), torch.autograd.grad(output, (*tensors, bias.value), wanted)


def assert_same(got, wanted, value_tolerance, gradient_tolerance):
    torch.testing.assert_close(got[0], wanted[0], atol=value_tolerance, rtol=value_tolerance)
    for name, one, other in zip(("query", "key", "value", "bias"), got[1], wanted[1], strict=True):
        largest = other.abs().max()
        assert largest > 0, name
        assert (one - other).abs().max() <= gradient_tolerance * largest, name
