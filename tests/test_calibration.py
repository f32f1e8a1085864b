"""The promises of a comparison, kept by few repetitions here and by many in `make slow`."""

import importlib.util
import sys

import numpy as np
import pytest
from scipy.stats import binom, kstest

FEW, MANY = 60, 1000
# tests that cost a hundred times as much as the others, and those that do in long chains
DEAR = {"classifier"}
DEAR_IN_CHAINS = {"MMD", "energy distance", *DEAR}


@pytest.fixture(scope="module")
def bench(request):
    folder = request.config.rootpath / "benchmarks"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("calibration", folder / "calibration.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["calibration"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("calibration", None)


NULLS = ("continuous", "ties", "spins", "weighted", "negative", "unequal", "chains", "one_chain")
TESTS = ("JS", "KS", "W1", "Cramer-von Mises", "all columns", "pairs", "MMD", "energy distance",
         "sliced W1", "classifier")  # fmt: skip


def keeps_its_size(bench, test, null, n):
    p_values = np.array(bench.rejections(test, bench.NULLS[null], n))
    low, high = binom.ppf([0.001, 0.999], n, 0.05)
    rejected = int((p_values <= 0.05).sum())
    assert rejected <= high, f"{rejected} of {n} rejected"
    if null in ("continuous", "unequal") and test not in DEAR:
        # permutations are exact: not too careful either
        assert rejected >= low, f"{rejected} of {n} rejected"
        assert kstest(p_values, "uniform").pvalue > 1e-4


def test_the_lists_are_whole(bench):
    assert set(NULLS) == set(bench.NULLS)
    assert set(TESTS) == set(bench.TESTS)


@pytest.mark.parametrize(
    ("test", "null"),
    [(t, n) for t in TESTS for n in NULLS if t not in (DEAR_IN_CHAINS if "chain" in n else DEAR)],
)
def test_size(bench, test, null):
    # the longest samples are those of chains
    keeps_its_size(bench, test, null, FEW // 2 if "chain" in null else FEW)


@pytest.mark.slow
@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("test", TESTS)
def test_size_in_full(bench, test, null):
    keeps_its_size(bench, test, null, 200 if test in DEAR else MANY)


def test_size_of_the_classifier_on_few(bench):
    keeps_its_size(bench, "classifier", "continuous", 15)


def test_chains_taken_for_independent_events_are_called_different(bench):
    """The control: what blocks are for."""
    p_values = bench.rejections("KS", bench.chains_taken_for_independent, 40)
    assert np.mean(np.array(p_values) <= 0.05) > 0.3


SEEN_BY = {
    "shift": "all columns",
    "width": "MMD",
    "pair": "pairs",
    "tail": "MMD",
    "dropped_mode": "MMD",
    "ising": "all columns",
}


@pytest.mark.parametrize(("alternative", "test"), SEEN_BY.items())
def test_power_rises_with_the_difference(bench, alternative, test):
    n = 15 if alternative == "ising" else 25
    samples = bench.ALTERNATIVES[alternative]
    share = [
        np.mean([
            bench.TESTS[test](samples(np.random.default_rng([k, 3]), epsilon), k) <= 0.05
            for k in range(n)
        ])
        for epsilon in (0.0, 1.0)
    ]  # fmt: skip
    assert share[0] <= 0.25
    assert share[1] >= 0.6


def test_limits_hold_the_truth(bench):
    for row in bench.coverage(60):
        # one-sided limits of 95 %; 998 of 1000 right ones are wrong in 9 of 60 or fewer
        assert row["lower_too_high"] <= 0.15, row
        assert row["upper_too_low"] <= 0.15, row


def test_a_candidate_beyond_the_tolerance_is_no_pass_and_one_within_no_fail(bench):
    outcomes = {row["shift_over_tolerance"]: row for row in bench.verdicts(2, (0.0, 1.0, 2.0))}
    for factor, row in outcomes.items():
        passed = row.get("pass", 0) + row.get("pass with difference", 0)
        if factor >= 1:
            assert passed == 0
        else:
            assert row.get("fail", 0) == 0
    assert outcomes[0.0].get("pass", 0) >= 1 / 2
    assert outcomes[2.0].get("fail", 0) >= 1 / 2
