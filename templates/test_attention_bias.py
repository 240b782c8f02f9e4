"""Values worked out by hand; `aqr-exp check my_idea` tries it within the detector."""

import torch
from my_idea import MyIdeaModule, MyIdeaSettings

from aqr_exp.ideas import LocalBias, load_run
from aqr_exp.variants.attention_bias.module import AttentionBiasModule


def test_the_bias_of_the_third_layer_is_faded_twice(monkeypatch):
    slots = torch.ones(1, 2, 3)
    whole = LocalBias(index=slots.long(), valid=slots.bool(), value=slots)
    monkeypatch.setattr(AttentionBiasModule, "bias_for_layer", lambda *_: lambda *_: whole)
    run = load_run("attention_bias")
    settings = MyIdeaSettings(**{**vars(run.variant), "name": "my_idea", "fade": 0.5})
    bias = MyIdeaModule(settings, run).bias_for_layer(None, None)
    assert torch.equal(bias(0, None).value, slots)
    assert torch.equal(bias(2, None).value, 0.25 * slots)
