"""Diagnostics against AR(1), where everything is known, and against pyerrors and arviz-stats.

x_{t+1} = a x_t + sqrt(1 - a^2) g has unit variance, rho(t) = a^t and tau(a) = (1+a) / (2(1-a)).
The k-th Hermite polynomial of x has variance k! and rho(t) = a^{kt}, hence tau(a^k): with
F = <x^2> - <x>^2 linear in He_2 and Binder's U4 in -He_4 / 3, their errors are known as well.
"""

import math
import pickle
import time

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from physgen.mcmc.convergence import bulk_ess, split_r_hat, tail_ess
from physgen.mcmc.diagnostics import (
    AutocorrelationTime,
    ChainTooShortError,
    autocorrelation,
    effective_sample_size,
    integrated_autocorrelation_time,
    mcse,
)
from physgen.mcmc.measurement import Measurement, jackknife, measure
from physgen.mcmc.windows import GammaWindow, Sokal

WINDOWS = [Sokal(), GammaWindow()]


def ar1(a, n_steps, n_chains, seed=1):
    """Stationary AR(1) chains of shape (n_steps, n_chains)."""
    noise = np.random.default_rng(seed).normal(size=(n_steps, n_chains))
    noise[1:] *= math.sqrt(1 - a**2)
    return lfilter([1.0], [1.0, -a], noise, axis=0)


def exact_tau(a):
    return (1 + a) / (2 * (1 - a))


def deviation_of_variance(pulls):
    """Deviation of the variance of standard normal pulls from 1, in standard errors."""
    return (np.mean(np.square(pulls)) - 1) / math.sqrt(2 / len(pulls))


def variance(x, x2):
    return x2 - x**2


def binder(m2, m4):
    return 1 - m4 / (3 * m2**2)


# ---------------------------------------------------------------- tau and the error of the mean


def direct_autocorrelation(x):
    """The definition, by sums."""
    d = x - x.mean()
    gamma = [(d[: len(d) - t] * d[t:]).mean() for t in range(len(d))]
    return np.array(gamma) / gamma[0]


@pytest.mark.parametrize("n_steps", [8, 97, 256])
def test_autocorrelation_is_the_definition(n_steps):
    x = 5 + ar1(0.8, n_steps, 3)
    np.testing.assert_allclose(autocorrelation(x), direct_autocorrelation(x), atol=1e-12)


def test_autocorrelation_does_not_depend_on_the_blocks(monkeypatch):
    x = ar1(0.8, 500, 7)
    whole = autocorrelation(x)
    monkeypatch.setattr("physgen.mcmc.diagnostics._BLOCK", 2100)
    np.testing.assert_allclose(autocorrelation(x), whole, atol=1e-13)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("a", "n_chains"), [(0.0, 1), (0.5, 1), (0.9, 1), (0.9, 20), (0.99, 4)])
def test_ar1_pulls_have_unit_variance(a, n_chains, window):
    tau = exact_tau(a)
    n_replicas = 200 if tau < 10 else 100
    n_steps = math.ceil(1500 * tau / n_chains)
    chains = ar1(a, n_steps, n_replicas * n_chains).reshape(n_steps, n_replicas, n_chains)
    found = [measure(chains[:, i], window=window) for i in range(n_replicas)]
    assert abs(deviation_of_variance([m.pull(0) for m in found])) < 4
    assert abs(np.mean([m.tau for m in found]) / tau - 1) < 0.1
    assert found[0].n_effective == pytest.approx(n_steps * n_chains / (2 * found[0].tau))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("a", [0.5, 0.9])
def test_the_error_of_tau_is_right(a, window):
    chains = ar1(a, 1500 * round(exact_tau(a)), 200)
    times = [integrated_autocorrelation_time(x, window) for x in chains.T]
    pulls = np.array([(t.value - exact_tau(a)) / t.std_error for t in times])
    assert 0.7 < pulls.std() < 1.3


def test_an_error_without_tau_is_caught():
    """Negative control: the same test with the naive error, and with half the tau, fails."""
    chains = ar1(0.9, 15_000, 200)
    naive = chains.mean(0) / (chains.std(0) / math.sqrt(len(chains)))
    assert deviation_of_variance(naive) > 50
    assert deviation_of_variance(naive / math.sqrt(exact_tau(0.9))) > 4
    assert abs(deviation_of_variance(naive / math.sqrt(2 * exact_tau(0.9)))) < 4


def test_sizes_and_errors_agree_with_each_other():
    x = ar1(0.7, 5000, 2)
    tau = integrated_autocorrelation_time(x).value
    assert effective_sample_size(x) == pytest.approx(x.size / (2 * tau))
    assert mcse(x) == pytest.approx(math.sqrt(2 * tau / x.size) * x.std(ddof=1))
    assert measure(x).std_error == pytest.approx(mcse(x))


def test_any_kind_of_array_will_do():
    x = ar1(0.5, 2000, 3)
    single = x.astype(np.float32)
    assert measure(single) == measure(torch.from_numpy(single)) == measure(single.astype(float))
    assert measure(single[:, 0]) == measure(single[:, :1]) == measure(single[:, 0].tolist())
    spins = np.random.default_rng(1).choice([-1, 1], 4000).astype(np.int8)
    assert measure(spins).std_error == pytest.approx(4000**-0.5, rel=0.1)


def test_scale_and_offset_change_nothing_else():
    x = ar1(0.8, 4000, 2)
    plain, moved = measure(x), measure(1e6 + 1e-3 * x)
    assert moved.tau == pytest.approx(plain.tau, rel=1e-6)
    assert moved.std_error == pytest.approx(1e-3 * plain.std_error, rel=1e-6)


def test_anticorrelated_chains_get_errors_that_are_too_large():
    chains = ar1(-0.6, 2000, 100)
    found = [measure(x) for x in chains.T]
    assert all(m.tau >= 0.5 for m in found)
    assert np.std([m.pull(0) for m in found]) < 0.8


# ---------------------------------------------------------------- chains that are too short


def test_a_short_chain_says_so_and_carries_its_estimate():
    x = ar1(0.99, 2000, 1)
    with pytest.raises(
        ChainTooShortError, match=r"1 x 2000 \(chains x steps\).* run \d+ "
    ) as short:
        integrated_autocorrelation_time(x)
    accepted = integrated_autocorrelation_time(x, min_length=0)
    assert short.value.tau == accepted.value
    assert 20 < accepted.value < 200
    assert pickle.loads(pickle.dumps(short.value)).tau == accepted.value
    assert isinstance(short.value, ValueError)


def test_what_the_message_advises_is_enough():
    x = ar1(0.95, 20_000, 1)
    with pytest.raises(ChainTooShortError) as short:
        measure(x[:800])
    advice = int(str(short.value).split("run ")[1].split()[0])
    assert 800 < advice < 4000
    assert measure(x[: 2 * advice]).tau == pytest.approx(exact_tau(0.95), rel=0.4)


def test_many_chains_may_be_shorter_but_not_than_the_window():
    x = ar1(0.9, 10_000, 500)
    assert measure(x[:200]).tau == pytest.approx(exact_tau(0.9), rel=0.03)
    with pytest.raises(ChainTooShortError, match="500 x 60"):
        measure(x[:60])


def test_chains_stuck_at_different_values_have_no_tau():
    stuck = np.tile([0.0, 1.0, 2.0], (1000, 1))
    with pytest.raises(ChainTooShortError):
        measure(stuck)
    assert split_r_hat(stuck) == math.inf


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("value", [0.0, 0.1, -2.0, 1e9 / 3])
def test_a_constant_series_has_no_error(value):
    x = np.full((1000, 3), value)
    assert integrated_autocorrelation_time(x) == AutocorrelationTime(0.5, 0.0, 0)
    assert effective_sample_size(x) == bulk_ess(x) == tail_ess(x) == 3000
    assert mcse(x) == 0
    assert split_r_hat(x) == 1
    assert (autocorrelation(x)[1:] == 0).all()
    found = measure(x)
    assert str(found) == f"{value:.6g} ± 0 (no spread)"
    assert found.pull(value) == 0
    assert found.pull(value - 1) == math.inf


@pytest.mark.parametrize("function", [autocorrelation, measure, split_r_hat, bulk_ess, tail_ess])
def test_what_cannot_be_measured_is_refused(function):
    x = ar1(0.5, 100, 2)
    x[30, 1] = math.nan
    with pytest.raises(ValueError, match=r"1 of 200 values .* first at step 30 of chain 1"):
        function(x)
    with pytest.raises(ValueError, match="8 steps or more, got 4 of 1000 chains; the first axis"):
        function(np.zeros((4, 1000)))
    with pytest.raises(ValueError, match=r"got \(10, 3, 3\)"):
        function(np.zeros((10, 3, 3)))
    with pytest.raises(ValueError, match="8 steps or more, got 0"):
        function([])
    with pytest.raises(ValueError, match="8 steps or more, got 9 of 0 chains"):
        function(np.zeros((9, 0)))


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="factor of Sokal must be positive, got 0"):
        Sokal(factor=0)
    with pytest.raises(ValueError, match="s of GammaWindow must be positive, got nan"):
        GammaWindow(s=math.nan)
    with pytest.raises(ValueError, match=r"inside \(0, 1\), got 1"):
        tail_ess(np.zeros(10), 1)


def test_functions_that_cannot_be_measured_are_refused():
    x = ar1(0.5, 1000, 1)
    with pytest.raises(ValueError, match="2 series need a function of 2 means"):
        measure((x, x))
    with pytest.raises(ValueError, match="same steps and chains, got shapes"):
        measure((x, x[1:]), variance)
    with pytest.raises(ValueError, match="function is nan at the means"):
        measure((x, x), lambda *_: math.nan)
    with pytest.raises(ValueError, match="between 1 and the 1000 steps, got 0"):
        jackknife((x, x**2), variance, bin_size=0)
    with pytest.raises(ChainTooShortError, match=r"make 10 bins .* run 2000 steps") as short:
        jackknife((x, x**2), variance, bin_size=100)
    assert short.value.tau == pytest.approx(exact_tau(0.25), rel=0.3)


# ---------------------------------------------------------------- derived quantities


@pytest.mark.parametrize("method", [measure, jackknife])
@pytest.mark.parametrize("a", [0.0, 0.9])
def test_errors_of_specific_heat_and_binder_are_the_exact_ones(method, a):
    x = 3.0 + ar1(a, 100_000, 4)
    found = method((x, x**2), variance)
    assert found.std_error == pytest.approx(math.sqrt(2 * exact_tau(a**2) * 2 / x.size), rel=0.12)
    assert found.tau == pytest.approx(exact_tau(a**2), rel=0.12)
    assert abs(found.pull(1)) < 4
    m = x - 3.0
    found = method((m**2, m**4), binder)
    exact = math.sqrt(2 * exact_tau(a**4) * (24 / 9) / x.size)
    assert found.std_error == pytest.approx(exact, rel=0.12)
    assert abs(found.pull(0)) < 4


@pytest.mark.parametrize("method", [measure, jackknife])
@pytest.mark.parametrize("n_chains", [1, 25])
def test_pulls_of_derived_quantities_have_unit_variance(method, n_chains):
    n_replicas, n_steps = 150, 15_000 // n_chains
    chains = ar1(0.8, n_steps, n_replicas * n_chains).reshape(n_steps, n_replicas, n_chains)
    series = (chains**2, chains**4)
    pulls = [method([x[:, i] for x in series], binder).pull(0) for i in range(n_replicas)]
    assert abs(deviation_of_variance(pulls)) < 4


def test_bins_without_correlation_are_needed():
    """Negative control: a jackknife over single steps fails the test of the pulls."""
    chains = ar1(0.9, 3000, 100)
    pulls = [jackknife((x, x**2), variance, bin_size=1).pull(1) for x in chains.T]
    assert deviation_of_variance(pulls) > 20


def test_jackknife_and_gamma_method_agree():
    x = ar1(0.9, 200_000, 1)
    gamma, knife = (method((x**2, x**4), binder) for method in (measure, jackknife))
    assert knife.std_error == pytest.approx(gamma.std_error, rel=0.1)
    assert abs(knife.value - gamma.value) < 0.1 * gamma.std_error
    assert (knife.tau, knife.n_effective) == (gamma.tau, gamma.n_effective)


def test_jackknife_of_single_steps_is_the_unbiased_variance():
    x = np.random.default_rng(4).normal(size=100)
    found = jackknife((x, x**2), variance, bin_size=1)
    assert found.value == pytest.approx(x.var(ddof=1), rel=1e-12)
    assert measure((x, x**2), variance).value == pytest.approx(x.var(), rel=1e-12)


def test_bins_of_unequal_size_are_as_good():
    """9 bins of 110 or 111 steps in each chain against 10 of 100."""
    x = ar1(0.5, 1000, 40)
    unequal, equal = (jackknife((x, x**2), variance, bin_size=size) for size in (110, 100))
    assert unequal.value == pytest.approx(equal.value, abs=0.01 * equal.std_error)
    assert unequal.std_error == pytest.approx(equal.std_error, rel=0.15)


def test_jackknife_removes_the_bias():
    """The biased variance of chains of 60 tau is short by 2 tau / n; the jackknife is not."""
    chains = ar1(0.8, 270, 3000)
    plain = [measure((x, x**2), variance, min_length=0).value for x in chains.T]
    knife = [jackknife((x, x**2), variance, bin_size=13).value for x in chains.T]
    error = np.std(plain) / math.sqrt(len(plain))
    assert np.mean(plain) - 1 == pytest.approx(-2 * exact_tau(0.8) / 270, abs=4 * error)
    assert np.mean(plain) - 1 < -4 * error
    assert abs(np.mean(knife) - 1) < 4 * error


def test_a_linear_function_is_the_mean_of_its_series():
    x, y = ar1(0.8, 5000, 2), ar1(0.3, 5000, 2, seed=2)
    found, plain = measure((x, y), lambda a, b: 2 * a - b + 7), measure(2 * x - y + 7)
    assert found.value == pytest.approx(plain.value)
    assert found.std_error == pytest.approx(plain.std_error, rel=1e-9)
    assert measure(x, lambda a: a).std_error == pytest.approx(measure(x).std_error, rel=1e-9)
    assert jackknife(x, lambda a: a).value == pytest.approx(measure(x).value, abs=1e-12)


def test_a_constant_among_the_series_is_no_obstacle():
    x = ar1(0.5, 5000, 1)
    found = measure((x, np.full_like(x, 4.0)), lambda a, volume: a / volume)
    assert found.std_error == pytest.approx(measure(x).std_error / 4, rel=1e-9)


@pytest.mark.parametrize(
    ("value", "std_error", "tau", "text"),
    [
        (-1.43359, 0.00082, 4.24, "-1.4336 ± 0.0008 (tau 4.2)"),
        (-1.43359, 0.00012, 0.5, "-1.43359 ± 0.00012 (tau 0.5)"),
        (12345.6, 78.9, 130.25, "12346 ± 79 (tau 130.2)"),
        (1.0, math.inf, 3.0, "1.000 ± inf (tau 3.0)"),
    ],
)
def test_measurements_read_well(value, std_error, tau, text):
    assert str(Measurement(value, std_error, tau)) == text


# ---------------------------------------------------------------- agreement of chains


@pytest.mark.parametrize("n_chains", [1, 2, 8])
def test_r_hat_of_chains_that_agree_is_one(n_chains):
    assert split_r_hat(ar1(0.5, 4000, n_chains)) < 1.01


def test_r_hat_sees_what_is_wrong():
    """Negative controls: shifted means, different spreads, a drift in a single chain."""
    x, shift = ar1(0.5, 2000, 4), np.array([0, 0, 0, 1])
    assert split_r_hat(x + shift) > 1.1
    assert split_r_hat(x * [1, 1, 1, 4]) > 1.1
    assert split_r_hat(x[:, 0] + np.linspace(0, 2, 2000)) > 1.1
    assert bulk_ess(x + shift) < 0.01 * bulk_ess(x)


def test_r_hat_does_not_mind_heavy_tails():
    x = np.random.default_rng(3).standard_cauchy((2000, 4))
    assert split_r_hat(x) < 1.01
    assert split_r_hat(x) == pytest.approx(split_r_hat(np.arctan(x)), abs=1e-3)


@pytest.mark.parametrize("a", [0.0, 0.9])
def test_bulk_ess_is_that_of_the_chain(a):
    x = ar1(a, 20_000, 4)
    assert bulk_ess(x) == pytest.approx(effective_sample_size(x), rel=0.15)


# ---------------------------------------------------------------- other packages


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("s", [1.0, 1.5, 2.0])
@pytest.mark.parametrize(("a", "n_chains"), [(0.0, 1), (0.9, 1), (0.97, 3)])
def test_the_gamma_method_agrees_with_pyerrors(a, n_chains, s):
    """Told to subtract one mean over all replicas; by itself pyerrors takes one of each."""
    pyerrors = pytest.importorskip("pyerrors")
    x = 2 + ar1(a, 20_000, n_chains)
    names = [f"A|{i}" for i in range(n_chains)]
    mean = x.mean()
    theirs = pyerrors.Obs(list(x.T - mean), names, means=[mean] * n_chains)
    theirs.gamma_method(S=s)
    ours = measure(x, window=GammaWindow(s=s))
    tau = integrated_autocorrelation_time(x, GammaWindow(s=s))
    assert ours.std_error == pytest.approx(theirs.dvalue, rel=1e-10)
    assert tau.value == pytest.approx(theirs.e_tauint["A"], rel=1e-10)
    assert tau.std_error == pytest.approx(theirs.e_dtauint["A"], rel=1e-10)
    assert tau.window == theirs.e_windowsize["A"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_derived_errors_agree_with_pyerrors():
    pyerrors = pytest.importorskip("pyerrors")
    x = ar1(0.8, 20_000, 1)[:, 0]
    series = (x**2, x**4)
    theirs = pyerrors.derived_observable(
        lambda m, **_: binder(*m), [pyerrors.Obs([y], ["A"]) for y in series]
    )
    theirs.gamma_method(S=1.5)
    ours = measure(series, binder, window=GammaWindow())
    assert ours.value == pytest.approx(theirs.value, abs=1e-12)
    assert ours.std_error == pytest.approx(theirs.dvalue, rel=1e-4)
    assert ours.tau == pytest.approx(theirs.e_tauint["A"], rel=1e-4)


@pytest.mark.parametrize("n_steps", [16, 101, 1000])
@pytest.mark.parametrize("a", [-0.5, 0.0, 0.9, 0.99])
@pytest.mark.parametrize("n_chains", [2, 5])
def test_ranks_agree_with_arviz(a, n_steps, n_chains):
    arviz = pytest.importorskip("arviz_stats.base").array_stats
    x = ar1(a, n_steps, n_chains)
    for y in (x, np.round(3 * x), np.exp(4 * x)):
        assert split_r_hat(y) == pytest.approx(arviz.rhat(y.T), rel=1e-10)
        assert bulk_ess(y) == pytest.approx(arviz.ess(y.T, method="bulk"), rel=1e-9)
        theirs = arviz.ess(y.T, method="tail", prob=(0.05, 0.95))
        assert tail_ess(y) == pytest.approx(theirs, rel=1e-9)
    theirs = arviz.ess(x[:, :1].T, method="bulk")
    assert bulk_ess(x[:, 0]) == pytest.approx(theirs, rel=1e-9)


# ---------------------------------------------------------------- cost


def test_five_million_numbers_take_seconds():
    """A guard against a loop over lags or chains: those take minutes."""
    x = np.random.default_rng(0).normal(size=(10_000, 512))
    start = time.process_time()
    measure(x)
    assert time.process_time() - start < 5


def test_a_constant_is_correlated_with_itself_only():
    np.testing.assert_array_equal(autocorrelation(np.full(20, 3.7)), [1, *np.zeros(19)])
