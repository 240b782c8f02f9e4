"""The end of loader workers that were left at their work."""

import subprocess

from torch.utils.data import DataLoader

from aqr_exp.data.workers import loader_workers


def test_workers_that_are_ended_at_their_work_are_no_failure_of_what_comes_next() -> None:
    with loader_workers():
        left = iter(DataLoader(range(1000), num_workers=2))
        assert next(left).tolist() == [0]
    for _ in range(3):  # torch looks at its workers whenever any child of the process ends
        subprocess.run(["true"], check=True)
    del left
