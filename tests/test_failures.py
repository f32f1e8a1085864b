import numpy as np
import pytest
from scipy.integrate import trapezoid

from physgen.failures import compare_slices, drivers, worst_region
from physgen.metrics import classifier_test
from physgen.metrics.resampling import Design
from physgen.metrics.smooth import SmoothBias, smooth_bias
from physgen.report.findings import Region, overall_worth, worth_of
from physgen.summaries import Quantity


def test_the_region_is_where_events_are_missing():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(2, 8000))
    y = y[(y < 0.6) | (y > 0.7) | (rng.random(8000) < 0.3)]
    region = worst_region(Quantity("x", "GeV", x, y), Design.of(len(x), len(y)))
    assert region.low == pytest.approx(0.6, abs=0.03)
    assert region.high == pytest.approx(0.7, abs=0.03)
    assert region.pull < -8
    assert region.candidate < 0.5 * region.reference
    assert region.words("GeV").startswith("too few events between 0.")


def test_open_regions_and_atoms():
    x, y = np.zeros(500), np.r_[np.zeros(300), np.ones(200)]
    region = worst_region(Quantity("x", "", x, y), Design.of(500, 500))
    assert (region.low, region.reference) == (1.0, 0.0)
    assert region.candidate == pytest.approx(0.4)
    assert Region(-np.inf, 2.0, 0.1, 0.2, 5.0).words("mm") == (
        "too many events below 2.00 mm (20 % instead of 10 %)"
    )


def test_equal_laws_have_no_strong_region():
    pulls = []
    for k in range(20):
        x, y = np.random.default_rng(k).normal(size=(2, 2000))
        pulls.append(worst_region(Quantity("x", "", x, y), Design.of(2000, 2000)).pull)
    assert np.abs(pulls).max() < 5


def test_slices_of_few_events_are_left_out():
    x = np.random.default_rng(0).normal(size=(2, 100))
    quantities, rows = [Quantity("x", "", *x)], np.arange(100)
    slices = [("few", rows[:19], rows), ("enough", rows, rows)]
    how = {"n_permutations": 99, "rng": np.random.default_rng(1)}
    found = compare_slices(quantities, Design.of(100, 100), slices, **how)
    assert [s.label for s in found] == ["enough"]
    assert compare_slices(quantities, Design.of(100, 100), slices[:1], **how) == ()


def test_drivers_are_the_columns_that_differ():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3000, 3))
    y = y[(y[:, 1] < 1.5) | (rng.random(3000) < 0.1)]
    found = classifier_test(x, y, rng=0)
    columns = [Quantity(f"c{k}", "", x[:, k], y[:, k]) for k in range(3)]
    missing = [d for d in drivers(columns, found) if d.missing]
    assert missing[0].label == "c1"
    assert missing[0].value > 1.5 > missing[0].everywhere


def test_the_classifier_gives_weights_a_curve_and_a_bound():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 4000, 2))
    y[:, 0] += 1.0
    found = classifier_test(x, y, rng=0)
    # ln p/q of Gaussians a distance of one apart
    exact = 0.5 - np.concatenate((x, y))[:, 0]
    log_weights = np.concatenate(found.log_weights)
    rows = np.concatenate((found.rows[0], 4000 + found.rows[1]))
    assert np.corrcoef(log_weights, exact[rows])[0, 1] > 0.85
    assert np.polyfit(exact[rows], log_weights, 1)[0] == pytest.approx(1, abs=0.25)
    ours, theirs = found.roc
    area = trapezoid(theirs, ours)
    assert area == pytest.approx(found.auc.value, abs=0.01)
    assert found.auc.value == pytest.approx(0.760, abs=0.03)  # Phi(1 / sqrt 2)
    true_js = 0.1587  # bits, by quadrature
    assert 0.08 < found.js.value < true_js + 3 * found.js.std_error


def test_the_bound_proves_nothing_of_equal_laws():
    bounds = []
    for k in range(6):
        x, y = np.random.default_rng(k).normal(size=(2, 400, 3))
        found = classifier_test(x, y, rng=k).js
        bounds.append(found.value / found.std_error if found.std_error else 0.0)
    assert max(bounds) < 3


def test_worth_is_where_the_bias_is_a_third_of_the_error():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50_000))
    design = Design.of(50_000, 50_000)
    moved = smooth_bias(x, y + 0.1, design)
    assert worth_of(moved).lower < 9 < worth_of(moved).upper
    none = smooth_bias(x, y, design)
    assert not np.isfinite(worth_of(none).upper)
    assert worth_of(none).lower > 100
    both = overall_worth([moved, none])
    assert both.upper < 15
    assert str(overall_worth([none])).startswith("at least ")
    assert str(worth_of(smooth_bias(x, y + 5, design))) == "not even two events"
    constant = smooth_bias(np.ones(9), np.ones(9), Design.of(9, 9))
    assert str(worth_of(constant)) == "any number of events"


def test_smooth_bias_sees_width_and_not_only_location():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 20_000))
    design = Design.of(20_000, 20_000)
    assert smooth_bias(x, 1.1 * y, design).lower > 0.05
    assert smooth_bias(x, y, design).lower == 0


def test_smooth_bias_of_few_values():
    rng = np.random.default_rng(2)
    design = Design.of(4000, 4000)
    x, y = (rng.random((2, 4000)) < [[0.5], [0.6]]).astype(float)
    found = smooth_bias(x, y, design)
    # of a share p the mean is biased by 0.1 in units of sqrt(p (1 - p))
    assert found.n_functions == 1
    assert found.lower < 0.2 < found.upper < 0.26
    assert found.proven(1) == pytest.approx(found.lower, rel=1e-3)
    assert found.proven(100) < found.lower
    assert smooth_bias(np.ones(4000), np.ones(4000), design) == SmoothBias(0.0, 0.0, 0.0)


def test_the_overall_worth_is_not_fooled_by_many_looks():
    design = Design.of(1000, 1000)
    finite = 0
    for k in range(40):
        rng = np.random.default_rng(k)
        biases = [smooth_bias(*rng.normal(size=(2, 1000)), design) for _ in range(30)]
        finite += np.isfinite(overall_worth(biases).upper)
    assert finite <= 6  # 5 % of 40; 6 is its 99.5 % point
