"""Values worked out by hand; `aqr-exp check my_idea` tries it within the detector."""

from types import SimpleNamespace

import torch
from my_idea import MyIdeaModule, MyIdeaSettings

RUN = SimpleNamespace(model=SimpleNamespace(head=SimpleNamespace(width=8)))


def test_factors_start_at_one_and_end_at_the_largest():
    module = MyIdeaModule(MyIdeaSettings(name="my_idea", largest=3.0), RUN)
    context = SimpleNamespace(query_pos=torch.ones(2, 5, 8))
    assert torch.equal(module.score_scale(context), torch.ones(2, 5))
    torch.nn.init.constant_(module.of_query.bias, 100.0)
    torch.testing.assert_close(module.score_scale(context), torch.full((2, 5), 3.0))
