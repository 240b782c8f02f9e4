import pytest
import torch

from aqr_exp.cmt.encodings import encode_positions

DIMS = {"center": 2, "height": 1, "dim": 3, "rot": 2, "vel": 2, "cls_logits": 10}


@pytest.fixture
def head(tiny):
    return tiny.pts_bbox_head


@pytest.fixture
def maps():
    return torch.randn(2, 64, 36, 36), torch.randn(12, 128, 6, 16)


def metas_of(samples, ground_truth):
    metas = [{key: s.metainfo[key] for key in ("lidar2img", "pad_shape")} for s in samples]
    if ground_truth:
        for meta, sample in zip(metas, samples, strict=True):
            meta["gt_bboxes_3d"] = sample.gt_instances_3d.bboxes_3d
            meta["gt_labels_3d"] = sample.gt_instances_3d.labels_3d
    return metas


def test_outputs_of_evaluation(head, maps, make_batch):
    metas = metas_of(make_batch(points=1)[1], ground_truth=True)
    task = head.eval()(*maps, metas)
    # No denoising queries, although there is ground truth.
    assert {name: value.shape for name, value in task.items()} == {
        name: (2, 2, 300, dims) for name, dims in DIMS.items()
    }
    assert task["center"].abs().max() <= 54.0
    assert task["height"].min() >= -5.0
    assert task["height"].max() <= 3.0


def test_outputs_of_training(head, maps, make_batch):
    metas = metas_of(make_batch(boxes=(3, 5), points=1)[1], ground_truth=True)
    task = head(*maps, metas)
    slots = 15  # 3 groups of 5
    assert task.pop("denoising").slots == slots
    assert task.pop("bev_map").shape == (2, 128, 36, 36)
    assert task.pop("camera_map").shape == (12, 128, 6, 16)
    wanted = {name: (2, 2, 300, dims) for name, dims in DIMS.items()}
    wanted |= {f"dn_{name}": (2, 2, slots, dims) for name, dims in DIMS.items()}
    assert {name: value.shape for name, value in task.items()} == wanted


def test_learnable_queries_do_not_see_denoising_ones(head, maps, make_batch):
    """With equal features the matched outputs are those without ground truth."""
    samples = make_batch(points=1)[1]
    with torch.no_grad():
        for norm in (m for m in head.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.eval()
        whole = head(*maps, metas_of(samples, ground_truth=True))
        alone = head(*maps, metas_of(samples, ground_truth=False))
    for name in DIMS:
        torch.testing.assert_close(whole[name], alone[name], atol=1e-4, rtol=1e-4)


def test_boxes_start_at_their_references(head, maps, make_batch):
    """The local start: offsets are small, so centres lie near the reference points."""
    metas = metas_of(make_batch(points=1)[1], ground_truth=False)
    with torch.no_grad():
        task = head.eval()(*maps, metas)
    reference = head.reference_points.weight[:, :2] * 108 - 54
    assert (task["center"][0, 0] - reference).norm(dim=1).median() < 5.0


def test_shapes_of_metas_do_not_matter(head, maps, make_batch):
    metas = metas_of(make_batch(points=1)[1], ground_truth=False)
    published = [
        {"lidar2img": list(meta["lidar2img"]), "pad_shape": [(96, 256, 3)] * 6} for meta in metas
    ]
    head.eval()
    with torch.no_grad():
        assert torch.equal(head(*maps, metas)["center"], head(*maps, published)["center"])


def test_camera_encoding_sums_over_views(head, camera_rig):
    """Against a loop over views and queries."""
    from aqr_exp.cmt import encodings

    reference = torch.rand(2, 50, 3)
    reference[:, 0] = torch.tensor([0.5, 0.5, 1.0])  # above the vehicle no camera sees anything
    metas = [{"lidar2img": camera_rig(), "pad_shape": (96, 256)}] * 2
    bev, camera = torch.zeros(2, 128, 4, 4), torch.zeros(12, 128, 6, 16)
    with torch.no_grad():
        _, got = encode_positions(
            head.bev_embedding, head.rv_embedding, bev, camera, reference, metas,
            width=head.width, depth_bins=head.depth_bins,
            point_cloud_range=head.point_cloud_range,
        )  # fmt: skip
        got = got - head.bev_embedding(
            encodings.sine_embedding(encodings.inverse_sigmoid(reference).sigmoid(), 128)
        )
        lidar2img, img2lidar = encodings.projection_matrices(metas)
        rays, seen = encodings.query_rays(
            reference, lidar2img, img2lidar, (96.0, 256.0), encodings.ray_depths(16, 54.0),
            head.point_cloud_range,
        )  # fmt: skip
        wanted = torch.zeros_like(got)
        for sample, view, query in seen.nonzero().tolist():
            wanted[sample, query] += head.rv_embedding(rays[sample, view, query])
    assert (seen.sum(dim=1) > 1).any()
    assert (seen.sum(dim=1) == 0).any()
    torch.testing.assert_close(got, wanted, atol=1e-3, rtol=1e-3)
