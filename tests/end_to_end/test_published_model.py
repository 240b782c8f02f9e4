"""The published r50 model at full size: the real frame to boxes, and a training step of each variant."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.dataset import pseudo_collate
from published_weights import load_strictly, published_layout
from torch import nn

from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.config.load import load_run
from aqr_exp.data.dataset import SampleKey
from aqr_exp.data.pipeline import dataset_config
from aqr_exp.train.runner_config import register_plugins

MODEL = "model=cmt_r50_800x320"
MEMORY_GB = 12


def _detector(config):
    from mmdet3d.registry import MODELS

    register_plugins()
    torch.manual_seed(0)
    detector = MODELS.build(detector_config(config))
    detector.init_weights()
    return detector


@pytest.mark.real_frame
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning:spconv")
def test_the_real_frame_goes_through_the_sparse_encoder_to_boxes(real_frame_root):
    """At full size: 1,024 x 1,024 x 40 voxels, six images of 800 x 320, 22,384 keys."""
    pytest.importorskip("spconv", reason="the sparse encoder on a CPU needs spconv")
    from mmdet3d.registry import DATASETS

    register_plugins()
    # The stored images are 1600 wide.
    config = load_run(
        "baseline",
        [MODEL, f"data.root={str(real_frame_root)!r}", "data.augment.test_resize=0.5"],
    )
    detector = _detector(config).eval()
    dataset = DATASETS.build(dataset_config(config, "frame", training=False))
    batch = pseudo_collate([dataset[SampleKey(0, 0, 0)]])
    keys = []
    detector.pts_bbox_head.transformer.register_forward_hook(
        lambda _module, inputs, _output: keys.append(inputs[0].shape)
    )
    with torch.no_grad():
        (sample,) = detector.test_step(batch)
    assert keys == [(1, 22_384, 256)]
    found = sample.pred_instances_3d
    assert 0 < len(found.scores_3d) <= 300
    assert torch.isfinite(found.bboxes_3d.tensor).all()
    centres = found.bboxes_3d.tensor[:, :2]
    assert centres.abs().max() <= 61.2
    assert len(centres.round().unique(dim=0)) > 20


class _EncodedPoints(nn.Module):
    """What the sparse encoder would give; its backward pass needs CUDA."""

    def forward(self, *_):
        return torch.randn(1, 256, 128, 128, generator=torch.Generator().manual_seed(0))


def step_of(variant: str) -> None:
    """One training step in this process; prints the loss, the gradient norm and the peak memory (GB)."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "cmt"))
    import conftest as cmt

    cmt.HEIGHT_PX, cmt.WIDTH_PX = 320, 800
    detector = _detector(load_run(variant, [MODEL])).train()
    detector.pts_voxel_encoder = detector.pts_middle_encoder = _EncodedPoints()
    inputs, samples = cmt.random_batch(boxes=(30,))
    samples[0].set_metainfo({"lidar2img": cmt.rig(320, 800), "pad_shape": (320, 800)})
    total = sum(detector.loss(inputs, samples).values())
    total.backward()
    head = detector.pts_bbox_head
    parts = [detector.img_backbone, detector.pts_backbone, head.transformer]
    parts += [head.aqr.router] if head.aqr is not None else []
    reached = all(
        any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())
        for part in parts
    )
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(float(total), int(reached), peak_gb)  # noqa: T201


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["baseline", "renderer_modulator", "attention_bias"])
def test_a_training_step_fits(variant):
    """A process of its own, so that the peak is this step's."""
    done = subprocess.run(
        [sys.executable, __file__, variant], capture_output=True, text=True, check=True, timeout=800
    )
    # mmengine logs the initialisation before.
    loss, reached, peak_gb = done.stdout.splitlines()[-1].split()
    assert 0 < float(loss) < 10_000
    assert reached == "1"
    assert float(peak_gb) < MEMORY_GB


def test_the_attention_bias_starts_from_a_baseline_checkpoint(tmp_path):
    """A checkpoint in the published layout; only the arm's keys are new."""
    published = _detector(load_run("baseline", [MODEL]))
    state = {f"module.{name}": value for name, value in published_layout(published).items()}
    torch.save(
        {"meta": {"epoch": 20, "CLASSES": ["car"]}, "state_dict": state}, tmp_path / "cmt.pth"
    )
    from aqr_exp.cmt.checkpoint import load_state_dict_file

    detector = _detector(load_run("attention_bias", [MODEL]))
    new = load_strictly(
        detector, load_state_dict_file(tmp_path / "cmt.pth"), may_miss=("pts_bbox_head.aqr.",)
    )
    assert len(new) > 10
    assert all(name.startswith("pts_bbox_head.aqr.") for name in new)
    for name, value in published.state_dict().items():
        assert torch.equal(detector.state_dict()[name], value), name


if __name__ == "__main__":
    step_of(sys.argv[1])
