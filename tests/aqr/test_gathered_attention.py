import json
import math
import re
import subprocess
import sys

import pytest
import torch
from small_map import LAYOUT, places_of
from torch.utils._python_dispatch import TorchDispatchMode

from aqr_exp.aqr.attention import correction, gathered
from aqr_exp.aqr.attention.correction import slot_chunks
from aqr_exp.aqr.attention.gathered import GatheredAttention
from aqr_exp.aqr.windows import Windows, gather_windows

EMPTY = (None, {})


def windows_of(index, valid, keys):
    index, valid = torch.tensor(index), torch.tensor(valid, dtype=torch.bool)
    offset = torch.zeros(index.shape[-1], 2, dtype=torch.long)
    return Windows(index=index, valid=valid, offset=offset, lidar_slots=1, keys=keys)


def small_windows():
    """Two samples of a corner, an edge, a query in two views, one off the BEV and one nowhere."""
    one = places_of(
        ((0.0, 0.0), {0: (0.2, 0.3)}),
        ((3.5, 7.9), {}),
        ((2.0, 2.0), {0: (3.9, 4.9), 1: (1.0, 0.0)}),
        (None, {2: (2.0, 2.0)}),
        EMPTY,
    )
    two = places_of(
        EMPTY, ((5.0, 7.0), {}), (None, {1: (0.0, 0.0)}), ((2.0, 3.0), {}), ((1.0, 1.0), {})
    )
    places = type(one)(
        *(
            torch.cat((getattr(one, name), getattr(two, name)))
            for name in ("bev", "bev_inside", "camera", "seen")
        )
    )
    return gather_windows(places, LAYOUT, bev_size=3, camera_size=2, view_policy="all")


def attention_of(width=8, heads=2):
    torch.manual_seed(1)
    attention = GatheredAttention(width, heads).double()
    for parameter in attention.parameters():
        parameter.data.normal_(std=0.4)
    return attention


def inputs_of(width=8, samples=2, queries=5, keys=LAYOUT.keys):
    torch.manual_seed(2)
    return [
        torch.randn(samples, n, width, dtype=torch.float64, requires_grad=True)
        for n in (queries, keys, keys)
    ]


def dense(attention, query, memory, key_pos, windows):
    """All scores, minus infinity outside the windows, one head at a time."""
    inside = torch.zeros(*query.shape[:2], memory.shape[1], dtype=torch.bool)
    for sample, number, slot in windows.valid.nonzero().tolist():
        inside[sample, number, windows.index[sample, number, slot]] = True
    empty = ~inside.any(dim=-1, keepdim=True)
    heads = []
    projected = (
        attention.query(query), attention.key(memory + key_pos), attention.value(memory)
    )  # fmt: skip
    for q, k, v in zip(*(t.chunk(attention.heads, dim=-1) for t in projected), strict=True):
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        heads.append(scores.masked_fill(~(inside | empty), -torch.inf).softmax(dim=-1) @ v)
    # An empty row has no softmax of its own: it was given all keys, and is taken out here.
    return torch.where(empty, 0.0, attention.out(torch.cat(heads, dim=-1)))


def results(function, attention, inputs, windows):
    output = function(*inputs, windows)
    torch.manual_seed(3)
    wanted = torch.randn(output.shape, dtype=output.dtype)
    leaves = [*inputs, *attention.parameters()]
    return output.detach(), torch.autograd.grad(output, leaves, wanted)


@pytest.mark.parametrize("chunk_numbers", [1, 400, 2**20])
@pytest.mark.parametrize("heads", [1, 2, 8])
def test_values_and_all_gradients_are_the_dense_ones(heads, chunk_numbers, monkeypatch):
    # Ten queries of 9 + 2 * 4 slots and width 8: one, two, or all of them at a time.
    monkeypatch.setattr(correction, "_CHUNK_NUMBERS", chunk_numbers)
    attention, inputs, windows = attention_of(heads=heads), inputs_of(), small_windows()
    assert windows.valid.any(-1).tolist() == [[1, 1, 1, 1, 0], [0, 1, 1, 1, 1]]
    got = results(attention, attention, inputs, windows)
    wanted = results(lambda *a: dense(attention, *a), attention, inputs, windows)
    torch.testing.assert_close(got[0], wanted[0], atol=1e-12, rtol=0)
    for one, other in zip(got[1], wanted[1], strict=True):
        assert other.abs().max() > 1e-3
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("queries", "wanted"), [(5, [2, 2, 2, 2, 2]), (2, [2, 2]), (1, [2]), (0, [])]
)
def test_chunks_cover_every_query_once(queries, wanted, monkeypatch):
    # Two samples: their queries follow each other, and so do their 7 keys.
    index = torch.arange(queries * 2 * 3).view(2, queries, 3) % 7
    monkeypatch.setattr(correction, "_CHUNK_NUMBERS", 2 * 3 * 4 + 1)
    chunks = [*slot_chunks(index, keys=7, width=4)]
    assert [len(places) for _, places in chunks] == wanted
    assert [row for part, _ in chunks for row in range(2 * queries)[part]] == [*range(2 * queries)]
    if queries:
        places = torch.cat([places for _, places in chunks]).view(2, queries, 3)
        assert torch.equal(places - index, torch.tensor([0, 7])[:, None, None].expand_as(index))


def identity_attention(width=2, heads=1):
    attention = GatheredAttention(width, heads)
    with torch.no_grad():
        for linear in (attention.query, attention.key, attention.value, attention.out):
            linear.weight.copy_(torch.eye(width))
    return attention


WAYS = pytest.mark.parametrize("absorbed", [True, False])


@pytest.fixture
def way(absorbed, monkeypatch):
    """Which way single precision goes, whatever the shapes."""
    monkeypatch.setattr(gathered, "absorbing_is_cheaper", lambda *_: absorbed)


@WAYS
@pytest.mark.usefixtures("way")
def test_known_values():
    windows = windows_of([[[1, 2], [3, 0], [2, 0]]], [[[1, 1], [1, 0], [1, 1]]], 4)
    query = torch.tensor([[[0.0, 0.0], [5.0, 5.0], [math.sqrt(2.0) * math.log(3.0), 0.0]]])
    key = torch.tensor([[[0.0, 9.0], [1.0, 2.0], [1.0, -4.0], [7.0, 7.0]]])
    value = torch.tensor([[[8.0, 0.0], [2.0, 4.0], [4.0, 12.0], [-1.0, 6.0]]])
    got = identity_attention()(query, value, key - value, windows)
    # Even scores; one key; scores ln 3 and 0, hence shares 3/4 and 1/4 of keys 2 and 0.
    torch.testing.assert_close(got[0], torch.tensor([[3.0, 8.0], [-1.0, 6.0], [5.0, 9.0]]))


@WAYS
@pytest.mark.usefixtures("way")
def test_every_sample_reads_its_own_keys():
    windows = windows_of([[[1]], [[1]]], [[[1]], [[1]]], 2)
    value = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    got = identity_attention()(torch.ones(2, 1, 2), value, torch.zeros_like(value), windows)
    assert got.tolist() == [[[3.0, 4.0]], [[7.0, 8.0]]]


def test_a_query_without_keys_gets_zero_and_gives_no_gradient():
    attention, inputs, windows = attention_of(), inputs_of(), small_windows()
    assert attention.out.bias.abs().min() > 0
    output = attention(*inputs, windows)
    assert output[0, 4].tolist() == [0.0] * 8
    assert output[1, 0].tolist() == [0.0] * 8
    leaves = [*inputs, *attention.parameters()]
    for gradient in torch.autograd.grad(output[0, 4].sum() + output[1, 0].sum(), leaves):
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_queries_without_keys_do_not_disturb_the_others():
    attention, (query, memory, key_pos), windows = attention_of(), inputs_of(), small_windows()
    without = Windows(
        index=windows.index[:1, :4], valid=windows.valid[:1, :4], offset=windows.offset,
        lidar_slots=windows.lidar_slots, keys=windows.keys,
    )  # fmt: skip
    got = attention(query, memory, key_pos, windows)[:1, :4]
    wanted = attention(query[:1, :4], memory[:1], key_pos[:1], without)
    torch.testing.assert_close(got, wanted, atol=1e-14, rtol=0)


def test_invalid_slots_do_not_read_the_key_they_name():
    # Invalid slots name key 0, which no window here holds.
    windows = windows_of([[[1, 0, 2], [0, 0, 3]]], [[[1, 0, 1], [0, 0, 1]]], 4)
    attention, inputs = attention_of(), inputs_of(samples=1, queries=2, keys=4)
    _, (_, memory, key_pos, *_) = results(attention, attention, inputs, windows)
    assert memory[0, 0].tolist() == key_pos[0, 0].tolist() == [0.0] * 8
    assert memory[0, 1:].abs().min() > 0
    changed = [inputs[0], *(t.detach().index_fill(1, torch.tensor(0), 1e6) for t in inputs[1:])]
    assert torch.equal(attention(*changed, windows), attention(*inputs, windows))


def test_gradients_by_finite_differences():
    attention = attention_of(width=4)
    windows = windows_of([[[1, 2, 0], [0, 0, 0]]], [[[1, 1, 1], [0, 0, 0]]], 3)
    inputs = inputs_of(width=4, samples=1, queries=2, keys=3)
    assert torch.autograd.gradcheck(lambda *a: attention(*a, windows), inputs)


@WAYS
@pytest.mark.usefixtures("way")
def test_large_scores_do_not_overflow():
    windows = windows_of([[[0, 1]]], [[[1, 1]]], 2)
    key = torch.tensor([[[3e4, 0.0], [-3e4, 0.0]]])
    value = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    got = identity_attention()(torch.tensor([[[1e4, 0.0]]]), value, key - value, windows)
    assert got.tolist() == [[[1.0, 2.0]]]


@pytest.mark.parametrize(("queries", "keys"), [(4, 108), (5, 107)])
def test_windows_of_other_queries_or_keys_are_refused(queries, keys):
    inputs = inputs_of(queries=queries, keys=keys)
    message = (
        f"windows of (2, 5) queries and 108 keys do not fit (2, {queries}) queries and {keys} keys"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        attention_of()(*inputs, small_windows())


@pytest.mark.parametrize(
    ("batch", "encodings", "width"),
    [(2, 1, 8), (1, 1, 8), (2, 2, 4)],
    ids=["encodings", "samples", "width"],
)
def test_tokens_that_do_not_fit_are_refused(batch, encodings, width):
    # The kernels would read beyond their end. Not by `forward`, whose shapes tests check before it does.
    query, memory = torch.zeros(2, 5, 8), torch.zeros(batch, 108, width)
    message = (
        f"tokens of {(batch, 108, width)} and encodings of {(encodings, 108, width)} do not fit "
        "queries of (2, 5, 8)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        gathered._check(query, memory, memory[:encodings], small_windows())


@pytest.mark.parametrize("heads", [3, 0, -1])
def test_heads_must_divide_the_width(heads):
    message = f"heads={heads}: must be at least 1 and divide width=8"
    with pytest.raises(ValueError, match=f"^{message}$"):
        GatheredAttention(8, heads)


PROGRAM = """
import json, resource, torch
from aqr_exp.aqr.router import Router
from aqr_exp.aqr.windows import Windows

def peak_gb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

torch.manual_seed(0)
samples, queries, keys, slots, width = 2, 1200, 22384, 128, 256
router = Router(
    width=width, heads=4, ffn_channels=1024, activation="sigmoid", init_bias=1.5
)
torch.nn.init.normal_(router.output.weight)
index = torch.randint(0, keys - slots, (samples, queries, 1)) + torch.arange(slots)
windows = Windows(
    index=index, valid=torch.ones_like(index, dtype=torch.bool),
    offset=torch.zeros(slots, 2, dtype=torch.long), lidar_slots=64, keys=keys,
)
before = peak_gb()
inputs = [torch.randn(samples, n, width, requires_grad=True) for n in (queries, keys, keys)]
router(*inputs, windows).sum().backward()
print(json.dumps({
    "growth_gb": peak_gb() - before,
    "gradients": [float(t.grad.abs().max()) for t in (*inputs, *router.parameters())],
}))
"""


def test_full_size_stays_within_a_gigabyte():
    """The router at batch 2, 1,200 queries, 22,384 keys, windows of 128 slots and width 256."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert all(0.0 < gradient < math.inf for gradient in got["gradients"])
    # The gathered keys and values alone would be 2 * 2 * 1,200 * 128 * 256 * 4 bytes = .63 GB, and
    # as much again for their gradients.
    assert got["growth_gb"] < 1.0


class _Counted(TorchDispatchMode):
    """Counts what is dispatched: on a device about a kernel to launch each."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("keys", "slots"), [(22_384, 89), (56_400, 256)])
def test_a_device_gets_few_operations_a_step(keys, slots):
    """Shapes of the published models: two samples, 1,400 queries with those for denoising."""
    attention = GatheredAttention(256, 8).to("meta")
    query, *tokens = (
        torch.randn(2, rows, 256, device="meta", requires_grad=True) for rows in (1400, keys, keys)
    )
    index = torch.zeros(2, 1400, slots, dtype=torch.int64, device="meta")
    offset = torch.zeros(slots, 2, dtype=torch.int64, device="meta")
    windows = Windows(index=index, valid=index == 0, offset=offset, lidar_slots=0, keys=keys)
    with _Counted() as operations:
        attention(query, *tokens, windows).sum().backward()
    assert 50 < operations.count <= 300
    assert query.grad.shape == query.shape
