"""Queries, keys, values and biases to attend with, what came of it, and how much of it may be rounded off.

Letters: B samples, Q queries, K tokens, S window slots, H heads, C width, c = C / H.
"""

import copy
import math

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


class _SquaredShares(torch.autograd.Function):
    """Softmax of squares: shares go forward, and no term cancels another on the way back."""

    @staticmethod
    def forward(ctx, scores, shares):
        del scores
        ctx.save_for_backward(shares)
        return shares

    @staticmethod
    def backward(ctx, grad):
        (shares,) = ctx.saved_tensors
        return shares * (grad + (shares * grad).sum(dim=2, keepdim=True)), None


def _window_attention(attention, inputs, windows, scale, softmax):
    """`GatheredAttention` by definition, with a softmax of one's own; output, scores and shares."""
    query, memory, key_pos = inputs
    sample = torch.arange(len(query))[:, None, None]
    split = lambda rows: rows.unflatten(-1, (attention.heads, -1))  # noqa: E731
    near = split(attention.key(memory + key_pos))[sample, windows.index]  # [B, Q, S, H, c]
    content = split(attention.value(memory))[sample, windows.index]
    scores = torch.einsum("bqhc,bqshc->bqsh", split(attention.query(query)), near) * scale
    shares = softmax(scores)
    mixed = torch.einsum("bqsh,bqshc->bqhc", shares, content).flatten(2)
    output = attention.out(mixed) * windows.valid.any(dim=-1, keepdim=True)
    return output, scores.detach(), shares.detach()


def rounding_of_window_attention(attention, inputs, windows, grad_output):
    """The rounding that single precision may leave in `GatheredAttention`'s output and gradients.

    Everything is computed again, in double precision, with the square of each number in its place:
    gradients then are sums of squared terms. Additions of n terms are rounded off by sqrt(n) units in the
    last place of the root of that, whether the terms cancel or not, and shares by as many units as
    the scores are large.

    Returns:
        A number for the output, each input's gradient and each parameter's.
    """
    squares = copy.deepcopy(attention).double()
    inputs = [part.detach().double() for part in inputs]
    hidden = ~windows.valid[..., None]
    width = inputs[0].shape[2] / attention.heads

    def softmax(scores):
        shares = scores.masked_fill(hidden, -math.inf).softmax(dim=2)
        return torch.where(hidden, 0.0, shares)

    _, _, shares = _window_attention(squares, inputs, windows, width**-0.5, softmax)
    for parameter in squares.parameters():
        parameter.data.square_()
    inputs = [part.square().requires_grad_() for part in inputs]
    output, scores, _ = _window_attention(
        squares, inputs, windows, 1 / width, lambda own: _SquaredShares.apply(own, shares.square())
    )
    gradients = torch.autograd.grad(
        output, [*inputs, *squares.parameters()], grad_output.double().square()
    )
    largest_score = scores.masked_fill(hidden, 0.0).max().sqrt()
    longest = max(inputs[0].shape[2], *windows.index.shape[1:], windows.index[..., 0].numel())
    units = 16.0 * math.sqrt(longest) * (1.0 + largest_score)
    return [
        float(units * torch.finfo(torch.float32).eps * part.max().sqrt())
        for part in (output.detach(), *gradients)
    ]
