import numpy as np
import pytest
from matplotlib.figure import Figure

import physgen as pg
from physgen.plotting import (
    comparison_figure,
    make_histogram,
    plot_correlations,
    plot_histogram,
    plot_history,
    plot_ratio,
)
from physgen.summaries import Quantity


def quantity(reference, candidate, *, unit="GeV", **more):
    return Quantity("pt", unit, np.asarray(reference, float), np.asarray(candidate, float), **more)


@pytest.fixture
def histogram():
    rng = np.random.default_rng(0)
    return make_histogram(quantity(rng.normal(size=5000), rng.normal(size=4000)))


def test_a_histogram_accounts_for_every_event(histogram):
    for share, outside in zip(
        (histogram.reference, histogram.candidate), histogram.outside, strict=True
    ):
        assert share.sum() + outside == pytest.approx(1)
    assert histogram.outside[0] == pytest.approx(0.01, abs=1e-3)


def test_errors_are_those_of_counts(histogram):
    counts = histogram.reference * 5000
    assert histogram.reference_error * 5000 == pytest.approx(np.sqrt(counts))


def test_weights_enter_shares_and_errors():
    x = np.repeat([0.0, 1.0], [10, 20])
    w = np.repeat([2.0, 1.0], [10, 20])
    h = make_histogram(quantity(x, x), (w, None))
    assert h.reference == pytest.approx([0.5, 0.5])
    assert h.candidate == pytest.approx([1 / 3, 2 / 3])
    assert h.reference_error == pytest.approx(np.sqrt([10 * 4, 20]) / 40)


def test_small_integers_get_one_bin_each():
    h = make_histogram(quantity([0, 1, 1, 3], [0, 0, 0, 9]))
    assert h.edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
    assert h.candidate == pytest.approx([0.75, 0, 0, 0])
    assert h.outside == pytest.approx((0, 0.25))


def test_the_upper_limit_of_a_column_is_inside():
    h = make_histogram(quantity(np.linspace(0, 1, 100).repeat(50), np.ones(10)))
    assert h.candidate[-1] == pytest.approx(1)


def test_angles_fill_the_circle():
    h = make_histogram(quantity([0.1, 0.2], [0.1, 0.3], is_angle=True))
    assert (h.edges[0], h.edges[-1]) == pytest.approx((-np.pi, np.pi))


def test_a_constant_is_drawn_without_warnings():
    h = make_histogram(quantity([2.5] * 30, [2.5] * 30))
    top, bottom = Figure().subplots(2, 1)
    assert plot_histogram(top, h) is top
    assert plot_ratio(bottom, h) is bottom


def test_axes_carry_names_and_units(histogram):
    top, bottom = Figure().subplots(2, 1)
    plot_histogram(top, histogram)
    plot_ratio(bottom, histogram)
    assert bottom.get_xlabel() == "pt [GeV]"
    assert top.get_ylabel() == "share per bin"
    assert [t.get_text() for t in top.get_legend().get_texts()] == ["reference", "candidate"]


def test_heavy_tails_get_a_logarithmic_axis():
    rng = np.random.default_rng(0)
    tail = rng.standard_cauchy(5000)
    ax = plot_histogram(Figure().subplots(), make_histogram(quantity(tail, tail)))
    assert ax.get_yscale() == "log"
    flat = rng.random(5000)
    ax = plot_histogram(Figure().subplots(), make_histogram(quantity(flat, flat)))
    assert ax.get_yscale() == "linear"


def test_ratios_beyond_the_frame_are_marked():
    x = np.repeat([0.0, 1.0], [1000, 1000])
    y = np.repeat([0.0, 1.0], [100, 1900])
    ax = plot_ratio(Figure().subplots(), make_histogram(quantity(x, y)))
    low, high = ax.get_ylim()
    assert low < 0.1 + 1e-9 or any(line.get_marker() == "v" for line in ax.get_lines())
    assert high == 2 - low


def test_figure_of_two_samples(tmp_path):
    rng = np.random.default_rng(0)
    a, b = (
        pg.Events.from_dict({k: rng.normal(size=300) for k in "xyz"} | {"n": rng.poisson(2, 300)})
        for _ in range(2)
    )
    figure = comparison_figure(a, b, observables={"r [cm]": lambda e: np.hypot(e["x"], e["y"])})
    labels = [ax.get_xlabel() for ax in figure.axes if ax.get_visible()]
    assert [label for label in labels if label] == ["x", "y", "z", "n", "r [cm]"]
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_correlations_are_drawn_with_their_labels():
    ax = plot_correlations(Figure().subplots(), np.array([[0, 0.1], [0.1, 0]]), ["x", "y"])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["x", "y"]


def test_history_shows_every_player_and_what_was_held_out():
    ax = Figure().subplots()
    history = pg.History(
        steps=[100, 200], losses={"denoiser": [2.0, 1.0]}, validation={"denoiser": [2.5, 1.5]}
    )
    assert plot_history(ax, history) is ax
    line, dots = ax.get_lines()
    assert list(line.get_xdata()) == [100, 200]
    assert list(line.get_ydata()) == [2.0, 1.0]
    assert list(dots.get_ydata()) == [2.5, 1.5]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss per event")
    assert plot_history(Figure().subplots(), pg.History()).get_legend() is None
