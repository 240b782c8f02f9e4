"""Learning rates by module: what the real optimiser gets, what a rate of 0 leaves, what is refused."""

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.optim import build_optim_wrapper

from aqr_exp.cmt.detector import register_modules
from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.config.load import load_run
from aqr_exp.errors import RequestError
from aqr_exp.launch.measuring import check_parameters
from aqr_exp.train.outline import FROZEN, REST, outline, rates
from aqr_exp.train.runner_config import optimizer_config

SEEDS = {
    "img_backbone": 0.0,
    "pts_backbone": 0.0,
    "pts_voxel_encoder": 0.0,
    "img_neck": 0.05,
    "pts_neck": 0.05,
    "pts_bbox_head.transformer": 0.5,
    "pts_bbox_head.reference_points": 0.3,
    "pts_bbox_head.task_heads": 0.8,
    "pts_bbox_head.shared_conv": 0.5,
    "pts_bbox_head.aqr.bias.scale": 2.0,
}


NO_SUCH = "the detector has no such module with parameters"
ACTS_ON_NOTHING = "acts on nothing: all of its parameters are those of"
ROUTER = "'pts_bbox_head.aqr.router'"


def typed(table):
    return f"schedule.lr_mult={{{', '.join(f'{name}: {value}' for name, value in table.items())}}}"


def run_of(*overrides, variant="attention_bias"):
    return load_run(variant, ["schedule.learning_rate=1e-3", *overrides])


def groups_of(config, detector):
    """(rate over the run's, decay over the run's) of every trained parameter, from a real optimiser."""
    wrapper = build_optim_wrapper(detector, optimizer_config(config.schedule, config.variant))
    found = {
        id(parameter): (group["lr"] / 1e-3, group["weight_decay"] / config.schedule.weight_decay)
        for group in wrapper.param_groups
        for parameter in group["params"]
    }
    return {n: found[id(p)] for n, p in detector.named_parameters() if p.requires_grad}


@pytest.fixture(scope="module")
def detector():
    register_modules()
    torch.manual_seed(0)
    return MODELS.build(detector_config(run_of()))


def test_each_part_of_the_real_optimiser_has_the_typed_rate(detector):
    config = run_of(typed(SEEDS), "schedule.img_backbone_decay_mult=5", "schedule.lidar_lr_mult=3")
    assert config.schedule.lr_mult == SEEDS
    found, counts = groups_of(config, detector), dict.fromkeys([*SEEDS, "other"], 0)
    for name, (rate, decay) in found.items():
        rule = next((each for each in SEEDS if name.startswith(f"{each}.")), "other")
        counts[rule] += detector.get_parameter(name).numel()
        # What nothing in the map holds keeps the named settings.
        named = 0.0 if "_embedding" in name else 3.0 if "dense_supervision" in name else 1.0
        assert rate == pytest.approx(SEEDS.get(rule, named)), name
        # Decays stay as they are.
        assert decay == {"img_backbone": 5.0, "pts_bbox_head.aqr.bias.scale": 0.0}.get(rule, 1.0), (
            name
        )
    shown = {row["module"]: row for row in rates(config, detector)}
    for rule, value in SEEDS.items():
        assert counts[rule] > 0
        assert (shown[rule]["multiplier"], shown[rule]["parameters"]) == (value, counts[rule])
    assert sum(row["parameters"] for row in shown.values()) == sum(
        parameter.numel() for parameter in detector.parameters()
    )


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        # The last word, whatever the setting of a part or the variant says: encodings have 0 here.
        ({"pts_bbox_head": 0.25}, {"bev_embedding": 0.25, "aqr.router": 0.25, "aqr.bias": 0.25}),
        # Of two in the map the inner one.
        (
            {"pts_bbox_head": 0.25, "pts_bbox_head.aqr.router": 4},
            {"bev_embedding": 0.25, "aqr.router": 4, "shared_conv": 0.25},
        ),
        ({"pts_bbox_head.transformer": 0}, {"bev_embedding": 0, "transformer": 0, "task_heads": 1}),
    ],
)
def test_the_map_has_the_last_word_and_its_innermost_rule(detector, table, expected):
    found = groups_of(run_of(typed(table)), detector)
    for part, multiplier in expected.items():
        names = [name for name in found if name.startswith(f"pts_bbox_head.{part}")]
        assert names
        assert [found[name][0] for name in names] == pytest.approx([multiplier] * len(names))


class Layers(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.pts_bbox_head = torch.nn.Module()
        self.pts_bbox_head.layers = torch.nn.ModuleList([torch.nn.Linear(1, 1)] * 0)
        for _ in range(11):
            self.pts_bbox_head.layers.append(torch.nn.Linear(1, 1))


def test_a_layer_is_not_another_whose_number_begins_with_its_own():
    found = groups_of(run_of(typed({"pts_bbox_head.layers.1": 0.5})), Layers())
    assert found["pts_bbox_head.layers.1.weight"][0] == pytest.approx(0.5)
    assert found["pts_bbox_head.layers.10.weight"][0] == pytest.approx(1.0)
    shown = rates(run_of(typed({"pts_bbox_head.layers.1": 0.5})), Layers())
    counts = {row["module"]: row["parameters"] for row in shown}
    assert counts == {"pts_bbox_head.layers.1": 2, REST: 20}


def test_what_is_not_trained_is_counted_apart():
    layers = Layers()
    layers.pts_bbox_head.layers[0].requires_grad_(requires_grad=False)
    shown = {row["module"]: row["parameters"] for row in rates(run_of(), layers)}
    assert shown == {REST: 20, FROZEN: 2}


def test_a_rate_of_zero_leaves_every_bit_of_the_parameters(detector):
    """Through steps of AdamW with decay, momentum and a rate that rises; batch statistics still move."""
    config = run_of(typed({"img_backbone": 0}), "schedule.weight_decay=0.5")
    backbone = detector.img_backbone
    wrapper = build_optim_wrapper(detector, optimizer_config(config.schedule, config.variant))
    before = {n: p.detach().numpy().tobytes() for n, p in detector.named_parameters()}
    statistics = backbone.bn1.running_mean.clone()
    backbone.train()
    torch.manual_seed(0)
    for step in range(3):
        for group in wrapper.param_groups:
            group["lr"] *= 1 + step
        maps = backbone(torch.randn(1, 3, 64, 64))
        others = sum(p.sum() for n, p in detector.named_parameters() if "img_backbone" not in n)
        wrapper.update_params(sum(each.square().mean() for each in maps) + others)
    after = {n: p.detach().numpy().tobytes() for n, p in detector.named_parameters()}
    changed = {name for name in before if before[name] != after[name]}
    assert not any(name.startswith("img_backbone") for name in changed)
    assert "img_neck.lateral_convs.0.conv.weight" in changed
    assert not torch.equal(backbone.bn1.running_mean, statistics)


def test_rules_that_act_on_nothing_are_refused_with_the_nearest(detector):
    del detector
    table = {"transformer": 0, "pts_bbox_head.aqr.bias": 2, "pts_bbox_head.aqr.bias.scale": 2}
    faults = outline(run_of(typed(table)))["faults"]
    assert faults == [
        f"schedule.lr_mult[transformer]=0: {NO_SUCH}: did you mean 'pts_bbox_head.transformer'?",
        f"schedule.lr_mult[pts_bbox_head.aqr.bias]=2: {ACTS_ON_NOTHING} pts_bbox_head.aqr.bias.scale",
    ]


def test_what_another_variant_has_may_be_typed_for_the_baseline_too(detector):
    del detector
    table = {"pts_bbox_head.aqr.router": 0.5, "pts_bbox_head.aqr.bias.scale": 2}
    found = outline(run_of(typed(table), variant="baseline"))
    assert found["faults"] == []
    assert not any("aqr" in row["module"] for row in found["rates"])


def test_many_runs_are_refused_before_any_starts():
    """In a process of its own, as `run` and `sweep` ask it; arms that differ in the seed are one."""
    wrong = [
        run_of("schedule.lr_mult={pts_neck: 1, img_nek: 2}", f"seed={seed}") for seed in (0, 1)
    ]
    other = run_of(typed({"pts_bbox_head.aqr.routers": 0.5}), variant="baseline")
    with pytest.raises(RequestError) as caught:
        check_parameters([*wrong, other])
    assert [str(fault) for fault in caught.value.faults] == [
        f"schedule.lr_mult[img_nek]=2: {NO_SUCH}: did you mean 'img_neck'?",
        f"schedule.lr_mult[pts_bbox_head.aqr.routers]=0.5: {NO_SUCH}: did you mean {ROUTER}?",
    ]
