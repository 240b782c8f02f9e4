"""The start `cross_attention_init=local` promises: attention near the query, nothing else changed."""

import pytest
import torch

from aqr_exp.cmt import encodings
from aqr_exp.cmt.encodings import encode_positions

NEAR_M = 5.0
NEAR_PX = 32.0


def attention_at_the_start(detector, camera_rig):
    """First layer's attention [heads, queries, keys] of random queries over empty features."""
    head = detector.pts_bbox_head
    reference = torch.rand(1, 100, 3) * torch.tensor([1.0, 1.0, 0.2]) + torch.tensor([0, 0, 0.4])
    metas = [{"lidar2img": camera_rig(), "pad_shape": (96, 256)}]
    bev, camera = torch.zeros(1, 128, 36, 36), torch.zeros(6, 128, 6, 16)
    with torch.no_grad():
        key_pos, query_pos = encode_positions(
            head.bev_embedding, head.rv_embedding, bev, camera, reference, metas,
            width=head.width, depth_bins=head.depth_bins,
            point_cloud_range=head.point_cloud_range,
        )  # fmt: skip
        attention = head.transformer.cross_attentions[0]
        query, key = attention.project(query_pos, 0), attention.project(key_pos, 1)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    return reference[0], scores.softmax(dim=-1)[0]


def bev_share_near(reference, attention):
    cells = encodings.bev_cell_centres(36, 36) * 108
    near = torch.cdist(reference[:, :2] * 108, cells) < NEAR_M
    bev = attention[..., : 36 * 36]
    return ((bev * near).sum(-1) / bev.sum(-1)).mean().item()


def camera_share_near(reference, attention, lidar2img):
    metres = reference * torch.tensor([108.0, 108, 8]) - torch.tensor([54.0, 54, 5])
    matrices = torch.from_numpy(lidar2img).float()
    projected = metres @ matrices[:, :3, :3].transpose(1, 2) + matrices[:, None, :3, 3]
    pixel = projected[..., :2] / projected[..., 2:3].clamp(min=0.1)
    inside = (projected[..., 2] > 0.5) & (pixel >= 0).all(-1)
    inside &= (pixel < torch.tensor([256.0, 96.0])).all(-1)
    rows, columns = torch.meshgrid(torch.arange(6) * 16.0, torch.arange(16) * 16.0, indexing="ij")
    tokens = torch.stack((columns, rows), dim=-1).view(1, 96, 2).expand(6, -1, -1)
    near = (torch.cdist(pixel, tokens) < NEAR_PX) & inside[..., None]
    near = near.transpose(0, 1).flatten(1)
    camera = attention[..., 36 * 36 :]
    share = (camera * near).sum(-1) / camera.sum(-1)
    return share[:, inside.any(0)].mean().item()


def test_attention_starts_near_the_query_in_both_sensors(tiny, make_detector, camera_rig):
    reference, attention = attention_at_the_start(tiny, camera_rig)
    # The first two of the four heads read the BEV, the other two the cameras.
    assert bev_share_near(reference, attention[:2]) > 0.5
    assert camera_share_near(reference, attention[2:], camera_rig()) > 0.5
    published = make_detector(overrides=["model.head.cross_attention_init=xavier"])
    reference, attention = attention_at_the_start(published, camera_rig)
    assert bev_share_near(reference, attention) < 0.02
    assert camera_share_near(reference, attention, camera_rig()) < 0.05


def test_each_sensor_has_heads_of_its_own(tiny, camera_rig):
    _, attention = attention_at_the_start(tiny, camera_rig)
    bev = attention[..., : 36 * 36].sum(-1).mean(dim=1)
    assert (bev[:2] > 0.95).all()
    assert (bev[2:] < 0.2).all()


def test_queries_and_keys_share_one_projection(tiny):
    for attention in tiny.pts_bbox_head.transformer.cross_attentions:
        query, key, value = attention.in_proj_weight.chunk(3)
        assert torch.equal(query, key)
        assert not torch.equal(query, value)


def test_names_and_shapes_are_those_of_the_published_start(tiny, make_detector):
    published = make_detector(overrides=["model.head.cross_attention_init=xavier"]).state_dict()
    assert {k: v.shape for k, v in tiny.state_dict().items()} == {
        k: v.shape for k, v in published.items()
    }


def test_the_start_comes_from_the_seed(make_detector):
    name = "pts_bbox_head.rv_embedding.2.weight"
    first, again, other = (make_detector(seed=s).state_dict()[name] for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("width", [64, 100])
def test_other_widths_and_heads_work(make_detector, make_batch, width):
    detector = make_detector(overrides=[f"model.head.width={width}", "model.head.heads=2"])
    assert torch.isfinite(sum(detector.loss(*make_batch()).values()))
