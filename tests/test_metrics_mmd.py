"""The maximum mean discrepancy against sums over all pairs, and its draws, errors and sizes."""

import gzip
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from physgen.metrics import (
    Polynomial,
    Radial,
    hamming_histograms,
    lecture_mmd,
    mmd,
    mmd_test,
    streaming,
)
from physgen.metrics.discrepancies import Discrepancies, _influence, discrepancies
from physgen.metrics.intervals import interval, std_errors
from physgen.metrics.ladders import as_kernel, median_distance
from physgen.metrics.resampling import Design
from physgen.metrics.streaming import full_precision
from physgen.metrics.subsets import Subset, events_used, select_events

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist" / "train-images-idx3-ubyte.gz"
CPU = torch.device("cpu")
N_REPETITIONS = 200


def gaussian(n, seed, *, shift=0.0, d=2):
    return np.random.default_rng(seed).normal(shift, size=(n, d))


def spins(n, seed, *, p=0.5, d=9):
    return np.where(np.random.default_rng(seed).random((n, d)) < p, 1, -1).astype(np.int8)


def gram(u, v, name, bandwidth=1.0):
    if name == "polynomial":
        return (u @ v.T / u.shape[1] + 1.0) ** 4
    apart = u[:, None] - v
    return {
        "gaussian": lambda: np.exp(-np.square(apart).sum(-1) / (2 * bandwidth**2)),
        "laplace": lambda: np.exp(-np.sqrt(np.square(apart).sum(-1)) / bandwidth),
        "hamming": lambda: np.exp(-(apart != 0).sum(-1) / bandwidth),
    }[name]()


def measured(x, y, kernel, design=None, *, n_draws=0, seed=0, features=None):
    """All events in their order; pairs of the same row if there is no design."""
    rows = (np.arange(len(x)), np.arange(len(y)))
    subset = Subset(*rows, design or Design.of(len(x), len(y)), is_paired=design is None)
    return discrepancies(
        torch.from_numpy(x), torch.from_numpy(y), subset, kernel, n_draws=n_draws,
        features=features, device=CPU, rng=np.random.default_rng(seed),
    )  # fmt: skip


def samples_for(name):
    """Samples that differ, and a kernel of three bandwidths around 1.7."""
    if name == "polynomial":
        return gaussian(40, 0, d=3), gaussian(40, 1, d=3, shift=0.3), Polynomial(4), [None]
    bandwidths = [0.85, 1.7, 3.4]
    kernel = Radial(name, n_bandwidths=3, bandwidth=1.7)
    if name == "hamming":
        return spins(40, 0), spins(40, 1, p=0.7), kernel, bandwidths
    return gaussian(40, 0, d=3), gaussian(40, 1, d=3, shift=0.3), kernel, bandwidths


NAMES = ["gaussian", "laplace", "hamming", "polynomial"]


# values against sums over pairs


@pytest.mark.parametrize("name", NAMES)
def test_pairs_and_their_swaps_against_a_double_loop(name):
    x, y, kernel, bandwidths = samples_for(name)
    found = measured(x, y, kernel, n_draws=2, seed=5)
    rng = np.random.default_rng(5)
    rng.permutation(80)  # tells the median distance
    signs = 2.0 * rng.integers(0, 2, (40, 3), dtype=np.int8) - 1
    for k, bandwidth in enumerate(bandwidths):
        for column in (1, 2):
            swap = signs[:, column, None] < 0
            u, v = np.where(swap, y, x), np.where(swap, x, y)
            total = 0.0
            for i, j in itertools.permutations(range(40), 2):
                pair = (u[[i]], u[[j]], v[[i]], v[[j]])
                total += sum(
                    sign * gram(pair[a], pair[b], name, bandwidth).item()
                    for a, b, sign in ((0, 1, 1), (2, 3, 1), (0, 3, -1), (1, 2, -1))
                )
            expected = pytest.approx(total / (40 * 39), rel=1e-5, abs=2e-7)
            assert found.null[column - 1, k] == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("in_blocks", [False, True])
def test_pooled_events_against_matrices(name, in_blocks):
    x, y, kernel, bandwidths = samples_for(name)
    y = y[:33]
    a = np.random.default_rng(2).normal(1, 0.7, 40)
    blocks = (np.arange(40) // 5, np.arange(33) // 3) if in_blocks else (None, None)
    design = Design.of(40, 33, weights=(a, None), blocks=blocks)
    found = measured(x, y, kernel, design, n_draws=2)
    off_x, off_y = 1 - np.eye(40), 1 - np.eye(33)
    if in_blocks:
        off_x, off_y = (1.0 * (b[:, None] != b) for b in blocks)
    a, b = design.a, design.b
    for k, bandwidth in enumerate(bandwidths):
        xx, yy, xy = (gram(u, v, name, bandwidth) for u, v in ((x, x), (y, y), (x, y)))
        unbiased = (
            a @ (xx * off_x) @ a / (a @ off_x @ a)
            + b @ (yy * off_y) @ b / (b @ off_y @ b)
            - 2 * a @ xy @ b
        )
        biased = a @ xx @ a + b @ yy @ b - 2 * a @ xy @ b
        assert found.unbiased[k] == pytest.approx(unbiased, rel=1e-5, abs=1e-6)
        assert found.biased[k] == pytest.approx(biased, rel=1e-5, abs=1e-6)


def test_draws_of_pooled_events_are_those_of_the_design():
    x, y = gaussian(30, 0), gaussian(20, 1)
    design = Design.of(30, 20, weights=(np.random.default_rng(2).random(30), None))
    found = measured(x, y, Radial("gaussian", 1, 1.0), design, n_draws=3, seed=4)
    rng = np.random.default_rng(4)
    rng.permutation(50)
    z = np.concatenate((x, y))
    kernel = gram(z, z, "gaussian")
    np.concatenate(list(design.halves(100, rng)))
    draws = np.concatenate(list(design.draws(3, rng)))[1:]
    forms = np.einsum("bi,ij,bj->b", draws, kernel, draws)
    assert found.null[:, 0] == pytest.approx(forms - forms.mean(), abs=1e-7)


def test_gaussians_against_the_closed_form():
    # E k of two Gaussians of variance 1 in d dimensions: (s2 / (s2 + 2))^(d/2) exp(...)
    d, shift, sigma = 2, 0.5, 1.5
    exact = closed_form(d, shift, sigma)
    found = mmd(
        gaussian(4000, 0, d=d), gaussian(4000, 1, d=d, shift=shift),
        kernel=Radial("gaussian", 1, sigma), n_permutations=0, rng=0,
    )  # fmt: skip
    assert found.value == pytest.approx(exact, abs=4 * found.std_error)
    assert found.std_error < 0.1 * exact
    assert math.isnan(found.p_value)


def closed_form(d, shift, sigma):
    scale = (sigma**2 / (sigma**2 + 2)) ** (d / 2)
    return 2 * scale * (1 - np.exp(-(shift**2) * d / (2 * (sigma**2 + 2))))


def test_far_from_zero_the_digits_stay():
    x, y = gaussian(300, 0), gaussian(300, 1, shift=0.3)
    near, far = (mmd(x + c, y + c, n_permutations=9, rng=0) for c in (0.0, 1e5))
    assert far.value == pytest.approx(near.value, rel=1e-6)


def test_biased_is_unbiased_and_the_events_themselves():
    x, y = gaussian(300, 0), gaussian(300, 1)
    kernel = Radial("gaussian", 1, 1.0)
    plain, biased = (
        mmd(x, y, kernel=kernel, unbiased=u, n_permutations=99, rng=0) for u in (True, False)
    )
    both = gram(np.concatenate((x, y)), np.concatenate((x, y)), "gaussian")
    expected = both[:300, :300].mean() + both[300:, 300:].mean() - 2 * both[:300, 300:].mean()
    assert biased.value == pytest.approx(expected, abs=1e-7)
    assert biased.p_value == plain.p_value
    assert biased.floor - plain.floor == pytest.approx(biased.value - plain.value)


def test_the_size_of_the_tiles_does_not_matter(monkeypatch):
    x, y = gaussian(700, 0, d=3), gaussian(700, 1, d=3)
    w = np.random.default_rng(2).random(700)
    large = [mmd(x, y, weights=(v, None), n_permutations=19, rng=0) for v in (None, w)]
    monkeypatch.setitem(streaming._TILE, "cpu", 194)
    small = [mmd(x, y, weights=(v, None), n_permutations=19, rng=0) for v in (None, w)]
    for one, other in zip(large, small, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-7)
        assert one.p_value == other.p_value


def test_tensors_and_arrays_and_their_types_agree():
    x, y = gaussian(100, 0).astype(np.float32), gaussian(100, 1).astype(np.float32)
    plain = mmd(x, y, n_permutations=19, rng=3)
    assert mmd(torch.from_numpy(x), torch.from_numpy(y), n_permutations=19, rng=3) == plain
    assert mmd(x.astype(float), y.astype(float), n_permutations=19, rng=3) == plain


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("weights", [(None, None), (np.arange(1.0, 3001), None)])
def test_cuda_agrees(weights):
    x, y = gaussian(3000, 0, d=20), gaussian(3000, 1, d=20)
    here, there = (
        mmd(x, y, weights=weights, n_permutations=99, device=device, rng=0)
        for device in ("cpu", "cuda")
    )
    assert there.value == pytest.approx(here.value, abs=1e-7)


def test_products_are_of_full_precision_and_the_setting_returns():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_median_distance_of_equal_events():
    assert median_distance(torch.zeros(30, 2)) == 1.0


# which events


def test_the_note_says_what_was_used():
    x, y = gaussian(900, 0), gaussian(400, 1)
    note = mmd(x, y, max_events=300, n_permutations=9, rng=0).note
    assert note.startswith("300 events per side drawn from 900 and 400, bandwidth")
    assert "swaps of pairs" in note
    note = mmd(x, y, exact=True, n_permutations=9, rng=0).note
    assert note.startswith("900 and 400 events, bandwidth")
    assert "permutations" in note
    note = mmd(x, y, features=64, max_events=10, n_permutations=9, rng=0).note
    assert note.startswith("900 and 400 events")
    assert "64 random features" in note
    note = mmd(x, y, weights=(x[:, 0] ** 2, None), max_events=300, n_permutations=9, rng=0).note
    assert note.startswith("150 events per side drawn from 900 and 400")
    assert "multipliers" in note
    assert events_used(Design.of(900, 400), 300) == (300, 300)


def test_pairs_are_of_one_slice():
    numbers = np.random.default_rng(0).integers(0, 4, 200)
    shuffled = np.random.default_rng(1).permutation(numbers)
    design = Design.of(200, 200, slices=(numbers, shuffled))
    subset = select_events(design, 120, all_events=False, rng=np.random.default_rng(2))
    assert subset.is_paired
    assert len(subset.ours) == 120
    assert (numbers[subset.ours] == shuffled[subset.theirs]).all()
    assert len(np.unique(subset.ours)) == len(np.unique(subset.theirs)) == 120


def test_rare_slices_and_blocks_survive_a_subset():
    slices = np.repeat([0, 1, 2], [500, 499, 1])
    blocks = np.random.default_rng(0).permutation(1000) // 10
    design = Design.of(1000, 1000, slices=(slices, slices), blocks=(blocks, None), tau=(20, 0.5))
    subset = select_events(design, 200, all_events=False, rng=np.random.default_rng(2))
    assert not subset.is_paired
    assert len(subset.ours) == 100
    assert set(slices[subset.ours]) == {0, 1, 2}
    assert (np.diff(subset.design.blocks[0]) >= 0).all()
    assert subset.design.tau == (2, 0.5)


# random features and histograms


@pytest.mark.parametrize("name", ["gaussian", "laplace"])
@pytest.mark.parametrize("weighted", [False, True])
def test_random_features_come_close_to_the_kernel(name, weighted):
    x, y = gaussian(300, 0, d=3), gaussian(300, 1, d=3, shift=0.5)
    w = np.random.default_rng(2).random(300) if weighted else None
    design = Design.of(300, 300, weights=(w, None)) if weighted else None
    kernel = Radial(name, n_bandwidths=3, bandwidth=2.0)
    exact = measured(x, y, kernel, design, n_draws=200)
    near = measured(x, y, kernel, design, n_draws=200, features=3000)
    assert near.unbiased == pytest.approx(exact.unbiased, rel=0.15)
    assert near.first_order == pytest.approx(exact.first_order, rel=0.15)
    assert near.null.std(axis=0) == pytest.approx(exact.null.std(axis=0), rel=0.2)
    assert near.halves.std(axis=0) == pytest.approx(exact.halves.std(axis=0), rel=0.3)


def test_features_of_blocks_leave_out_their_pairs():
    x, y = gaussian(60, 0), gaussian(60, 1)
    blocks = (np.arange(60) // 6, np.arange(60) // 6)
    kernel = Radial("gaussian", 1, 1.5)
    design = Design.of(60, 60, blocks=blocks)
    exact = measured(x, y, kernel, design)
    near = measured(x, y, kernel, design, features=30_000)
    assert near.unbiased == pytest.approx(exact.unbiased, abs=2e-3)
    assert near.first_order == pytest.approx(exact.first_order, rel=0.1)


@pytest.mark.parametrize("kind", ["spins", "colors", "weighted"])
def test_one_histogram_of_distances_gives_every_bandwidth(kind):
    x, y = spins(60, 0), spins(50, 1, p=0.7)
    if kind == "colors":
        x, y = (np.random.default_rng(k).integers(0, 3 + k, (50 + k, 5)) for k in (0, 1))
    w = np.random.default_rng(3).normal(1, 0.5, len(x)) if kind == "weighted" else None
    shares = hamming_histograms(x, y, weights=(w, None))
    assert shares.shape == (3, x.shape[1] + 1)
    assert shares.sum(axis=1) == pytest.approx(1)
    distances = np.arange(x.shape[1] + 1)
    for bandwidth in (0.5, 2.0, 7.0):
        from_histogram = (shares[0] + shares[1] - 2 * shares[2]) @ np.exp(-distances / bandwidth)
        kernel = Radial("hamming", 1, bandwidth)
        found = mmd(x, y, weights=(w, None), kernel=kernel, n_permutations=0, exact=True, rng=0)
        assert found.value == pytest.approx(from_histogram, abs=1e-6)


def test_histograms_of_spins_count_pairs():
    x = spins(30, 0)
    shares = hamming_histograms(x, spins(20, 1))[0] * 30 * 29
    pairs = [(u != v).sum() for u, v in itertools.permutations(x, 2)]
    assert shares == pytest.approx(np.bincount(pairs, minlength=10), abs=1e-9)


# errors and intervals


def repeated(draw, n=N_REPETITIONS, **settings):
    found = []
    for k in range(n):
        x, y, design = draw(np.random.default_rng([k, 21]))
        found.append(mmd_test(x, y, weights=design, rng=k, **settings))
    return found


def pairs_of_gaussians(shift):
    return lambda r: (r.normal(size=(120, 2)), r.normal(shift, size=(120, 2)), (None, None))


def unequal_gaussians(shift):
    return lambda r: (r.normal(size=(80, 2)), r.normal(shift, size=(150, 2)), (None, None))


def chains(shift, *, told=True):
    """Thirty chains of five neighbors with correlation 0.8, on both sides."""
    blocks = np.repeat(np.arange(30), 5)

    def one(r):
        z = r.normal(size=(30, 5, 2))
        for t in range(1, 5):
            z[:, t] = 0.8 * z[:, t - 1] + 0.6 * z[:, t]
        return z.reshape(-1, 2)

    def draw(r):
        design = Design.of(150, 150, blocks=(blocks, blocks) if told else (None, None))
        return one(r), one(r) + shift, design

    return draw


def tilted(shift):
    """Broad Gaussians weighted to the unit one."""

    def draw(r):
        x = 1.2 * r.normal(size=(150, 2))
        w = np.exp(-np.square(x).sum(axis=1) / 2 * (1 - 1 / 1.44))
        return x, r.normal(shift, size=(150, 2)), (w, None)

    return draw


def sliced(shift):
    slices = np.repeat(np.arange(3), 40)

    def draw(r):
        theirs = r.permutation(slices)
        x, y = (r.normal(size=(120, 2)) + 2.0 * s[:, None] for s in (slices, theirs))
        return x, y + shift, Design.of(120, 120, slices=(slices, theirs))

    return draw


ONE = {"kernel": Radial("gaussian", 1, 1.5), "n_permutations": 99}


CASES = [
    (draw, shift)
    for draw in (pairs_of_gaussians, unequal_gaussians, chains, tilted)
    for shift in (0.0, 0.15, 0.8)
]


def coverage(found, shift):
    truth = closed_form(2, shift, 1.5)
    return np.mean([t.lower <= truth <= t.upper for t in found])


def errors_over_spread(found):
    errors = np.array([t.estimate.std_error for t in found])
    return np.sqrt(np.square(errors).mean()) / np.std([t.estimate.value for t in found])


@pytest.mark.parametrize(("draw", "shift"), [*CASES[:3], CASES[4], CASES[8], CASES[9]])
def test_interval_and_error(draw, shift):
    found = repeated(draw(shift), **ONE, exact=True)
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], N_REPETITIONS, 0.95) / N_REPETITIONS
    assert low - 0.02 <= coverage(found, shift) <= high
    # near the null it allows for a difference that is not there
    assert 0.8 < errors_over_spread(found) < (1.25 if shift == 0.8 else 1.7)


@pytest.mark.slow
@pytest.mark.parametrize(("draw", "shift"), CASES)
def test_interval_covers_in_93_to_97_of_100(draw, shift):
    found = repeated(draw(shift), n=1000, **ONE, exact=True)
    assert abs(coverage(found, shift) - 0.95) < 0.02 + 3 * math.sqrt(0.95 * 0.05 / 1000)


def test_an_interval_from_the_null_alone_would_not_cover():
    truth = closed_form(2, 0.8, 1.5)
    found = []
    for k in range(100):
        r = np.random.default_rng([k, 21])
        x, y = r.normal(size=(120, 2)), r.normal(0.8, size=(120, 2))
        one = measured(x, y, ONE["kernel"], n_draws=99)
        found.append(abs(one.unbiased[0] - truth) < 1.96 * one.null.std())
    assert np.mean(found) < 0.9


def test_interval_excludes_zero_where_the_test_does():
    for t in repeated(pairs_of_gaussians(0.15), n=40, **ONE):
        assert (t.lower > 0) == (t.estimate.p_value < 0.06) or 0.03 < t.estimate.p_value < 0.08


# sizes


def rejected(found):
    return sum(t.estimate.p_value <= 0.05 for t in found)


def in_band(count, *, n=N_REPETITIONS, upper_only=False):
    low, high = stats.binom.ppf([0.001, 0.999], n, 0.05)
    return count <= high and (upper_only or count >= low)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("kernel", "n"),
    [
        ("gaussian", N_REPETITIONS),
        ("laplace", N_REPETITIONS),
        pytest.param("polynomial", 1000, marks=SLOW),
    ],
)
def test_size_of_each_kernel(kernel, n):
    found = repeated(pairs_of_gaussians(0), n, kernel=kernel, n_permutations=99)
    assert in_band(rejected(found), n=n)
    ranks = np.array([t.estimate.p_value for t in found])
    assert stats.kstest(ranks - 0.005, "uniform").pvalue > 1e-3


def test_size_for_spins():
    def draw(r):
        x, y = np.where(r.random((2, 60, 9)) < 0.6, 1, -1)
        return x, y, (None, None)

    assert in_band(rejected(repeated(draw, kernel=Radial("hamming", 1), n_permutations=99)))


@pytest.mark.parametrize(
    "draw", [pytest.param(unequal_gaussians, marks=SLOW), chains, tilted, sliced]
)
def test_size_of_each_design(draw):
    found = repeated(draw(0), **ONE, exact=True)
    assert in_band(rejected(found), upper_only=draw in (chains, tilted))


@pytest.mark.parametrize("draw", [pairs_of_gaussians, pytest.param(unequal_gaussians, marks=SLOW)])
def test_size_with_random_features(draw):
    assert in_band(rejected(repeated(draw(0), **ONE, features=64)))


def test_chains_that_are_not_told_reject_too_often():
    assert not in_band(rejected(repeated(chains(0, told=False), **ONE)))


@pytest.mark.parametrize(
    "kernel",
    ["gaussian", pytest.param("laplace", marks=SLOW), pytest.param("polynomial", marks=SLOW)],
)
def test_power_grows_with_the_difference(kernel):
    power = [
        rejected(repeated(pairs_of_gaussians(s), n=40, kernel=kernel, n_permutations=99))
        for s in (0.0, 0.2, 0.5)
    ]
    assert power[0] < power[1] < power[2]
    assert power[2] > 36


def test_the_floor_is_what_truth_stays_below():
    found = repeated(pairs_of_gaussians(0), **ONE)
    above = sum(t.estimate.value > t.estimate.floor for t in found)
    assert above <= stats.binom.ppf(0.999, N_REPETITIONS, 0.08)


# bad input


@pytest.mark.parametrize(
    ("x", "y", "settings", "said"),
    [
        (np.zeros((9, 2)), np.zeros((9, 3)), {}, r"shapes \(n, d\) and \(m, d\).*\(9, 3\)"),
        (np.zeros(9), np.zeros(9), {}, "stack single columns"),
        (np.zeros((1, 2)), np.zeros((9, 2)), {}, "two events of each sample, got 1 and 9"),
        (np.full((9, 2), np.nan), np.zeros((9, 2)), {}, "column 0 holds NaN"),
        (gaussian(9, 0), gaussian(9, 1), {"kernel": "rbf"}, "one of .*'gaussian'.* got 'rbf'"),
        (gaussian(99, 0), gaussian(99, 1), {"kernel": "hamming"}, "column 0 takes 198 values"),
        (spins(9, 0), spins(9, 1), {"kernel": "hamming", "features": 64}, "no random Fourier"),
        (gaussian(9, 0), gaussian(9, 1), {"kernel": "polynomial", "features": 64}, "polynomial"),
        (gaussian(9, 0), gaussian(9, 1), {"features": 63}, "even number, .* got 63"),
        (
            gaussian(9, 0),
            gaussian(9, 1),
            {"weights": Design.of(9, 9, blocks=(None, np.zeros(9, dtype=int)))},
            "candidate lies in one block",
        ),
    ],
)
def test_what_cannot_be_compared(x, y, settings, said):
    with pytest.raises(ValueError, match=said):
        mmd(x, y, n_permutations=9, rng=0, **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "rbf"}, "one of"),
        ({"name": "laplace", "n_bandwidths": 0}, "at least 1, got 0"),
        ({"name": "laplace", "bandwidth": -1.0}, "positive, got -1.0"),
    ],
)
def test_kernels_that_are_none(settings, said):
    with pytest.raises(ValueError, match=said):
        Radial(**settings)


def test_names_of_kernels():
    assert as_kernel("polynomial") == Polynomial(4)
    assert as_kernel(Radial("laplace", 1)) == Radial("laplace", 1)


def test_equal_events_differ_by_nothing():
    x = np.ones((30, 2))
    found = mmd(x, x, n_permutations=99, rng=0)
    assert (found.value, found.p_value) == (0, 1)
    assert mmd(x, x, n_permutations=0, rng=0).value == 0


# the lecture


def the_lectures_score(real, fake):
    """The formula, event by event, in float64."""
    squares = [
        np.square(u[:, None] - v).sum(-1) for u, v in ((real, real), (fake, fake), (real, fake))
    ]
    xx, yy, xy = (np.exp(-s / (2 * squares[0].mean())).mean() for s in squares)
    return math.sqrt(max(xx + yy - 2 * xy, 0))


def test_lecture_score_is_that_of_the_formula():
    real, fake = np.tanh(gaussian(90, 0, d=5)), np.tanh(gaussian(30, 1, d=5))
    assert lecture_mmd(real, (fake * 2) - 1) == pytest.approx(
        the_lectures_score(real, fake), abs=1e-6
    )
    assert lecture_mmd(real, fake, rescales_generated=False) == pytest.approx(
        the_lectures_score(real, fake), abs=1e-6
    )


def test_mended_lecture_score_is_unbiased():
    values = [
        lecture_mmd(
            gaussian(60, [k, 0]), gaussian(30, [k, 1]), rescales_generated=False, is_biased=False
        )
        for k in range(100)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / 10
    floor = lecture_mmd(gaussian(60, 0), gaussian(30, 1), rescales_generated=False)
    assert floor > 0.1  # and what the lecture prints of equal laws


@pytest.mark.skipif(not MNIST.exists(), reason="needs MNIST in ../shared/data/mnist")
def test_the_lecture_prefers_blank_images_to_real_digits():
    with gzip.open(MNIST) as file:
        pixels = np.frombuffer(file.read(16 + 784 * 20_000), np.uint8, offset=16)
    images = pixels.reshape(-1, 784).astype(np.float32) / 127.5 - 1
    rows = np.random.default_rng(0).permutation(len(images))
    real, digits = images[rows[:3000]], images[rows[3000:3064]]
    blank = np.full((64, 784), -1.0, dtype=np.float32)
    assert lecture_mmd(real, digits) == pytest.approx(0.887, abs=0.01)
    assert lecture_mmd(real, blank) == pytest.approx(0.874, abs=0.005)
    mended = {"rescales_generated": False}
    assert lecture_mmd(real, digits, **mended) == pytest.approx(0.077, abs=0.01)
    assert lecture_mmd(real, blank, **mended) == pytest.approx(0.528, abs=0.01)
    mended["is_biased"] = False
    assert abs(lecture_mmd(real, digits, **mended)) < 0.01
    assert lecture_mmd(real, blank, **mended) == pytest.approx(0.279, abs=0.01)


def test_columns_far_apart_are_finite():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(1200, 5)), random.normal(size=(500, 5))
    for scale in (1e3, 3e5, 1e6):
        u, v = x.copy(), y.copy()
        u[:400, 0] *= scale
        v[:150, 0] *= scale
        found = mmd(u, v, rng=0)
        assert np.isfinite([found.value, found.std_error, found.p_value]).all()


def of_one_kernel(value, first_order, null_spread):
    """Discrepancies of one kernel; the draws are those of a normal law."""
    null = null_spread * stats.norm.ppf((np.arange(400) + 0.5) / 400)[:, None]
    value = np.array([value])
    return Discrepancies(
        value, value, np.array([first_order]), null, np.vstack((value[None], null)), null, 1.0
    )


def test_the_error_far_from_the_null_is_that_of_first_order():
    for first_order in (0.1, 0.001):
        found = std_errors(of_one_kernel(1.0, first_order, first_order / 100))
        assert found[0] == pytest.approx(first_order, rel=1e-3)
    # at the null, sums over one index scatter by sqrt(2) of the draws
    assert std_errors(of_one_kernel(0.0, math.sqrt(2) * 0.01, 0.01))[0] == pytest.approx(
        0.01, rel=0.01
    )


def test_the_interval_has_the_error_at_its_ends():
    """(value - theta)^2 = z^2 4 theta s2, with 4 s2 = first_order^2 / value."""
    value, first_order, z = 1.0, 0.1, stats.norm.ppf(0.975)
    # theta^2 - (2 value + z^2 first_order^2 / value) theta + value^2 = 0
    middle = value + (z * first_order) ** 2 / (2 * value)
    ends = middle + np.array([-1, 1]) * math.sqrt(middle**2 - value**2)
    found = interval(of_one_kernel(value, first_order, 0.005), 0)
    np.testing.assert_allclose(found, ends, rtol=0.01)


def test_a_constant_kernel_has_no_influence():
    """Means are over the events of other groups, whatever the weight of the own one."""
    in_group = np.array([0.6, 0.3, 0.1, 0.5, 0.5])
    rows = np.ones((1, 5, 2))
    rows[0, :3, 0] -= in_group[:3]
    rows[0, 3:, 1] -= in_group[3:]
    np.testing.assert_allclose(_influence(rows, in_group, 3), 0, atol=1e-15)
