import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from published_weights import load_strictly, published_layout
from torch import nn

from aqr_exp.cmt.checkpoint import (
    load_state_dict_file,
    sparse_weight_names,
    unwrap_state_dict,
)
from aqr_exp.cmt.detector import register_modules
from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.config.identity import as_dict, from_spec
from aqr_exp.config.load import load_run
from aqr_exp.errors import RequestError
from aqr_exp.files.foreign import checkpoint_fault

SPARSE = "pts_middle_encoder.conv_input.0.weight"


PUBLISHED = {"cmt_r50_800x320": 689, "cmt_vov_1600x640": 871, "cmt_lidar": 235, "cmt_camera": 781}
"""Names in the published models; those of VoVNet and of the LiDAR without the sparse encoder."""


def published_shapes(model):
    lines = (Path(__file__).parent / "published" / f"{model}.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    return {name: tuple(map(int, shape.split(","))) if shape else () for name, shape in rows}


def whole_or_headless(model, state):
    """What the published list of a model holds."""
    left_out = () if model == "cmt_r50_800x320" else ("pts_middle_encoder.",)
    return {name: value for name, value in state.items() if not name.startswith(left_out)}


def unfilled(model):
    """A detector whose numbers nobody drew."""
    register_modules()
    with torch.device("meta"):
        detector = MODELS.build(detector_config(load_run("baseline", [f"model={model}"])))
    return detector.to_empty(device="cpu")


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_models_load_whatever_the_sparse_layout(model):
    """Exactly the published names and shapes, every value at its place, biases included."""
    wanted = published_shapes(model)
    assert len(wanted) == PUBLISHED[model]
    detector = unfilled(model)
    before = whole_or_headless(model, published_layout(detector))
    assert {name: tuple(value.shape) for name, value in before.items()} == wanted
    biases = [name for name in wanted if ".attentions.1.attn." in name and name.endswith("bias")]
    assert len(biases) == 12
    state = {
        name: torch.rand(shape) if shape else torch.tensor(3) for name, shape in wanted.items()
    }
    sparse = {name: value for name, value in detector.state_dict().items() if name not in wanted}
    load_strictly(detector, sparse | state)
    loaded = published_layout(detector)
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_weights_in_the_detector_s_own_layout_load_too(published_detector):
    state = published_layout(published_detector)[SPARSE]
    detector = copy.deepcopy(published_detector)
    assert len(sparse_weight_names(detector)) == 21
    load_strictly(detector, {n: v.clone() for n, v in detector.state_dict().items()})
    assert torch.equal(published_layout(detector)[SPARSE], state)


def test_checkpoints_of_older_runs_have_no_biases_and_load_into_what_they_were(make_detector):
    """The specification of an older run lacks the keys that came later."""
    spec = as_dict(load_run("baseline", ["model=cmt_tiny"]))
    for key in ("projection_bias", "attention_dropout", "task_start"):
        del spec["model"]["head"][key]
    older = MODELS.build(detector_config(from_spec(spec))).state_dict()
    newer = make_detector(square=False)
    added = sorted(set(newer.state_dict()) - set(older))
    assert [name.rsplit("attentions.", 1)[1] for name in added] == [
        "1.attn.in_proj_bias", "1.attn.out_proj.bias",
    ] * 2  # fmt: skip
    with pytest.raises(RequestError, match=r"missing .*in_proj_bias") as caught:
        load_strictly(newer, older)
    assert len(str(caught.value).split(", ")) == 4
    detector = MODELS.build(detector_config(from_spec(spec)))
    assert load_strictly(detector, older) == []


def test_every_fault_is_named_and_nothing_is_loaded(published_detector):
    state = published_layout(published_detector)
    before = state["pts_neck.deblocks.0.0.weight"].clone()
    state = {name: value + 1 for name, value in state.items()}
    del state["pts_bbox_head.reference_points.weight"]
    state["pts_neck.deblocks.0.1.bias"] = torch.zeros(3)
    state["pts_bbox_head.extra"] = torch.zeros(1)
    with pytest.raises(RequestError) as caught:
        load_strictly(published_detector, state)
    assert str(caught.value) == (
        "weights do not fit the model: missing pts_bbox_head.reference_points.weight; "
        "unexpected pts_bbox_head.extra; "
        "misshapen pts_neck.deblocks.0.1.bias [3] (allowed: [256])"
    )
    after = published_detector.state_dict()["pts_neck.deblocks.0.0.weight"]
    assert torch.equal(before, after)


def test_a_misshapen_sparse_weight_is_refused(published_detector):
    state = published_layout(published_detector)
    state[SPARSE] = torch.zeros(16, 3, 3, 3, 4)
    with pytest.raises(RequestError, match=rf"misshapen {SPARSE} \[16, 3, 3, 3, 4\]"):
        load_strictly(published_detector, state)


def test_what_may_be_new_is_reported_and_keeps_its_start(tiny, make_detector):
    """A checkpoint of the baseline in a variant; anything else that differs is still a fault."""
    state = {name: torch.full_like(value, 2) for name, value in tiny.state_dict().items()}
    detector = make_detector(variant="attention_bias")
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    new = load_strictly(detector, state, may_miss=("pts_bbox_head.aqr.",))
    assert new == [name for name in before if name.startswith("pts_bbox_head.aqr.")]
    assert len(new) > 10
    for name, value in detector.state_dict().items():
        assert torch.equal(value, before[name] if name in new else state[name]), name
    state["stray"] = torch.zeros(1)
    del state["pts_bbox_head.reference_points.weight"]
    with pytest.raises(
        RequestError, match=r"missing pts_bbox_head\.reference_points\.weight; unexpected stray$"
    ):
        load_strictly(detector, state, may_miss=("pts_bbox_head.aqr.",))


def test_many_faults_are_counted(tiny):
    with pytest.raises(RequestError, match=r"missing (\S+, ){9}\S+ and \d+ more$"):
        load_strictly(tiny, {})


def test_unwrapping_of_published_checkpoints(tmp_path):
    weight = torch.arange(3.0)
    file = tmp_path / "with 'quotes' and spaces.pth"
    torch.save({"meta": {"epoch": 20}, "state_dict": {"module.a.weight": weight}}, file)
    state = load_state_dict_file(file)
    assert list(state) == ["a.weight"]
    assert torch.equal(state["a.weight"], weight)
    assert list(unwrap_state_dict({"a.weight": weight}, "x")) == ["a.weight"]


def test_files_without_weights_are_refused(tmp_path):
    with pytest.raises(RequestError, match=r"checkpoint .*gone\.pth does not exist"):
        load_state_dict_file(tmp_path / "gone.pth")
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(RequestError, match=r"broken\.pth is a text file"):
        load_state_dict_file(broken)
    with pytest.raises(RequestError, match="x holds no state dict"):
        unwrap_state_dict([1, 2], "x")
    with pytest.raises(RequestError, match="x holds no state dict of tensors"):
        unwrap_state_dict({"epoch": 3}, "x")
    # What lacks then is told key for key.
    assert list(unwrap_state_dict({"a": torch.zeros(1), "epoch": 3}, "x")) == ["a"]


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize("early", [False, True])
def test_nothing_in_a_checkpoint_is_executed(early, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": {"a": Harmful()}}
    torch.save(content, "harmful.pth", _use_new_zipfile_serialization=not early)
    with pytest.raises(RequestError) as caught:
        load_state_dict_file(Path("harmful.pth"))
    cause = "cannot be read as weights (UnpicklingError)" if early else HARMFUL
    assert str(caught.value) == f"checkpoint harmful.pth {cause}"
    assert not Path("executed").exists()


HARMFUL = "is damaged: holds 'pathlib.Path', which is no data"


class Line(BaseModel):
    """Learns one number."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, inputs, **_):
        return {"loss": (self.linear(inputs) - 1).square().mean()}


@pytest.fixture(scope="module")
def real_checkpoint(tmp_path_factory):
    """The file that mmengine saves after two epochs with an average of the weights, and the model."""
    folder = tmp_path_factory.mktemp("mmengine")
    runner = Runner(
        model=Line(),
        work_dir=str(folder),
        train_dataloader={
            "dataset": [{"inputs": torch.ones(1)}, {"inputs": torch.zeros(1)}],
            "sampler": {"type": "DefaultSampler"},
            "collate_fn": {"type": "default_collate"},
            "batch_size": 1,
        },
        train_cfg={"by_epoch": True, "max_epochs": 2},
        optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.1}},
        param_scheduler={"type": "LinearLR", "start_factor": 0.5},
        custom_hooks=[{"type": "EMAHook"}],
        default_scope="mmdet3d",
        experiment_name="real",
    )
    runner.message_hub.update_info("best score", np.float64(0.25))
    runner.message_hub.update_info("counts", np.arange(3))
    runner.train()
    return folder / "epoch_2.pth", runner.model


def test_a_checkpoint_of_mmengine_gives_its_averaged_weights(real_checkpoint):
    path, model = real_checkpoint
    assert checkpoint_fault(path) is None
    state = load_state_dict_file(path)
    assert sorted(state) == ["linear.bias", "linear.weight"]
    # The average is what was saved as the weights; those of the last step lie beside it.
    assert not torch.equal(state["linear.weight"], model.linear.weight)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    beside = torch.load(path, weights_only=False)
    assert isinstance(beside["message_hub"]["log_scalars"]["train/loss"], HistoryBuffer)
    assert isinstance(beside["message_hub"]["runtime_info"]["best score"], np.float64)
    assert torch.equal(beside["ema_state_dict"]["module.linear.weight"], model.linear.weight)
    assert torch.equal(beside["state_dict"]["linear.weight"], state["linear.weight"])
    assert "optimizer" in beside


def test_the_one_reader_of_weights_leaves_no_name_allowed_behind(real_checkpoint):
    before = set(torch.serialization.get_safe_globals())
    load_state_dict_file(real_checkpoint[0])
    assert set(torch.serialization.get_safe_globals()) == before
