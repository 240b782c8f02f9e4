"""Parameters of a run before it trains: their rates, and what its checkpoint gives them."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from mmengine.registry import MODELS
from torch import nn

from aqr_exp.cmt.checkpoint import is_weight
from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.config.identity import from_spec
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.short_names import innermost, within
from aqr_exp.config.variant_spec import variant_specs
from aqr_exp.errors import AqrExpError, Fault, RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.train.checkpoint import fitted, freeze
from aqr_exp.train.memory import estimate
from aqr_exp.train.runner_config import VARIANT_MODULE, named_groups, register_plugins
from aqr_exp.train.worker import json_responses

REST = "the rest"
FROZEN = "not trained"


def rates(config: RunConfig, detector: nn.Module) -> list[dict[str, Any]]:
    """The multipliers of the learning rate, as `runner_config.parameter_groups` has them.

    Returns:
        `module`, `multiplier` and the number of `parameters` it acts on; last what has the rate itself,
        and what is not trained.

    Raises:
        RequestError: One fault for each module of `schedule.lr_mult` that has no parameters of its own;
            or nothing is left to train.
    """
    own = config.schedule.lr_mult
    named = {
        module: options.get("lr_mult", 1.0)
        for module, options in named_groups(config.schedule, config.variant).items()
    }
    counts: Counter[str] = Counter()
    used = set()
    for name, parameter in detector.named_parameters():
        module = name.rpartition(".")[0]
        rule = innermost(module, own) or innermost(name, named) or REST
        used.add(rule)
        counts[rule if parameter.requires_grad else FROZEN] += parameter.numel()
    if counts[FROZEN] and len(counts) == 1:
        rule = f"leaves nothing of variant {config.variant.name} to train"
        raise RequestError(Fault("start.freeze", None, rule))
    modules = modules_of(detector)
    idle = [module for module in own if module not in used]
    # A comparison has one schedule: what one variant has is typed for all of its arms.
    if any(within(module, VARIANT_MODULE) for module in idle):
        shared = {
            module
            for name in variant_specs()
            for module in modules_of(_built(replace(config, variant=load_run(name).variant)))
            if within(module, VARIANT_MODULE)
        }
        idle = [module for module in idle if module in modules or module not in shared]
        modules += sorted(shared)
    if idle:
        raise RequestError(*(_idle_rule(module, modules, own) for module in idle))
    multipliers = {**named, **own, REST: 1.0, FROZEN: 0.0}
    return [
        {"module": module, "multiplier": multipliers[module], "parameters": counts[module]}
        for module in multipliers
        if counts[module]
    ]


def modules_of(detector: nn.Module) -> list[str]:
    """Names of the modules that have parameters."""
    named = detector.named_modules()
    return [name for name, each in named if name and next(each.parameters(), None) is not None]


def _built(config: RunConfig) -> nn.Module:
    register_plugins()
    detector: nn.Module = MODELS.build(detector_config(config))
    return detector


def _idle_rule(module: str, modules: Sequence[str], own: dict[str, float]) -> Fault:
    if module in modules:
        deeper = ", ".join(other for other in own if other != module and within(other, module))
        rule = f"acts on nothing: all of its parameters are those of {deeper}"
        return Fault(f"schedule.lr_mult[{module}]", f"{own[module]:g}", rule)
    rule = "the detector has no such module with parameters"
    guess = did_you_mean(module, modules)
    return Fault(f"schedule.lr_mult[{module}]", f"{own[module]:g}", rule, guess)


def beginning(config: RunConfig, detector: nn.Module) -> dict[str, Any] | None:
    """What the detector begins with.

    Returns:
        `file`, the number `taken` and the number of `all` weights, without the batches that batch norms
        have counted; the names that are `left` in it and those that are `new`; `faults` of what does
        not fit. None without a checkpoint.

    Raises:
        AqrExpError: The checkpoint cannot be used at all.
    """
    start = config.start
    if start is None or not start.load_from:
        return None
    found = fitted(detector, start)
    freeze(detector, start.freeze)
    return {
        "file": start.load_from,
        "taken": sum(map(is_weight, found.taken)),
        "all": sum(map(is_weight, detector.state_dict())),
        "left": list(found.left),
        "new": list(found.new),
        "faults": list(found.faults),
    }


def outline(config: RunConfig) -> dict[str, Any]:
    """The answer on a run: `rates`, `beginning` and `faults`, in lines."""
    found: dict[str, Any] = {"rates": [], "beginning": None, "faults": []}
    detector = _built(config)
    for key, part in (("beginning", beginning), ("rates", rates)):
        try:
            found[key] = part(config, detector)
        except AqrExpError as error:
            found["faults"] += [
                fault.line for fault in getattr(error, "faults", [Fault(rule=str(error))])
            ]
    begun = found["beginning"]
    if begun and begun["faults"]:
        rule = f"{start_name(config)} does not fit the model: {'; '.join(begun['faults'])}"
        found["faults"].append(Fault(rule=rule).line)
    return found


def start_name(config: RunConfig) -> str:
    """The name of the checkpoint's file."""
    return "" if config.start is None else Path(config.start.load_from).name


def main(argv: list[str] | None = None) -> int:
    """Outline the runs of the specification files that are the arguments; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m aqr_exp.train.outline")
    parser.add_argument("specs", type=Path, nargs="+", help="specification files")
    parser.add_argument("--memory", action="store_true", help="estimate that of a step, too")
    arguments = parser.parse_args(argv)
    with json_responses() as respond:
        for path in arguments.specs:
            config = from_spec(yaml.safe_load(path.read_text(encoding="utf-8")))
            memory = {"memory": estimate(config)} if arguments.memory else {}
            respond(outline(config) | memory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
