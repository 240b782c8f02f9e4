"""Values worked out by hand; `aqr-exp check my_idea` tries it within the detector."""

import numpy as np
import torch
from my_idea import MyIdeaModule, MyIdeaSettings


def test_at_most_the_share_is_dropped_and_the_same_by_the_same_draws():
    (step,) = MyIdeaModule.train_transforms(MyIdeaSettings(name="my_idea", share=0.5))
    points = torch.arange(30_000.0).reshape(-1, 3)
    one, other = (step({"points": points}, np.random.default_rng(7))["points"] for _ in range(2))
    assert 4_500 < len(one) < 10_000
    assert torch.equal(one, other)
    (step,) = MyIdeaModule.train_transforms(MyIdeaSettings(name="my_idea", share=0.0))
    assert torch.equal(step({"points": points}, np.random.default_rng(7))["points"], points)
