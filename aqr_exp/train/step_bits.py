"""Two real steps of each run, as hashes of their bits: to compare editions of this package.

Executed as text with another edition of the package on Python's path: of the package it may use only what
earlier editions have too.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any


def main(folders: list[str]) -> None:
    """Print the hash of losses and weights of each run, one JSON object a line."""
    import torch

    from aqr_exp.store.run_folder import RunFolder
    from aqr_exp.train import first_steps
    from aqr_exp.train.session import reason_for, set_up_torch
    from aqr_exp.train.worker import json_responses

    weights = hashlib.sha256()
    run = first_steps.FirstStepsLoop.run

    def hashed(loop: Any) -> Any:
        model = run(loop)
        for name, value in sorted(model.state_dict().items()):
            weights.update(name.encode())
            weights.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return model

    loop_class: Any = first_steps.FirstStepsLoop
    loop_class.run = hashed
    set_up_torch(1)
    with json_responses() as respond:
        for path in folders:
            weights, folder = hashlib.sha256(), RunFolder(Path(path))
            try:
                first_steps.first_steps(folder)
            except Exception as error:
                respond({"fault": reason_for(error)})
                continue
            losses = [line["loss"] for line in folder.read_history() if line["kind"] == "train"]
            respond({"bits": f"{losses!r} {weights.hexdigest()}"})


if __name__ == "__main__":
    main(sys.argv[1:])
