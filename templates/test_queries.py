"""Values worked out by hand; `aqr-exp check my_idea` tries it within the detector."""

from types import SimpleNamespace

import torch
from my_idea import MyIdeaModule, MyIdeaSettings

RUN = SimpleNamespace(model=SimpleNamespace(head=SimpleNamespace(width=8)))


def test_what_is_added_grows_with_the_distance():
    module = MyIdeaModule(MyIdeaSettings(name="my_idea", strength=2.0, reach_m=10.0), RUN)
    points = torch.tensor([[[3.0, 4.0, 9.0], [0.0, 20.0, 0.0]]])
    context = SimpleNamespace(query_pos=torch.ones(1, 2, 8), points_m=points)
    assert torch.equal(module.queries(context), torch.ones(1, 2, 8))
    torch.nn.init.ones_(module.of_distance.weight)
    # 5 m and 20 m are 0.5 and 2 reaches, times a strength of 2.
    assert module.queries(context)[0, :, 0].tolist() == [2.0, 5.0]
