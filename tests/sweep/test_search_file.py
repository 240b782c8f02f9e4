from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from aqr_exp.errors import RequestError
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.search import HOW, Direction, PruneRule, Pruning, Strategy
from aqr_exp.sweep.trials import TrialPlanner
from aqr_exp.sweep.yaml_source import read_sweep

Write = Callable[[str], Path]

SEARCH = """\
variant: attention_bias
strategy: optuna
trials: 12
search:
  bias_scale: tag(log, interval(0.5, 10))
  window_size: [5, 8]
  schedule.epochs: int(interval(2, 6))
  variant.bias.max_bias: range(2, 12, 3)
  bias: glob(*ive)
"""


def test_a_search_is_read_as_it_is_written(sweep_file: Write) -> None:
    text = SEARCH + "objective: mATE\nseeds: [0, 1]\n"
    request = read_sweep(sweep_file(text), "it.yaml")
    search = request.search
    assert search is not None
    assert (search.strategy, search.trials) == (Strategy.OPTUNA, 12)
    assert (search.objective, search.direction) == ("mATE", Direction.MINIMIZE)
    assert search.pruning is None
    scale, window, epochs, clamp, bias = search.space
    assert scale.distribution == FloatDistribution(0.5, 10, log=True)
    assert scale.where == "it.yaml:5"
    assert [choice.typed for choice in window.choices] == ["window_size=5", "window_size=8"]
    assert epochs.distribution == IntDistribution(2, 6)
    assert clamp.distribution == IntDistribution(2, 11, step=3)
    assert [choice.text for choice in bias.choices] == [
        "aggressive",
        "conservative",
        "ultra_conservative",
    ]
    assert scale.override(0.7).typed == "bias_scale=0.7"
    assert epochs.override(3.0).typed == "schedule.epochs=3"
    assert window.override("8").value == 8


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("prune: median", Pruning(rule=PruneRule.MEDIAN)),
        (
            "prune: {rule: baseline, margin: 0.02, after_epochs: 2}",
            Pruning(rule=PruneRule.BASELINE, margin=0.02, after_epochs=2),
        ),
        ("prune:\n  rule: asha\n  after_epochs: 3", Pruning(rule=PruneRule.ASHA, after_epochs=3)),
    ],
)
def test_pruning_is_read(sweep_file: Write, rule: str, expected: Pruning) -> None:
    search = read_sweep(sweep_file(SEARCH.replace("  bias: glob(*ive)\n", "") + rule)).search
    assert search is not None
    assert search.pruning == expected


def test_asha_is_random_with_halving(sweep_file: Write) -> None:
    text = "variant: attention_bias\nstrategy: asha\ntrials: 3\nsearch: {bias_scale: [1, 2]}\n"
    search = read_sweep(sweep_file(text)).search
    assert search is not None
    assert search.pruning == Pruning(rule=PruneRule.ASHA)


HEAD = "variant: attention_bias\nstrategy: optuna\ntrials: 3\n"
SPACE = "search: {bias_scale: [1, 2]}\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (HEAD + "search:\n  bias_scale: interval(3, 1)\n",
         f"5: bias_scale=interval(3, 1): is not an interval: low must lie below high: {HOW}"),
        (HEAD + "search:\n  bias_scale: tag(log, interval(0, 1))\n",
         "5: bias_scale=tag(log, interval(0, 1)): an interval of ratios must begin above 0"),
        (HEAD + "search:\n  bias_scale: 2\n",
         f"5: bias_scale=2: leaves nothing to search: {HOW}"),
        (HEAD + "search:\n  bias_scale: {low: 1, high: 2}\n",
         f"5: 'bias_scale' is a group of keys: {HOW}"),
        (HEAD + "search:\n  bias_scal: [1, 2]\n", "5: unknown key 'bias_scal': did you mean"),
        (HEAD + "search:\n  seed: [1, 2]\n",
         "5: 'seed' cannot be set here: seeds go under 'seeds', as a list"),
        (HEAD + "search: {}\n", "2: a search needs a space: name keys with interval(low, high)"),
        ("variant: attention_bias\nstrategy: optuna\n" + SPACE,
         "2: a search needs trials: write trials: 20 (in a shell: trials=20)"),
        ("variant: attention_bias\n" + SPACE,
         "2: a search needs strategy and trials: write strategy: optuna and trials: 20"),
        (HEAD.replace("optuna", "optima") + SPACE,
         "2: 'strategy' is 'optima': did you mean 'optuna'? (one of optuna, random, asha)"),
        (HEAD.replace("3", "0") + SPACE,
         "3: 'trials' is '0': write a whole number from 1 to 10000"),
        (HEAD.replace("3", "many") + SPACE,
         "3: 'trials' is 'many': write a whole number from 1 to 10000"),
        (HEAD + SPACE + "objective: mapp\n", "5: 'objective' is 'mapp': did you mean 'mAP'?"),
        (HEAD + SPACE + "direction: up\n", "5: 'direction' is 'up' (one of maximize, minimize)"),
        (HEAD + SPACE + "prune: {margin: 1}\n",
         "2: 'prune' has no rule: write one of baseline, median, asha"),
        (HEAD + SPACE + "prune: {rule: median, margin: 0.1}\n",
         "2: 'prune.margin' is for prune: baseline, not for median"),
        (HEAD + SPACE + "prune: {rule: baseline, margin: -1}\n",
         "5: 'prune.margin' is '-1': write how far behind the baseline is allowed, from 0"),
        (HEAD + SPACE + "prune: {rul: median}\n", "5: unknown key 'rul': did you mean 'rule'?"),
        (HEAD + SPACE + "objective: mATE\nprune: median\n",
         "2: 'prune' compares curves, and mATE has none: write objective: mAP or NDS"),
        (HEAD + SPACE + "grid: {window_size: [5, 8]}\n",
         "5: 'grid' lists points, and 'strategy' proposes them: leave one of them out"),
        (HEAD + "search: {bias_scale: interval(5, 9)}\n",
         '4: a value is cut at its comma: within { } write it in quotes, "range(0, 3)"'),
        ("variant: attention_bias\ngrid: {bias_scale: range(1, 3)}\n",
         '2: a value is cut at its comma: within { } write it in quotes, "range(0, 3)"'),
        (HEAD + SPACE + "fixed: {bias_scale: 1}\n",
         "4: 'bias_scale' is under 'fixed' too: leave one of them out"),
    ],
)  # fmt: skip
def test_a_bad_search_names_line_and_remedy(sweep_file: Write, text: str, fault: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_sweep(sweep_file(text), "it.yaml")
    assert str(caught.value).startswith(f"it.yaml:{fault}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (HEAD + "search:\n  bias_scale: interval(-2, 1)\n",
         "it.yaml:5: bias_scale=-2.0: must be"),
        (HEAD + "search:\n  schedule.epochs: interval(1, 4)\n",
         "it.yaml:5: schedule.epochs=1.0: must be a whole number"),
        (HEAD.replace("attention_bias", "[baseline, attention_bias]") + SPACE,
         "it.yaml: a search has one variant, this one 2 (baseline, attention_bias): write one "),
        (HEAD + SPACE + "prune: median\n",
         "it.yaml: prune: no run is evaluated while it trains: write schedule.validate_every_epo"),
        (HEAD + SPACE + "prune: median\nfixed: {schedule.validate_every_epochs: 4}\n",
         "it.yaml: prune: nothing is judged before the last of 4 epochs: lower schedule.validate_"),
    ],
)  # fmt: skip
def test_a_space_that_reaches_too_far_is_refused_before_it_is_searched(
    data: Path, sweep_file: Write, text: str, fault: str
) -> None:
    with pytest.raises(RequestError) as caught:
        TrialPlanner(read_sweep(sweep_file(text), "it.yaml")).check_space()
    assert str(caught.value).startswith(fault)


def test_what_stands_in_braces_is_quoted(sweep_file: Write) -> None:
    search = read_sweep(sweep_file(HEAD + 'search: {bias_scale: "interval(5, 9)"}\n')).search
    assert search is not None
    assert [str(item) for item in search.space] == ["5 to 9"]
    text = 'variant: attention_bias\ngrid: {bias_scale: "range(1, 3)"}\nseeds: "range(0, 2)"\n'
    request = read_sweep(sweep_file(text))
    assert [item.value for item in request.grid[0].values] == [1, 2]
    assert request.seeds == (0, 1)


def test_a_trial_is_its_point_its_seeds_and_its_baseline(data: Path, sweep_file: Write) -> None:
    text = (
        HEAD
        + SPACE
        + (
            "seeds: [0, 3]\nprune: baseline\n"
            "fixed: {schedule.validate_every_epochs: 1, learnable_scale: false}\n"
        )
    )
    planner = TrialPlanner(read_sweep(sweep_file(text)))
    (dimension,) = planner.search.space
    plan = planner.plan((dimension.override("2"),))
    # Pruning against the baseline brings the baseline.
    assert [(run.variant, run.seed, run.labels) for run in plan.runs] == [
        ("baseline", 0, ("baseline",)),
        ("attention_bias", 0, ("point",)),
        ("baseline", 3, ("baseline",)),
        ("attention_bias", 3, ("point",)),
    ]
    assert plan.runs[1].config.variant.bias.scale.start == 2


def test_a_search_can_be_typed(data: Path) -> None:
    typed = [
        "strategy=random",
        "trials=4",
        "bias_scale=interval(1,3)",
        "window_size=5,8",
        "seed=0,1",
    ]
    request = sweep_request("attention_bias", [*typed, "learnable_scale=false"])
    assert request.name == "attention_bias-search-bias_scale-window_size"
    assert request.search is not None
    assert [str(item) for item in request.search.space] == ["1 to 3", "5,8"]
    assert (request.search.strategy, request.search.trials) == (Strategy.RANDOM, 4)
    assert request.seeds == (0, 1)
    assert [item.typed for item in request.fixed] == ["learnable_scale=false"]


def test_what_is_typed_wins_over_the_file(data: Path) -> None:
    request = sweep_request("search_bias", ["trials=3", "bias_scale=2", "prune.margin=0.5"])
    assert request.search is not None
    assert request.search.trials == 3
    assert [item.key for item in request.search.space] == ["window_size"]
    assert "bias_scale=2" in [item.typed for item in request.fixed]
    assert request.search.pruning == Pruning(rule=PruneRule.BASELINE, margin=0.5, after_epochs=2)


@pytest.mark.parametrize(
    ("written", "typed", "objective", "direction"),
    [
        ("", ["objective=mATE"], "mATE", "minimize"),
        ("objective: mATE\n", ["objective=NDS"], "NDS", "maximize"),
        ("objective: mATE\n", ["trials=9"], "mATE", "minimize"),
        ("objective: mAP\ndirection: maximize\n", ["objective=mAOE"], "mAOE", "minimize"),
        ("direction: minimize\n", ["objective=mAP"], "mAP", "minimize"),
        ("", ["objective=mATE", "direction=maximize"], "mATE", "maximize"),
    ],
)
def test_a_typed_objective_brings_its_own_direction(
    sweep_file: Write, written: str, typed: list[str], objective: str, direction: str
) -> None:
    search = sweep_request(str(sweep_file(SEARCH + written)), typed).search
    assert search is not None
    assert (search.objective, search.direction.value) == (objective, direction)


@pytest.mark.parametrize(
    ("written", "typed", "pruning"),
    [
        ("strategy: asha\n", ["strategy=random"], None),
        ("strategy: asha\n", ["strategy=asha"], Pruning(rule=PruneRule.ASHA)),
        ("strategy: random\n", ["strategy=asha"], Pruning(rule=PruneRule.ASHA)),
        ("strategy: asha\nprune: median\n", ["strategy=random"], Pruning(rule=PruneRule.MEDIAN)),
        (
            "strategy: random\nprune: {rule: baseline, margin: 0.1, after_epochs: 2}\n",
            ["prune=median"],
            Pruning(rule=PruneRule.MEDIAN, after_epochs=2),
        ),
    ],
)
def test_a_typed_strategy_drops_the_rule_that_the_other_implied(
    sweep_file: Write, written: str, typed: list[str], pruning: Pruning | None
) -> None:
    text = SEARCH.replace("strategy: optuna\n", written)
    search = sweep_request(str(sweep_file(text)), typed).search
    assert search is not None
    assert search.pruning == pruning


@pytest.mark.parametrize(
    ("what", "typed", "fault"),
    [
        ("attention_bias", ["bias_scale=interval(1,2)"],
         "bias_scale=interval(1,2): only a search has intervals: add strategy=optuna"),
        ("attention_bias", ["trials=3"], "trials=3: is for a search: add strategy=optuna trials=20"),
        ("attention_bias", ["strategy=optuna", "trials=3"], "a search needs a space: name keys"),
        ("attention_bias", ["strategy=optuna", "trials=3", "trials=4", "bias_scale=1,2"],
         "'trials' is given twice"),
        ("attention_bias", ["strategy=optuna", "trials=3", "bias_scal=1,2"],
         "unknown key 'bias_scal': did you mean 'bias_scale'?"),
        ("bias_scale", ["strategy=optuna", "trials=3", "window_size=5,8"],
         "strategy: sweeps/bias_scale.yaml lists its points: a search proposes them"),
    ],
)  # fmt: skip
def test_what_is_typed_badly_is_refused(
    data: Path, what: str, typed: list[str], fault: str
) -> None:
    with pytest.raises(RequestError) as caught:
        sweep_request(what, typed)
    assert str(caught.value).startswith(fault)
