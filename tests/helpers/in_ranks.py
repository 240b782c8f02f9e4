"""The processes of one training, as forks of the tests' process that meet by gloo."""

import os
import pickle
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch import distributed


def in_ranks(count: int, act: Callable[[int], Any]) -> list[Any]:
    """Call `act(rank)` in so many ranks; returns what each returned, and fails as the first that failed."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        children = []
        for rank in range(count):
            child = os.fork()
            if not child:
                try:
                    distributed.init_process_group(
                        "gloo",
                        init_method=f"file://{place / 'meeting'}",
                        rank=rank,
                        world_size=count,
                        timeout=timedelta(minutes=5),
                    )
                    found = (act(rank), None)
                except BaseException:
                    found = (None, traceback.format_exc())
                (place / f"{rank}").write_bytes(pickle.dumps(found))
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        answers = [pickle.loads((place / f"{rank}").read_bytes()) for rank in range(count)]
    for rank, (_, fault) in enumerate(answers):
        if fault is not None:
            raise AssertionError(f"rank {rank}:\n{fault}")
    return [value for value, _ in answers]
