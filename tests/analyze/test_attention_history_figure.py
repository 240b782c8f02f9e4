from aqr_exp.analyze.bias_figures import attention_history_figure


def row(step, **scalars):
    weights = {f"weight_{m}_{w}": 0.5 for m in ("lidar", "camera") for w in ("mean", "std")}
    return {"kind": "arm", "epoch": 1, "step": step, **weights, **scalars}


def test_attention_stands_above_the_weights():
    rows = [row(1, mass_in_window=0.2, attention_change=0.1), row(10, mass_in_window=0.4)]
    above, below = attention_history_figure(rows).axes
    masses, changes = above.lines
    assert list(masses.get_xdata()) == [1, 10]
    assert list(masses.get_ydata()) == [0.2, 0.4]
    assert list(changes.get_ydata()) == [0.1]
    assert [line.get_label() for line in below.lines] == ["LiDAR weight", "camera weight"]


def test_without_a_bias_there_are_only_weights():
    (axes,) = attention_history_figure([row(1), row(2)]).axes
    assert len(axes.lines) == 2
    assert axes.get_xlabel() == "training step"


def test_of_a_repeated_step_the_last_counts():
    rows = [row(1, mass_in_window=0.2), row(2, mass_in_window=0.9), row(2, mass_in_window=0.3)]
    above, _ = attention_history_figure(rows).axes
    assert list(above.lines[0].get_ydata()) == [0.2, 0.3]
