import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import physgen as pg
from physgen.metrics.classifier import classifier_test
from physgen.plotting import (
    comparison_figure,
    make_histogram,
    plot_correlations,
    plot_examples,
    plot_histogram,
    plot_log_weights,
    plot_picture,
    plot_pulls,
    plot_ratio,
    plot_roc,
    plot_slices,
    receptive_fields,
    training_curves,
    weight_spectrum,
)
from physgen.plotting.style import shortened
from physgen.report.findings import Picture, Region, Slice
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


def ratio_panel(histogram):
    """Points of a ratio panel by x, and its two bands, the wide one first."""
    ax = plot_ratio(Figure().subplots(), histogram)
    x, y = np.concatenate([line.get_xydata() for line in ax.get_lines()[1:]]).T
    bands = [patch.get_data() for patch in ax.patches]
    return ax, y[np.argsort(x)], [(b.baseline, b.values) for b in bands]


def share_within(seeds, *, shift=0.0):
    """Share of the ratios of two samples that lie within the 95 % and the 68 % band."""
    within = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        x, y = rng.random(40_000), rng.random(10_000) ** (1 + shift)
        _, y, bands = ratio_panel(make_histogram(quantity(x, y)))
        within.append([np.mean((low <= y) & (y <= high)) for low, high in bands])
    return np.mean(within, axis=0)


def test_the_band_holds_the_truth_against_itself():
    # 800 bins, not quite independent
    assert share_within(range(20)) == pytest.approx([0.95, 0.68], abs=0.035)


def test_the_band_does_not_hold_a_difference():
    assert (share_within(range(4), shift=0.2) < [0.7, 0.4]).all()


def test_ratios_beyond_the_frame_are_marked():
    x = np.repeat([0.0, 1.0], [1000, 1000])
    y = np.repeat([0.0, 1.0], [100, 1900])
    ax, shown, _ = ratio_panel(make_histogram(quantity(x, y)))
    low, high = ax.get_ylim()
    assert (low, high) == (0, 2)
    assert shown == pytest.approx([0.1, 1.9])
    y = np.repeat([0.0, 1.0], [10, 5000])
    x = np.repeat([0.0, 1.0], [4000, 1000])
    ax, shown, _ = ratio_panel(make_histogram(quantity(x, y)))
    markers = {line.get_marker(): len(line.get_xdata()) for line in ax.get_lines()[1:]}
    assert markers == {"o": 1, "^": 1, "v": 0}


def test_events_where_the_reference_has_none_are_marked():
    ax, _, _ = ratio_panel(make_histogram(quantity([0, 0, 2, 2] * 50, [0, 1, 2, 2] * 50)))
    (above,) = [line for line in ax.get_lines() if line.get_marker() == "^"]
    assert list(above.get_xdata()) == [1]


@pytest.mark.parametrize("name", [r"$\frac{$", "a_b^{c}", "<script>", "é" * 200])
def test_any_name_can_be_drawn(name, tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 300))
    h = make_histogram(Quantity(name, "$x_", *values))
    figure = Figure()
    axes = figure.subplots(3, 1)
    plot_ratio(axes[0], h)
    plot_pulls(axes[1], h)
    plot_correlations(axes[2], np.array([[0, 1.0], [1.0, 0]]), [name, "y"])
    figure.savefig(tmp_path / "figure.svg")
    assert len(axes[0].get_xlabel()) <= 44


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


def test_correlations_are_drawn_once_per_pair():
    pulls = np.array([[0, 1.5, -4], [1.5, 0, np.nan], [-4, np.nan, 0]])
    ax = plot_correlations(Figure().subplots(), pulls, ["x", "y", "z"])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["x", "y"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["y", "z"]
    assert [t.get_text() for t in ax.texts] == ["+1.5", "−4.0"]
    assert ax.figure.axes[1].get_ylabel() == "candidate − reference [standard errors]"


def test_signs_of_many_correlations_are_marks():
    pulls = np.zeros((20, 20))
    pulls[5, 2], pulls[7, 3], pulls[9, 1] = 3.5, -9, 2.9
    ax = plot_correlations(Figure().subplots(), pulls, [f"x{k}" for k in range(20)])
    assert [(t.get_position(), t.get_text()) for t in ax.texts if t.get_text()] == [
        ((2, 5), "+"),
        ((3, 7), "−"),
    ]


def test_correlations_of_constants_are_drawn():
    plot_correlations(Figure().subplots(), np.full((2, 2), np.nan), ["x", "y"])


# ---------------------------------------------------------------- what a comparison found


def test_pulls_are_differences_in_standard_errors():
    x = np.repeat([0.0, 1.0, 2.0], [100, 400, 0])
    y = np.repeat([0.0, 1.0, 2.0], [150, 350, 0])
    ax = plot_pulls(Figure().subplots(), make_histogram(quantity(x, y)))
    bars = [patch for patch in ax.patches if hasattr(patch, "get_data")]
    too_many, too_few = (patch.get_data().values for patch in bars)
    z = 50 / np.sqrt(np.array([100 + 150, 400 + 350]))
    assert too_many == pytest.approx([z[0], 0])
    assert too_few == pytest.approx([0, -z[1]])
    assert [bool(patch.get_hatch()) for patch in bars] == [False, True]


def test_an_open_range_is_shaded_to_the_end_of_the_axis(histogram):
    region = Region(1.0, np.inf, 0.1, 0.2, 5.0)
    plain, shaded = (plot_pulls(Figure().subplots(), histogram, r) for r in (None, region))
    added = shaded.patches[2]
    assert len(shaded.patches) == len(plain.patches) + 2
    assert (added.get_x(), added.get_width()) == pytest.approx((1.0, histogram.edges[-1] - 1.0))


@pytest.fixture(scope="module")
def classifier():
    x, y = np.random.default_rng(0).normal(size=(2, 600, 2))
    y[:, 0] += 1
    return classifier_test(x, y, rng=0)


def test_roc_curve_with_its_area(classifier):
    ax = plot_roc(Figure().subplots(), classifier)
    ours, theirs = ax.get_lines()[1].get_data()
    area = np.diff(ours) @ (theirs[1:] + theirs[:-1]) / 2
    assert area == pytest.approx(classifier.auc.value, abs=0.02)
    assert f"AUC {classifier.auc.value:.3f}" in ax.texts[0].get_text()


def test_weights_of_all_events_are_counted(classifier):
    ax = plot_log_weights(Figure().subplots(), classifier)
    assert ax.patches[0].get_data().values.sum() == pytest.approx(1)
    (points,) = [c for c in ax.containers if c.get_label() == "candidate"]
    x, y = points[0].get_data()
    assert y.sum() == pytest.approx(1)
    # the classifier is right: its candidate events lie at negative logarithms
    assert x @ y < 0


def test_slices_show_their_limits():
    slices = [
        Slice("T 1", (50, 50), "e", 0.5, 0.4, 0.6, 0.3, 0.001),
        Slice("T 2", (50, 50), "e", 0.0, 0.0, 99.0, 0.0, 1.0),
    ]
    ax = plot_slices(Figure().subplots(), slices, tolerance=0.1, alpha=0.01)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["T 1", "T 2"]
    (lines,) = ax.collections
    ends = [segment[:, 0].tolist() for segment in lines.get_segments()]
    assert ends == [[0.4, 0.6], [0.0, 5.0]]  # many sigma end at the edge
    seen, unseen = ax.get_lines()[:2]
    assert (list(seen.get_xdata()), list(unseen.get_xdata())) == ([0.5], [0.0])
    assert unseen.get_markerfacecolor() == "white"
    assert list(ax.get_lines()[2].get_xdata()) == [0.1, 0.1]


def picture(shape, *, examples=None, unit="MeV"):
    rng = np.random.default_rng(0)
    mean = rng.random(shape)
    examples = rng.random((2, 4, *shape)) if examples is None else examples
    return Picture("e", unit, mean, mean + 1, np.linspace(-9, 9, mean.size).reshape(shape),
                   tuple(examples))  # fmt: skip


def test_both_means_share_a_scale_with_the_unit():
    axes = Figure().subplots(1, 2)
    p = picture((6, 8))
    for ax, what in zip(axes, ("reference", "candidate"), strict=True):
        plot_picture(ax, p, what)
    first, second = (ax.get_images()[0] for ax in axes)
    np.testing.assert_array_equal(second.get_array(), p.candidate)
    assert first.get_clim() == second.get_clim() == (p.reference.min(), p.candidate.max())
    assert axes[0].figure.axes[2].get_ylabel() == "mean [MeV]"


def test_signs_of_differences_are_written_or_marked():
    few = plot_picture(Figure().subplots(), picture((3, 5)), "pull")
    assert [t.get_text() for t in few.texts][::14] == ["−9.0", "+9.0"]
    p = picture((20, 20))
    many = plot_picture(Figure().subplots(), p, "pull")
    marks = {"+": 0, "_": 0}
    for line in many.get_lines():
        marks[line.get_marker()] += len(line.get_xdata())
    assert marks == {"+": (p.pull >= 3).sum(), "_": (p.pull <= -3).sum()}


def test_contents_over_decades_get_a_logarithmic_scale():
    narrow, wide = np.ones((2, 2, 4, 3, 3))
    wide = wide * 10.0 ** np.arange(-1, 8).reshape(3, 3)
    wide[0, 0, 0, 0] = 0
    for examples, log in ((narrow, False), (wide, True)):
        ax = plot_examples(Figure().subplots(), picture((3, 3), examples=examples))
        norm = ax.get_images()[0].norm
        assert (type(norm).__name__ == "LogNorm") == log
    assert (norm.vmin, norm.vmax) == (1e3, 1e7)  # four decades at most


def test_examples_of_spins_have_two_shades(tmp_path):
    spins = np.random.default_rng(0).choice([-1, 1], size=(2, 4, 8, 8))
    ax = plot_examples(Figure().subplots(), picture((8, 8), examples=spins, unit=""))
    assert len(ax.get_images()) == 8
    assert [t.get_text() for t in ax.texts] == ["reference", "candidate"]
    assert list(ax.figure.axes[1].get_yticks()) == [-1, 1]
    ax.figure.savefig(tmp_path / "spins.svg")


def test_short_labels_stay():
    assert shortened("pt [GeV]") == "pt [GeV]"
    assert len(shortened("x" * 99, 20)) == len(shortened("x" * 99, 21)) - 1 == 20


# ---------------------------------------------------------------- trainings and weights


@pytest.fixture
def history():
    history = pg.History(
        steps=[100, 200], losses={"rbm": [2.0, 1.0]}, validation={"rbm": [2.5, 1.5]}
    )
    history.add_look(1, {"log-likelihood [nat]": -9.0})
    history.add_look(200, {"log-likelihood [nat]": -7.0, "ln Z [nat]": 3.0, "R-hat": 1.1})
    return history


def test_losses_of_every_player_and_what_was_held_out(history):
    ax = Figure().subplots()
    assert training_curves(ax, history) is ax
    line, dots = ax.get_lines()
    assert list(line.get_xdata()) == [100, 200]
    assert list(line.get_ydata()) == [2.0, 1.0]
    assert list(dots.get_ydata()) == [2.5, 1.5]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss per event")
    assert ax.get_xscale() == "linear"
    assert training_curves(Figure().subplots(), pg.History()).get_legend() is None


def test_diagnostics_at_their_own_steps(history):
    names = ["log-likelihood [nat]", "ln Z [nat]"]
    ax = training_curves(Figure().subplots(), history, names)
    likelihood, ln_z = ax.get_lines()
    assert list(likelihood.get_xdata()) == [1, 200]
    assert list(likelihood.get_ydata()) == [-9.0, -7.0]
    np.testing.assert_equal(list(ln_z.get_ydata()), [np.nan, 3.0])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == names
    assert (ax.get_ylabel(), ax.get_xscale()) == ("[nat]", "log")


def test_diagnostics_carry_their_errors():
    history = pg.History()
    history.add_look(1, {"log_z": 5.0, "log_z_error": 0.5})
    history.add_look(2, {"log_z": 6.0, "log_z_error": 0.25})
    ax = training_curves(Figure().subplots(), history, ["log_z"])
    ((_, (), (bars,)),) = ax.containers
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [
        [4.5, 5.5],
        [5.75, 6.25],
    ]
    assert ax.get_legend() is None


@pytest.mark.parametrize(
    ("names", "label"),
    [("R-hat", "R-hat"), (["ln Z [nat]"], "ln Z [nat]"), (["ln Z [nat]", "R-hat"], "")],
)
def test_an_axis_is_named_by_what_its_curves_share(history, names, label):
    assert training_curves(Figure().subplots(), history, names).get_ylabel() == label


def test_a_curve_that_is_not_there(history):
    with pytest.raises(ValueError, match=r"no curve 'tau'; it has 'rbm', 'log-likelihood"):
        training_curves(Figure().subplots(), history, ["tau"])
    with pytest.raises(ValueError, match="it has none"):
        training_curves(Figure().subplots(), pg.History(), ["step"])


def test_receptive_fields_are_the_strongest_columns_as_images():
    w = np.zeros((6, 4))
    w[2, 1], w[0, 3], w[:, 0] = -5, 2, 1  # norms 5, 2 and sqrt(6)
    ax = receptive_fields(Figure().subplots(), w, (2, 3), n=3)
    images = [np.asarray(image.get_array()) for image in ax.get_images()]
    expected = [w[:, column].reshape(2, 3) for column in (1, 0, 3)]
    np.testing.assert_array_equal(images, expected)
    assert {image.get_clim() for image in ax.get_images()} == {(-5.0, 5.0)}
    left, right, bottom, top = ax.get_images()[0].get_extent()
    assert (right - left) / (top - bottom) == pytest.approx(3 / 2)
    # the second beside the first, the third below
    assert ax.get_images()[1].get_extent()[0] > right
    assert ax.get_images()[2].get_extent()[3] < bottom


def test_receptive_fields_of_a_parameter_and_of_no_couplings():
    parameter = torch.nn.Parameter(torch.ones(4, 2))
    assert len(receptive_fields(Figure().subplots(), parameter, (2, 2)).get_images()) == 2
    blank = receptive_fields(Figure().subplots(), np.zeros((4, 2)), (2, 2))
    assert blank.get_images()[0].get_clim() == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("couplings", "shape", "message"),
    [
        (np.ones((9, 2)), (2, 4), r"9 visible units are no image of shape \(2, 4\)"),
        (np.ones(9), (3, 3), r"must have shape \(n_visible, n_hidden\), got \(9,\)"),
        (np.ones((9, 0)), (3, 3), r"got \(9, 0\)"),
        (np.ones((8, 2)), (2, 2, 2), r"8 visible units are no image of shape \(2, 2, 2\)"),
    ],
)
def test_couplings_that_make_no_images(couplings, shape, message):
    with pytest.raises(ValueError, match=message):
        receptive_fields(Figure().subplots(), couplings, shape)


def test_the_spectrum_of_one_machine_falls():
    ax = weight_spectrum(Figure().subplots(), torch.tensor([1.0, 4.0, 2.0, 0.0]))
    (line,) = ax.get_lines()
    assert list(line.get_xdata()) == [1, 2, 3, 4]
    assert list(line.get_ydata()) == [4, 2, 1, 0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("mode", "singular value of the couplings")
    assert ax.get_ylim()[0] == pytest.approx(4e-3 / 1.3)  # zero takes no room
    ax.figure.canvas.draw()


def test_the_spectrum_along_a_training_has_a_line_per_mode(tmp_path):
    values = np.array([[1.0, 2.0, 3.0], [8.0, 4.0, 2.0]])
    ax = weight_spectrum(Figure().subplots(), values, steps=[1, 500])
    weakest, _, strongest = ax.get_lines()
    assert list(strongest.get_xdata()) == [1, 500]
    assert list(strongest.get_ydata()) == [3, 8]
    assert list(weakest.get_ydata()) == [1, 2]
    assert ax.get_xscale() == "log"
    ax.figure.savefig(tmp_path / "spectrum.png")
    with pytest.raises(ValueError, match="3 steps do not fit 2 sets of singular values"):
        weight_spectrum(Figure().subplots(), values, steps=[1, 2, 3])
    with pytest.raises(ValueError, match=r"got \(1, 2, 3\)"):
        weight_spectrum(Figure().subplots(), values[None])


def test_the_spectrum_of_couplings_that_are_zero_has_no_logarithms():
    ax = weight_spectrum(Figure().subplots(), np.zeros((2, 3)), steps=[1, 50])
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "linear")
    ax.figure.canvas.draw()


def test_levels_share_bins_evenly():
    """Sums of spins have levels two apart; bins that do not fit them would show false spikes."""
    rng = np.random.default_rng(0)
    levels = 2 * rng.binomial(200, 0.5, 20_000) - 200
    h = make_histogram(quantity(levels, levels))
    widths = np.diff(h.edges) / 2
    assert np.allclose(widths, np.round(widths))
    smooth = np.convolve(h.reference, [0.25, 0.5, 0.25], "same")[2:-2]
    assert np.abs(h.reference[2:-2] / smooth - 1).max() < 0.25
    # the control: bins of any width
    uniform = np.histogram(levels, np.linspace(levels.min(), levels.max(), 41))[0][2:-2]
    jumps = uniform / np.convolve(uniform, [0.25, 0.5, 0.25], "same")
    assert np.abs(jumps[1:-1] - 1).max() > 0.25
