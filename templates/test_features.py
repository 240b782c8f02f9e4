"""Values worked out by hand; `aqr-exp check my_idea` tries it within the detector."""

import torch
from my_idea import MyIdeaModule, MyIdeaSettings


def test_a_gain_of_two_doubles_the_features_of_both_sensors():
    module = MyIdeaModule(MyIdeaSettings(name="my_idea", start=2.0), run=None)
    bev, camera = module.features(None, torch.ones(1, 8, 4, 4), torch.ones(6, 8, 2, 3))
    assert (bev == 2.0).all()
    assert (camera == 2.0).all()
